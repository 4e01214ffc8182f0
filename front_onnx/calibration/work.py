"""What there is to fit in a target, in the order of its nodes: groups of layers, norms, nodes that are closed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from front_onnx.calibration.held import Held
from front_onnx.calibration.layers import Layer
from front_onnx.calibration.matrices import Matrices
from front_onnx.calibration.opaque import OpaqueRows
from front_onnx.calibration.targets import Target, Targets
from front_onnx.streams.norms import Norm

__all__ = ["Group", "OfNorm", "work_of"]


@dataclass
class Group:
    """Layers that read the same tensor in the same way, none of them after what another one makes."""

    layers: list[Layer] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)


@dataclass
class OfNorm:
    """A norm."""

    norm: Norm


def work_of(
    held: Held, matrices: Matrices, targets: Targets, opaque: Sequence[OpaqueRows]
) -> Iterator[Group | OpaqueRows | OfNorm]:
    """All that can be fitted, in the order of the target's nodes.

    Args:
        held: the weights of the target.
        matrices: its layers.
        targets: what each layer is to make.
        opaque: nodes that cannot be looked into.
    """
    found: list[tuple[int, Layer | OpaqueRows | Norm]] = [(held.mine(o.opaque.node), o) for o in opaque]
    for layer in targets.layers.values():
        if (node := held.there(held.before.producer[layer.raw])) is not None:
            found.append((node, matrices.sized(layer)))
    for norm in targets.norms:
        node = held.there(held.before.producer[norm.output])
        if node is not None and norm.plain and (norm.gain is not None or norm.bias is not None):
            found.append((node, norm))
    group: Group | None = None
    for _, item in sorted(found, key=lambda pair: pair[0]):
        if not isinstance(item, Layer):
            if group is not None:
                yield group
            group = None
            yield OfNorm(item) if isinstance(item, Norm) else item
            continue
        target = targets.of(item)
        first = group.layers[0] if group is not None else None
        alike = (
            first is not None
            and (first.data, first.read) == (item.data, item.read)
            and not item.convolves
            and not item.batch
            and not first.batch
            and not first.convolves
            and not target.minus
            and not any(each.minus for each in (group.targets if group is not None else ()))
        )
        if not alike:
            if group is not None:
                yield group
            group = Group()
        assert group is not None
        group.layers.append(item)
        group.targets.append(target)
    if group is not None:
        yield group
