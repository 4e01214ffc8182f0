"""The methods that were chosen, one for each direction, which may be one and the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from front_onnx.methods.method import Draft, Method, Setting
from front_onnx.methods.registry import choose

__all__ = ["Chosen"]


@dataclass(frozen=True)
class Chosen:
    """A method for axes, and one for the depth."""

    width: Method
    depth: Method

    @classmethod
    def by_name(cls, names: Mapping[str, tuple[str, str | None]], setting: Setting) -> Chosen:
        """The methods of these names (and variants), by direction.

        Raises:
            RequestError: a method says no to its variant or to the ratio.
        """
        wide, deep = names["width"], names["depth"]
        width = choose(wide[0])(replace(setting, variant=wide[1]))
        return cls(width, width if deep == wide else choose(deep[0])(replace(setting, variant=deep[1])))

    @property
    def exact(self) -> bool:
        """True if what comes out is to compute what the source computes."""
        return self.width.exact and self.depth.exact

    def settle(self, plan: Draft) -> None:
        """Let the methods change what maps do not say."""
        self.width.settle(plan)
        if self.depth is not self.width:
            self.depth.settle(plan)
