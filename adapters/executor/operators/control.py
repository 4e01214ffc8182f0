"""Operators with subgraphs: If, Loop and Scan."""

from __future__ import annotations

from typing import Any

import torch
from front_onnx.adapters.executor.table import Step, operator
from torch import Tensor

from front_onnx.errors import UntrainableError

__all__: list[str] = []


def _walk(step: Step, body: str, tensors: list[Any]) -> list[Any]:
    assert step.walk is not None
    return step.walk(step.subgraphs[body], tensors)


def _stacked(items: list[Tensor], axis: int = 0) -> Tensor:
    """What the iterations gave, on one device: some may give what was made of shapes and lies on the processor."""
    device = next((x.device for x in items if x.device.type != "cpu"), items[0].device)
    return torch.stack([x.to(device) for x in items], axis)


@operator("If", host=[0])
def if_(step: Step, condition: Tensor) -> Any:
    """One branch or the other."""
    return _walk(step, "then_branch" if bool(condition) else "else_branch", [])


@operator("Loop", host=[0, 1])
def loop(step: Step, count: Tensor | None, going: Tensor | None, *carried: Tensor) -> Any:
    """Carried values, then what each iteration adds to the stacked outputs."""
    body = step.subgraphs["body"]
    kept = len(carried)
    values: list[Any] = list(carried)
    scans: list[list[Tensor]] = [[] for _ in range(len(body.outputs) - 1 - kept)]
    limit = None if count is None else int(count)
    iteration = 0
    on = True if going is None else bool(going)
    while on and (limit is None or iteration < limit):
        flag = torch.tensor(True) if going is None else torch.tensor(on)
        made = _walk(step, "body", [torch.tensor(iteration, dtype=torch.int64), flag, *values])
        on, values = bool(made[0]), made[1 : 1 + kept]
        for stack, item in zip(scans, made[1 + kept :], strict=True):
            stack.append(item)
        iteration += 1
    if any(not stack for stack in scans):
        raise UntrainableError("a loop that never ran has no outputs to stack", node=step.label)
    return [*values, *(_stacked(stack) for stack in scans)]


@operator("Scan")
def scan(step: Step, *given: Tensor) -> Any:
    """Carried values, then stacked outputs; scan inputs are taken apart along an axis each."""
    if step.version < 9:
        raise UntrainableError("Scan as it was before version 9", node=step.label)
    body, count = step.subgraphs["body"], step.get("num_scan_inputs")
    kept = len(given) - count
    values, inputs = list(given[:kept]), given[kept:]
    stacked = len(body.outputs) - kept
    axes = step.get("scan_input_axes") or [0] * count
    turned = step.get("scan_input_directions") or [0] * count
    apart = [
        list(reversed(x.unbind(axis))) if back else list(x.unbind(axis))
        for x, axis, back in zip(inputs, axes, turned, strict=True)
    ]
    made_so_far: list[list[Tensor]] = [[] for _ in range(stacked)]
    for items in zip(*apart, strict=True):
        made = _walk(step, "body", [*values, *items])
        values = made[:kept]
        for stack, item in zip(made_so_far, made[kept:], strict=True):
            stack.append(item)
    out_axes = step.get("scan_output_axes") or [0] * stacked
    out_turned = step.get("scan_output_directions") or [0] * stacked
    outputs = [
        _stacked(stack[::-1] if back else stack, axis)
        for stack, axis, back in zip(made_so_far, out_axes, out_turned, strict=True)
    ]
    return [*values, *outputs]
