"""From a structure and a request to a plan: all decisions and all refusals."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from front_onnx.dims.structure import Structure
from front_onnx.errors import FrontError
from front_onnx.methods.front import Front
from front_onnx.methods.method import Refusal
from front_onnx.plan.alike import check_alike
from front_onnx.plan.diagnostics import diagnose
from front_onnx.plan.numbers import plan_numbers
from front_onnx.plan.plan import Plan
from front_onnx.plan.request import Request
from front_onnx.plan.sizing import target_sizes, target_units
from front_onnx.plan.unsupported import refuse_unsupported
from front_onnx.plan.weights import plan_weights
from front_onnx.store.refusals import refuse_too_many

__all__ = ["make_plan"]


def make_plan(structure: Structure, request: Request) -> Plan:
    """Decide all sizes and edits.

    Raises:
        RequestError, UnsupportedError: the request is impossible, naming the dim or node in the way.
    """
    refuse_unsupported(structure.graph, request)
    try:
        return _make_plan(structure, request)
    except FrontError as error:
        if request.step is None or (isinstance(error, Refusal) and _is_possible(structure, request)):
            raise
        with contextlib.suppress(FrontError):
            return _make_plan(structure, request, whole_heads=True)
        raise


def _is_possible(structure: Structure, request: Request) -> bool:
    """True if the sizes are right, whatever the method: then it is not for it to look for others."""
    with contextlib.suppress(FrontError):
        return _make_plan(structure, replace(request, method=Front.name)) is not None
    return False


def _make_plan(structure: Structure, request: Request, whole_heads: bool = False) -> Plan:
    sizes, rounded = target_sizes(structure, request, whole_heads)
    units = target_units(structure, request)
    depths = {var: units[chain] for var, chain in structure.depths.items()}
    plan = Plan(structure, request, sizes | depths, units, rounded)
    nodes = len(structure.graph.nodes)
    longer = zip(structure.chains, units, strict=True)
    private = structure.flow.private
    more = sum((n - len(chain.units)) * len(private(chain.units[-1])) for chain, n in longer if chain.loop is None)
    refuse_too_many(nodes + more, nodes)
    plan_weights(plan)
    plan_numbers(plan)
    check_alike(plan)
    plan.warnings.extend(diagnose(plan))
    return plan
