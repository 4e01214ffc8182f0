"""In which tier cases run that are alike: some here, the others later (docs/testing.md).

A test keeps its cases in one list, and says how many of them the earlier tier needs. What is left to a later one is
more of the same: other seeds, sizes, targets, architectures or exporters, never a kind of its own.
"""

from collections.abc import Callable, Collection, Iterable

import pytest

__all__ = ["by_exporter", "few"]

Keep = int | Collection[object] | Callable[[object], bool]


def few(cases: Iterable[object], keep: Keep, *, mark: str = "more") -> list:
    """The cases as pytest's parameters, in their order, all but some with a mark: `more`, or `slow`.

    `keep` is how many of the first are kept as they are, a collection of them, or a question asked of each. A tuple is
    the values of several parameters; so is what `few` itself has returned, which keeps the marks that it has.
    """
    params = [case if hasattr(case, "values") and hasattr(case, "marks") else _param(case) for case in cases]
    values = [param.values[0] if len(param.values) == 1 else tuple(param.values) for param in params]
    if callable(keep):
        kept = [bool(keep(value)) for value in values]
    elif isinstance(keep, int):
        kept = [place < keep for place in range(len(values))]
    else:
        kept = [value in keep for value in values]
        missing = [value for value in keep if value not in values]
        assert not missing, f"no such cases: {missing}"
    later = getattr(pytest.mark, mark)
    return [
        param if here else pytest.param(*param.values, marks=[*param.marks, later], id=param.id)
        for param, here in zip(params, kept, strict=True)
    ]


def _param(case: object):
    return pytest.param(*case) if isinstance(case, tuple) else pytest.param(case)


def by_exporter(cases: Iterable[object], dynamo: Keep = 1, torchscript: Keep | None = None) -> list:
    """Each case by TorchScript and by dynamo; `dynamo` and `torchscript` say which of them are not `more`.

    An export by dynamo takes ten times as long, and what it writes otherwise it writes in few places: some cases by
    both exporters tell whether a difference between them matters.
    """
    found = []
    for exporter, keep in (("torchscript", torchscript), ("dynamo", dynamo)):
        params = few(cases, keep) if keep is not None else [_param(case) for case in cases]
        found += [pytest.param(*param.values, exporter, marks=param.marks) for param in params]
    return found
