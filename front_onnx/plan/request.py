"""What the user asks for: sizes, scale and ratio, parsed from what people type."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from front_onnx.constants.kinds import Kind
from front_onnx.errors import RequestError
from front_onnx.methods.evidence import Evidence
from front_onnx.methods.registry import parse
from front_onnx.methods.scale import SCALES
from front_onnx.types import Sizes

__all__ = ["BANDS", "Request", "per_chain", "per_list"]

BANDS = ("low", "mid", "high")
_COUNTS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
_BYTES = {f"{k}{b}": n for k, n in _COUNTS.items() if k != "b" for b in ("", "b")} | {
    f"{k}ib": 2 ** (10 * n) for n, k in enumerate(("k", "m", "g", "t"), 1)
}
_KINDS = frozenset(kind.value for kind in (Kind.WEIGHT, Kind.BIAS_OR_GAIN, Kind.EMBEDDING, Kind.MASK, Kind.FIXED))


@dataclass(frozen=True)
class Request:
    """A wanted size.

    Attributes:
        depth: layers per chain: one number, one per chain, or by chain name.
        width: residual width: one number, or one per stage.
        width_mult: a factor for all inner dims.
        heads: number of query heads (one, or one per chain).
        head_dim: size of each head.
        dims: sizes of named dims.
        ratio: part of the low frequencies that is kept along every axis, 0 < ratio <= 1 (Eq. 4).
        scale: how values are scaled when sizes change (see `scale.py`).
        freeze: named dims that keep their size whatever the width does.
        treat: what constants are, by patterns of names, where what is found is wrong (see `Kind`).
        method: how weights are carried over: a method, or "depth=METHOD,width=METHOD" (see `methods/`).
        band: which coefficients the ratio keeps: "low", "mid" or "high".
        symmetry: how unequal the shares of copies are, 0 to below 1, where a method makes copies.
        seed: for what a method draws.
        align: units and heads of each block are put where those of the block before are most like them, before mixing.
        evidence: what activations showed, for the method that looks at them.
        order: units and heads are put beside those most like them, before their number changes.
        round_to: widths that follow are rounded to a multiple of this, heads to whole heads. Without it, to whole sizes
            under `width_mult`, and not at all otherwise.
        depth_mult: a factor for the depth of every chain, rounded to one that it can have.
        exact: what would have to be rounded, or kept, under `width_mult` and `depth_mult` is refused.
        params: parameters of the result (60000000, "60M"), instead of sizes.
        size: bytes of the result ("20MB"), instead of sizes.
    """

    depth: Sizes | None = None
    width: Sizes | None = None
    width_mult: float | str | None = None
    heads: Sizes | None = None
    head_dim: Sizes | None = None
    dims: Mapping[str, int] = field(default_factory=dict)
    ratio: float = 1.0
    scale: str = "auto"
    freeze: tuple[str, ...] = ()
    round_to: int | None = None
    treat: Mapping[str, str] = field(default_factory=dict)
    method: str = "front"
    band: str = "low"
    symmetry: float = 0.0
    seed: int = 0
    align: bool = False
    order: bool = False
    evidence: Evidence | None = field(default=None, compare=False, repr=False)
    depth_mult: float | str | None = None
    exact: bool = False
    params: int | str | None = None
    size: int | str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.ratio <= 1:
            raise RequestError("the ratio is out of range", got=self.ratio, wanted="0 < ratio <= 1")
        if self.scale not in SCALES:
            raise RequestError("no such scale", got=self.scale, wanted=" or ".join(SCALES))
        if self.band not in BANDS:
            raise RequestError("no such band", got=self.band, wanted=" or ".join(BANDS))
        if not 0 <= self.symmetry < 1:
            raise RequestError("--symmetry is out of range", got=self.symmetry, wanted="0 <= symmetry < 1")
        parse(self.method)
        if self.round_to is not None and self.round_to < 1:
            raise RequestError("--round-to has to be positive", got=self.round_to)
        if self.width is not None and self.width_mult is not None:
            raise RequestError("--width and --width-mult exclude each other")
        if self.depth is not None and self.depth_mult is not None:
            raise RequestError("--depth and --depth-mult exclude each other")
        if self.params is not None and self.size is not None:
            raise RequestError("--params and --size exclude each other")
        if self.exact and self.round_to is not None:
            raise RequestError("--exact and --round-to exclude each other")
        for option in ("--params", "--size"):
            if getattr(self, option[2:]) is not None:
                _amount(option, getattr(self, option[2:]))
        for name, size in self.dims.items():
            if isinstance(size, bool) or not hasattr(size, "__index__") or size < 0:
                raise RequestError(f"dim {name} takes a whole number", got=size)
        for name, kind in self.treat.items():
            if kind not in _KINDS:
                wanted = ", ".join(sorted(_KINDS))
                raise RequestError(f"no constant can be treated as {kind!r}", got=f"{name}={kind}", wanted=wanted)

    def with_size(self, option: str, size: Sizes) -> Request:
        """The same request with one option changed."""
        return replace(self, **{option: size})  # type: ignore[arg-type]

    @property
    def kinds(self) -> dict[str, Kind]:
        """`treat` as kinds."""
        return {name: Kind(kind) for name, kind in self.treat.items()}

    @property
    def methods(self) -> dict[str, tuple[str, str | None]]:
        """`method` by direction: (name, variant)."""
        return parse(self.method)

    @property
    def factor(self) -> Fraction | None:
        """`width_mult` as an exact number."""
        return _factor("--width-mult", self.width_mult)

    @property
    def depth_factor(self) -> Fraction | None:
        """`depth_mult` as an exact number."""
        return _factor("--depth-mult", self.depth_mult)

    @property
    def step(self) -> int | None:
        """What widths are rounded to multiples of; None where nothing is rounded."""
        return 1 if self.round_to is None and self.width_mult is not None and not self.exact else self.round_to

    @property
    def keeps_held(self) -> bool:
        """True if sizes that cannot follow a factor are kept, and told, and not refused."""
        return self.width_mult is not None and not self.exact

    @property
    def budget(self) -> int:
        """`params` or `size` as a number; 0 if neither is asked for."""
        if self.params is not None:
            return _amount("--params", self.params)
        return 0 if self.size is None else _amount("--size", self.size)

    @property
    def asks_sizes(self) -> bool:
        """True if anything is asked that could change a size."""
        given = (self.depth, self.width, self.width_mult, self.heads, self.head_dim, self.depth_mult, self.params)
        return any(size is not None for size in (*given, self.size)) or bool(self.dims)


def _factor(option: str, given: float | str | None) -> Fraction | None:
    if given is None:
        return None
    try:
        factor = Fraction(str(given))
    except (ValueError, ZeroDivisionError):
        factor = Fraction(0)
    if factor <= 0:
        raise RequestError(f"{option} has to be a positive number", got=given)
    return factor


def _amount(option: str, given: object) -> int:
    """A number with a unit: 60M, 1.5B, 300k; 20MB, 1.5GiB."""
    units = _BYTES if option == "--size" else _COUNTS
    text = str(given).replace("_", "").replace(",", "").strip()
    match = re.fullmatch(r"([0-9.]+(?:e[0-9]+)?)\s*([a-z]*)", text.lower())
    try:
        number = float(match[1]) * units[match[2]] if match else 0.0
    except (KeyError, ValueError):
        number = 0.0
    if not 1 <= number < 1e15:
        shown = "20MB or 1.5GB" if option == "--size" else "60M or 1.5B"
        raise RequestError(f"{option} takes a number with a unit", got=given, wanted=f"for example {shown}")
    return round(number)


def per_list(given: object) -> list[str]:
    """The pieces of a comma-separated option."""
    return [piece for piece in str(given).strip("[]()").split(",") if piece.strip()]


def per_chain(
    option: str, given: Sizes, names: Sequence[str], what: str = "chain", together: Sequence[Sequence[int]] = ()
) -> list[int | None]:
    """Read one size, one per chain, or sizes by name, into a list with one entry per chain.

    Chains that go `together` may be given one size for all of them.

    Raises:
        RequestError: if the numbers do not fit the chains.
    """
    shown = ", ".join(names)
    by_name = sizes_by_name(option, given)
    if by_name is not None:
        return _by_name(option, by_name, names, what, together)
    if isinstance(given, str):
        given = [_whole(option, piece) for piece in given.split(",") if piece.strip()]
    elif isinstance(given, Iterable):
        given = [_whole(option, value) for value in given]
    else:
        given = [_whole(option, given)]
    numbers = list(given)
    if 0 < len(numbers) == len(together) < len(names):
        groups = {number: place for place, group in enumerate(together) for number in group}
        return [numbers[groups[number]] for number in range(len(names))]
    if len(numbers) != len(names) or not numbers:
        raise RequestError(
            f"{option} takes one number per {what}",
            got=",".join(map(str, numbers)) or "nothing",
            wanted=f"{len(names)} ({shown})" if names else "none",
            hint=f"for example {option} {','.join('N' * len(names))}" if len(names) > 1 else None,
        )
    return list(numbers)


def sizes_by_name(option: str, given: Sizes) -> Mapping[str, int] | None:
    """Read sizes by name ("encoder=4,decoder=2", or a mapping); None if they are given otherwise.

    Raises:
        RequestError: one is no whole number.
    """
    if isinstance(given, Mapping):
        return given
    if not isinstance(given, str) or "=" not in given:
        return None
    pieces = [piece.strip() for piece in given.split(",") if piece.strip()]
    return {key.strip(): _whole(option, size) for key, _, size in (piece.partition("=") for piece in pieces)}


def _by_name(
    option: str, given: Mapping[str, int], names: Sequence[str], what: str, together: Sequence[Sequence[int]]
) -> list[int | None]:
    out: list[int | None] = [None] * len(names)
    for key, value in given.items():
        exact = [i for i, name in enumerate(names) if name == key]
        found = (
            exact
            or [i for i, name in enumerate(names) if key in name.split(".")]
            or [i for i, name in enumerate(names) if key in name]
        )
        if len(found) != 1 and not any({*found} <= {*group} for group in together if found):
            problem = "no" if not found else "more than one"
            raise RequestError(f"{problem} {what} is called {key!r}", wanted=", ".join(names))
        for number in found:
            out[number] = _whole(option, value)
    return out


def _whole(option: str, value: object) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = -1
    if number < 0:
        raise RequestError(f"{option} takes whole numbers", got=value)
    return number
