"""Sizes: how deep and how wide, and the targets every architecture is resized to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Blocks per chain and width per stage; one number where there is one chain or one residual width."""

    depth: tuple[int, ...]
    width: tuple[int, ...]


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
