"""Zero: new blocks that add nothing yet; norms on the way through are copied, which is exact for pre-norm models alone.

For more layers, to compare with (as in LEMON, Llama Pro and others): `lossless` says what post-norm models need.
"""

from __future__ import annotations

from front_onnx.methods.adding import Adding
from front_onnx.methods.growing import Growing
from front_onnx.methods.method import Draft

__all__ = ["Zero"]


class Zero(Adding):
    """Copies of blocks whose last weights are zero."""

    name = "zero"
    directions = ("depth",)

    def settle(self, plan: Draft) -> None:
        """Let the new blocks add nothing.

        Raises:
            RequestError: there are to be fewer.
        """
        self.refuse_fewer()
        filled = dict.fromkeys(self.filled, "one body is run for all")
        for growing in Growing.all(plan):
            for unit in growing.new:
                growing.empty(unit)
            if growing.writers is None:
                filled[growing.chain.name] = growing.filled
        for name, reason in filled.items():
            plan.warnings.append(f"{name}: new blocks cannot be empty, as {reason}")
