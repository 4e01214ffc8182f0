"""Everything a refinement is told, as data that a checkpoint can hold and compare."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from front_onnx.adapters.refine.losses import LOSSES
from front_onnx.adapters.spectral.regularizer import DEFAULT_GAMMA, DEFAULT_LAMBDA, DEFAULT_REDUCTION, REDUCTIONS

from front_onnx.errors import RequestError

__all__ = ["AMP", "Settings"]

AMP = ("off", "bf16", "fp16")
_KINDS: dict[str, tuple[type, ...] | type] = {
    "str": str,
    "float": (int, float),
    "float | None": (int, float, type(None)),
    "int": int,
    "int | None": (int, type(None)),
    "bool": bool,
    "str | None": (str, type(None)),
    "tuple[str, ...]": tuple,
}


@dataclass(frozen=True)
class Settings:
    """How a model is refined; the names are those of the command's options.

    Attributes:
        loss: one of `losses.LOSSES`, or a callable by its import path, "package.module:function".
        lam: lambda of Eq. 7.
        gamma, gamma_depth: decay of the mask of Eq. 6; 2 / L along the depth if None.
        reduction: of L_reg: "sum", or "mean" as in Eq. 5.
        every: evaluate L_reg in one of so many steps.
        from_scratch: FRONT+: forget the weights first.
        epochs, batch_size, lr, weight_decay, clip: AdamW; gradients are clipped to a norm, 0 for not at all.
        accumulate: batches of each step, whose gradients are added up as parts of one mean over samples.
        warmup: epochs of linear warm-up, then cosine decay.
        label_smoothing: of cross-entropies.
        temperature, distill_weight: of the teacher's term.
        mask_token, mask_share: of masked-token, where the data has no labels.
        output_name: the output of the graph that the loss reads; the first by default.
        device, amp, seed: where, in what precision, and from what random numbers.
        train, freeze: patterns of constants, see `OnnxModule`.
    """

    loss: str = "cross-entropy"
    lam: float = DEFAULT_LAMBDA
    gamma: float = DEFAULT_GAMMA
    gamma_depth: float | None = None
    reduction: str = DEFAULT_REDUCTION
    every: int = 1
    from_scratch: bool = False
    epochs: int = 20
    batch_size: int = 128
    accumulate: int = 1
    lr: float = 5e-4
    weight_decay: float = 0.05
    clip: float = 1.0
    warmup: float = 0.5
    label_smoothing: float = 0.0
    temperature: float = 1.0
    distill_weight: float = 1.0
    mask_token: int | None = None
    mask_share: float = 0.15
    output_name: str | None = None
    device: str = "auto"
    amp: str = "off"
    seed: int = 0
    train: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse what no refinement can be run with.

        Raises:
            RequestError: the first setting that is out of its range.
        """
        for field in dataclasses.fields(self):
            value, kind = getattr(self, field.name), _KINDS.get(str(field.type))
            option = {"lam": "lambda"}.get(field.name, field.name.replace("_", "-"))
            if kind is not None and not (
                isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
            ):
                wanted = str(field.type)
                raise RequestError(f"--{option} is of another type", got=repr(value), wanted=wanted)
            if isinstance(value, float) and not math.isfinite(value):
                raise RequestError(f"--{option} is no number", got=value)
        ranges: list[tuple[str, bool, str]] = [
            ("lambda", 0 <= self.lam <= 1, "0 to 1"),
            ("gamma", self.gamma > 0, "more than 0"),
            ("gamma-depth", self.gamma_depth is None or self.gamma_depth > 0, "more than 0"),
            ("reduction", self.reduction in REDUCTIONS, " or ".join(REDUCTIONS)),
            ("every", self.every >= 1, "at least 1"),
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch-size", self.batch_size >= 1, "at least 1"),
            ("accumulate", self.accumulate >= 1, "at least 1"),
            ("lr", self.lr > 0, "more than 0"),
            ("weight-decay", self.weight_decay >= 0, "at least 0"),
            ("clip", self.clip >= 0, "at least 0"),
            ("distill-weight", self.distill_weight >= 0, "at least 0"),
            ("seed", self.seed >= 0, "at least 0"),
            ("warmup", self.warmup >= 0, "at least 0"),
            ("label-smoothing", 0 <= self.label_smoothing < 1, "0 to 1"),
            ("temperature", self.temperature > 0, "more than 0"),
            ("mask-share", 0 < self.mask_share < 1, "0 to 1"),
            ("amp", self.amp in AMP, " or ".join(AMP)),
            ("loss", self.loss in LOSSES or ":" in self.loss, ", ".join((*LOSSES, "package.module:function"))),
        ]
        for name, good, wanted in ranges:
            if not good:
                value = getattr(self, {"lambda": "lam"}.get(name, name.replace("-", "_")))
                raise RequestError(f"--{name} is out of its range", got=value, wanted=wanted)

    def as_data(self) -> dict[str, Any]:
        """As plain data."""
        return dataclasses.asdict(self)

    def told(self) -> dict[str, Any]:
        """What was asked for, for the metadata of the result: what is not as usual, less where it was computed."""
        usual = Settings().as_data()
        return {name: v for name, v in self.as_data().items() if v != usual[name] and name not in ("device",)}
