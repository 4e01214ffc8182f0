"""Sizes: how deep and how wide, the targets an architecture is resized to, and what a user types for them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Blocks per chain and width per stage; one number where there is one chain or one residual width."""

    depth: tuple[int, ...]
    width: tuple[int, ...]


def request(source: Size, size: Size, *, by_ratio: bool = False) -> dict[str, str]:
    """What a user types to get from the source to this size; what does not change is left out.

    `by_ratio`: widths change by one factor, for models with no single residual width.
    """
    typed = {}
    if size.depth != source.depth:
        typed["depth"] = ",".join(map(str, size.depth))
    if size.width != source.width:
        if by_ratio:
            typed["width_mult"] = f"{size.width[0] / source.width[0]:g}"
        else:
            typed["width"] = ",".join(map(str, size.width))
    return typed


def uniform(
    *, depth: int, width: int, shallower: int, narrower: int, deeper: int, wider: int
) -> tuple[Size, dict[str, Size]]:
    """The source and its targets for a model with one chain of blocks and one width."""
    return Size((depth,), (width,)), {
        "shallower": Size((shallower,), (width,)),
        "narrower": Size((depth,), (narrower,)),
        "grow": Size((deeper,), (wider,)),
        "mixed": Size((deeper,), (narrower,)),
    }


def per_stage(
    depth: tuple[int, ...],
    width: tuple[int, ...],
    *,
    shallower: tuple[int, ...],
    deeper: tuple[int, ...],
    narrow: float,
    wide: float,
) -> tuple[Size, dict[str, Size]]:
    """The source and its targets for a model of stages; widths scale by one ratio."""
    narrower, wider = (tuple(round(w * ratio) for w in width) for ratio in (narrow, wide))
    return Size(depth, width), {
        "shallower": Size(shallower, width),
        "narrower": Size(depth, narrower),
        "grow": Size(deeper, wider),
        "mixed": Size(deeper, narrower),
    }


def widths(width: int, *others: int) -> tuple[Size, dict[str, Size]]:
    """The source and its targets for a model whose depth is no number (DenseNet, Inception, U-Net)."""
    return Size((), (width,)), {f"width {other}": Size((), (other,)) for other in others}
