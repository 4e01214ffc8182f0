"""`--method best`: what serves each direction. Growth loses nothing without data; what shrinks is calibrated."""

from __future__ import annotations

from dataclasses import dataclass, replace

from front_onnx.plan.plan import Plan
from front_onnx.plan.request import Request
from front_onnx.session import Session

__all__ = ["BEST", "Steps", "steps"]

BEST = "best"


@dataclass(frozen=True, eq=False)
class Steps:
    """A request in one step or two.

    Attributes:
        whole: the request as one, for what it is called and what is in its way.
        grown: the plan of lossless growth that comes first; None if nothing grows, or not apart from what shrinks.
        session: what the last step works on: the model itself, or what it grew to.
        last: the request of the last step.
        calibrated: True if the last step is to be calibrated.
    """

    whole: Plan
    grown: Plan | None
    session: Session
    last: Request
    calibrated: bool


def steps(session: Session, request: Request) -> Steps:
    """Split a request into lossless growth and what shrinks.

    Raises:
        RequestError, UnsupportedError: as by `Session.plan`.
    """
    front = replace(request, method="front")
    whole = session.plan(front)
    depths = [(before, after) for before, after in whole.depths if before != after]
    widths = [(v.size, n) for v, n in whole.sizes.items() if n != v.size and v not in whole.structure.depths]
    deeper, wider = (all(a < b for a, b in sizes) and bool(sizes) for sizes in (depths, widths))
    fewer, narrower = (any(a > b for a, b in sizes) for sizes in (depths, widths))
    lossless = replace(request, method="lossless")
    if not fewer and not narrower:
        return Steps(whole, None, session, lossless if deeper or wider else front, calibrated=False)
    only_depth = Request(depth=request.depth, treat=request.treat, seed=request.seed, method="lossless")
    growth, rest = None, front
    if deeper and narrower:
        growth, rest = only_depth, replace(front, depth=None)
    elif wider and fewer:
        growth, rest = replace(lossless, depth=None), replace(only_depth, method="front")
    if growth is None:
        return Steps(whole, None, session, front, calibrated=True)
    grown = session.plan(growth)
    return Steps(whole, grown, Session(session.resized(growth)), rest, calibrated=True)
