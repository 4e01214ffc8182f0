"""What a person or a script wants to know of a learngene, as plain data."""

from __future__ import annotations

import math
from typing import Any

from front_onnx.gene.gene import Gene

__all__ = ["describe_gene"]


def describe_gene(gene: Gene) -> dict[str, Any]:
    """Ratio, source, parameters kept and, for each stack, shape and energy kept."""
    total, kept = gene.parameters
    return {
        "ratio": gene.about["ratio"],
        "band": gene.about["band"],
        "scale": gene.about["scale"],
        "source": dict(gene.about["source"]),
        "parameters": total,
        "kept": kept,
        "energy": _energy(gene),
        "stacks": [
            {
                "tensors": [member.name for member in stack.members],
                "shape": list(stack.shape),
                "kept": list(stack.kept),
                "parameters": math.prod(stack.kept),
                "energy": stack.energy,
            }
            for stack in gene.stacks
        ],
        "whole": list(gene.values),
    }


def _energy(gene: Gene) -> float | None:
    """The part of all stacks' energy that is kept, by their sizes; None if nothing is cut."""
    weights = [math.prod(stack.shape) for stack in gene.stacks]
    if not weights:
        return None
    return sum(w * stack.energy for w, stack in zip(weights, gene.stacks, strict=True)) / sum(weights)
