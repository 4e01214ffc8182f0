"""Computed tables: every formula against the library (or paper) that computes it, and in resized graphs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiers import by_exporter
from zoo import shim  # noqa: F401 - before anything that imports torchvision
from zoo.export import write
from zoo.oracle import compare
from zoo.randomise import randomise

import front_onnx
from front_onnx.constants.formulas import made_of_waves, recomputed

POSITIONS = 43
Table = Callable[[int], np.ndarray]


# -- positions, at a width --------------------------------------------------------------------------------------


def vaswani(width: int) -> np.ndarray:
    """Vaswani et al. 2017, 3.5, as `transformers` writes it for DistilBERT."""
    from transformers.models.distilbert.modeling_distilbert import create_sinusoidal_embeddings

    out = torch.empty(POSITIONS, width)
    create_sinusoidal_embeddings(POSITIONS, width, out)
    return out.detach().numpy()


def marian(width: int) -> np.ndarray:
    from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding

    return MarianSinusoidalPositionalEmbedding(POSITIONS, width).create_weight().numpy()


def pegasus(width: int) -> np.ndarray:
    from transformers.models.pegasus.modeling_pegasus import PegasusSinusoidalPositionalEmbedding

    return PegasusSinusoidalPositionalEmbedding(POSITIONS, width).create_weight().numpy()


def m2m100(width: int) -> np.ndarray:
    """tensor2tensor's and fairseq's, with a row for padding."""
    from transformers.models.m2m_100.modeling_m2m_100 import M2M100SinusoidalPositionalEmbedding

    return M2M100SinusoidalPositionalEmbedding(POSITIONS - 2, width, 1).weights.numpy()


def whisper(width: int) -> np.ndarray:
    from transformers.models.whisper.modeling_whisper import sinusoids

    return sinusoids(POSITIONS, width).numpy()


def scaled(width: int) -> np.ndarray:
    return np.float32(0.3) * vaswani(width)


def transposed(width: int) -> np.ndarray:
    return vaswani(width).T[None]


def masked_autoencoder(width: int) -> np.ndarray:
    """He et al. 2022, `get_2d_sincos_pos_embed` with a class token: [1 + 3 * 3, width]."""

    def line(positions: np.ndarray) -> np.ndarray:
        omega = 1 / 10000 ** (np.arange(width // 4) / (width / 4))
        angles = np.einsum("m,d->md", positions.reshape(-1), omega)
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)

    across, down = np.meshgrid(np.arange(3.0), np.arange(3.0))
    table = np.concatenate([line(across), line(down)], axis=1)
    return np.concatenate([np.zeros((1, width)), table]).astype(np.float32)[None]


def line_by_line(width: int) -> np.ndarray:
    """A grid of 3 x 5 whose lines come first."""
    first, second = (vaswani(width // 2)[:count] for count in (3, 5))
    return np.concatenate([np.repeat(first, 5, axis=0), np.tile(second, (3, 1))], axis=1)


# -- rotary angles and frequencies, at the size of a head -------------------------------------------------------


def llama(size: int, base: float = 10000.0) -> torch.Tensor:
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    rope = {"rope_type": "default", "rope_theta": base}
    rotary = LlamaRotaryEmbedding(LlamaConfig(hidden_size=2 * size, num_attention_heads=2, rope_parameters=rope))
    return rotary.inv_freq


def cosines(size: int) -> np.ndarray:
    return torch.cos(torch.outer(torch.arange(POSITIONS), llama(size))).numpy()


def halves(size: int) -> np.ndarray:
    angles = torch.outer(torch.arange(POSITIONS), llama(size, 500000.0))
    return torch.sin(torch.cat((angles, angles), -1)).numpy()[None, None]


def neighbours(size: int) -> np.ndarray:
    angles = torch.outer(torch.arange(POSITIONS), llama(size))
    return torch.cos(torch.repeat_interleave(angles, 2, -1)).numpy()


def angles(size: int) -> np.ndarray:
    return torch.outer(torch.arange(POSITIONS), llama(size)).numpy()


def frequencies(size: int) -> np.ndarray:
    return llama(size).numpy()


def to_the_end(size: int) -> np.ndarray:
    """tensor2tensor's timescales: from 1 to exactly 1/10000."""
    return np.exp(-np.log(10000) * np.arange(size) / (size - 1)).astype(np.float32)


WIDTHS: list[Table] = [vaswani, marian, pegasus, m2m100, scaled, transposed, cosines, halves, neighbours, angles]
EVEN: list[Table] = [whisper, frequencies, to_the_end, masked_autoencoder, line_by_line]


@pytest.mark.parametrize(("source", "target"), [(16, 24), (24, 16), (24, 8), (64, 32)])
@pytest.mark.parametrize("table", WIDTHS + EVEN)
def test_waves_are_those_of_the_target(table: Table, source: int, target: int) -> None:
    wanted = table(target)
    got = recomputed(table(source), wanted.shape)
    assert got is not None
    np.testing.assert_allclose(got, wanted, atol=1e-5)


@pytest.mark.parametrize("table", [vaswani, marian, m2m100])
def test_an_odd_width_is_filled_up_as_the_library_does(table: Table) -> None:
    got = recomputed(table(20), (POSITIONS, 9))
    assert got is not None
    np.testing.assert_allclose(got, table(9), atol=1e-5)


@pytest.mark.parametrize("table", [vaswani, marian, m2m100])
def test_more_positions(table: Table) -> None:
    got = recomputed(table(20)[:30], (POSITIONS, 20))
    assert got is not None
    np.testing.assert_allclose(got, table(20), atol=1e-5)


@pytest.mark.parametrize("table", WIDTHS + EVEN)
def test_what_was_trained_on_is_no_table(table: Table) -> None:
    """A table that one step of training has touched is learned."""
    source = table(16)
    noise = 1 + 0.01 * np.random.default_rng(0).standard_normal(source.shape)
    assert recomputed((source * noise).astype(np.float32), table(8).shape) is None


def test_unknown_waves_are_noticed() -> None:
    shifted = vaswani(16) @ np.linalg.qr(np.random.default_rng(0).standard_normal((16, 16)))[0]
    assert recomputed(shifted, (POSITIONS, 8)) is None
    assert made_of_waves(shifted)
    assert not made_of_waves(np.random.default_rng(0).standard_normal((POSITIONS, 16)))


# -- numbers per head -------------------------------------------------------------------------------------------


def bloom(heads: int) -> np.ndarray:
    """The bias itself, [heads, 1, 7]."""
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    return build_alibi_tensor(torch.ones(1, 7), heads, torch.float32).numpy()


def mpt(heads: int) -> np.ndarray:
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    return build_mpt_alibi_tensor(heads, 7).numpy()


def mpt_steep(heads: int) -> np.ndarray:
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    return build_mpt_alibi_tensor(heads, 7, alibi_bias_max=16).numpy()


def causal(heads: int) -> np.ndarray:
    """Slopes with the mask added, [heads, 7, 7]."""
    mask = np.triu(np.full((7, 7), -np.inf, np.float32), 1)
    return bloom(heads) + mask


def retention(heads: int) -> np.ndarray:
    """Sun et al. 2023, section 2.2."""
    return np.log(1 - 2.0 ** (-5 - np.arange(heads))).astype(np.float32)[:, None, None]


@pytest.mark.parametrize("source", [2, 3, 4, 8, 12])
@pytest.mark.parametrize("target", [1, 2, 5, 6, 16])
@pytest.mark.parametrize("table", [bloom, mpt, mpt_steep, causal, retention])
def test_slopes_are_those_of_the_target(table: Table, source: int, target: int) -> None:
    wanted = table(target)
    got = recomputed(table(source), wanted.shape)
    assert got is not None
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


@pytest.mark.parametrize("table", [bloom, mpt, retention])
def test_learned_slopes_are_no_table(table: Table) -> None:
    source = table(4) * np.array([1, 1.001, 1, 1], np.float32).reshape(-1, 1, 1)
    assert recomputed(source, table(8).shape) is None


# -- in resized graphs ------------------------------------------------------------------------------------------


class _Attention(torch.nn.Module):
    """One block with a bias per head that is computed from the number of heads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads, self.norm = width // 4, torch.nn.LayerNorm(width)
        self.qkv, self.out = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.register_buffer("slopes", torch.from_numpy(bloom(self.heads)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape[0], 7, self.heads * 4
        q, k, v = (
            part.view(batch, length, self.heads, 4).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, -1)
        )
        scores = q @ k.transpose(-1, -2) * 0.5 + self.slopes
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, width)
        return x + self.out(mixed)


class _Model(torch.nn.Module):
    def __init__(self, table: Table, width: int, depth: int) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(31, width)
        self.register_buffer("places", torch.from_numpy(table(width))[:7])
        self.blocks = torch.nn.ModuleList(_Attention(width) for _ in range(depth))
        self.head = torch.nn.Linear(width, 5)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.words(ids) + self.places
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def _export(table: Table, width: int, depth: int, seed: int, exporter: str, path: Path) -> Path:
    torch.manual_seed(0)
    module = _Model(table, width, depth)
    randomise(module, seed)
    ids = torch.randint(0, 31, (2, 7), generator=torch.Generator().manual_seed(1))
    write(module.eval(), {"ids": ids}, path, exporter=exporter, opset=None, outputs=("y",), axes={0: "batch"})
    return path


@pytest.mark.export
@pytest.mark.parametrize(
    ("table", "depth", "width", "exporter"), by_exporter([(vaswani, 3, 24), (m2m100, 2, 8)], dynamo=0)
)
def test_resized_graphs_hold_what_the_architecture_computes(
    tmp_path: Path, table: Table, depth: int, width: int, exporter: str
) -> None:
    source = _export(table, 16, 2, 0, exporter, tmp_path / "source.onnx")
    native, twin = (_export(table, width, depth, seed, exporter, tmp_path / f"native{seed}.onnx") for seed in (0, 1))
    result = front_onnx.resize(source, depth=depth, width=width, output=tmp_path / "out.onnx")
    assert result.output is not None
    assert compare(result.output, native, twin=twin) == []
