"""The algebra of axes: what unifying and cutting keep, what they refuse, and that sizes can be computed again."""

from __future__ import annotations

import contextlib
import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from front_onnx.axes.algebra import Algebra
from front_onnx.axes.holds import Hold, Why
from front_onnx.axes.size import Axis, AxisRole, Conflict, SizeVar, size_of

SIZES = st.integers(2, 6)
QUICK = settings(max_examples=80, deadline=None)
KEPT, STUCK = Hold(Why.INPUT_AXIS, tensor="x", axis=1), Hold(Why.UNFOLLOWED, 3, detail="it has no rule")


def sizes(axis: Axis) -> list[int]:
    return [var.size for var in axis]


def brute_force(axis: Axis, new: dict[SizeVar, int]) -> int:
    """The size of an axis, followed link by link without the algebra's help."""
    total = 1
    for var in axis:
        while var.link is not None:
            var = var.link
        if var.factors is not None:
            total *= brute_force(var.factors, new)
        elif var.parts is not None:
            total *= sum(brute_force(part, new) for part in var.parts)
        else:
            total *= new[var]
    return total


def depth(axis: Axis, limit: int = 60) -> int:
    """How deep an axis is nested; a cycle would go past the limit."""
    assert limit, "a cycle"
    below = [0]
    for var in axis:
        while var.link is not None:
            var = var.link
            limit -= 1
            assert limit, "a cycle"
        for part in [var.factors or (), *(var.parts or ())]:
            below.append(1 + depth(part, limit - 1) if part else 0)
    return max(below)


@st.composite
def histories(draw) -> tuple[Algebra, list[tuple[Axis, int]]]:
    """Random axes, unified, divided, cut and summed at random; what conflicts is left as it is."""
    algebra = Algebra()
    known: list[tuple[Axis, int]] = []

    def note(axis: Axis) -> None:
        known.append((axis, size_of(axis)))

    for size in draw(st.lists(st.sampled_from([4, 6, 8, 12, 16, 24, 36]), min_size=3, max_size=6)):
        note(algebra.new(size))
    for _ in range(draw(st.integers(1, 14))):
        axis, size = known[draw(st.integers(0, len(known) - 1))]
        other, other_size = known[draw(st.integers(0, len(known) - 1))]
        with contextlib.suppress(Conflict):
            match draw(st.sampled_from(["unify", "divide", "cut", "total", "product", "joined"])):
                case "unify":
                    algebra.unify(axis, other)
                case "divide":
                    divisors = [n for n in range(1, size + 1) if size % n == 0]
                    for part in algebra.divide(axis, draw(st.sampled_from(divisors))):
                        note(part)
                case "cut" if size > 1:
                    for part in algebra.cut(axis, draw(st.integers(1, size - 1))):
                        note(part)
                case "total" if size + other_size < 200:
                    note(algebra.total([axis, other]))
                case "product" if size * other_size < 200:
                    note((*axis, *other))
                case "joined":
                    same = [a for a, n in known if n == size]
                    algebra.unify(axis, same[draw(st.integers(0, len(same) - 1))])
    return algebra, known


@QUICK
@given(histories())
def test_no_operation_changes_a_size_and_nothing_is_circular(history):
    algebra, known = history
    for axis, size in known:
        assert size_of(axis) == size
        assert size_of(algebra.expand(axis)) == size
        assert algebra.evaluate(axis, lambda var: var.size) == size
        depth(axis)


@QUICK
@given(histories(), st.randoms(use_true_random=False))
def test_new_sizes_are_those_of_a_brute_force_reconstruction(history, rng):
    algebra, known = history
    free = [var for axis, _ in known for var in algebra.free_variables(axis)]
    new = {var: rng.randint(1, 9) for var in free}
    for axis, _ in known:
        assert algebra.evaluate(axis, new.__getitem__) == brute_force(axis, new)


@QUICK
@given(histories())
def test_unifying_twice_or_the_other_way_round_changes_nothing(history):
    algebra, known = history
    for axis, size in known:
        for other, other_size in known:
            if size != other_size:
                continue
            unnested = len(algebra.equalities)
            try:
                algebra.unify(axis, other)
            except Conflict:
                continue
            if len(algebra.equalities) > unnested:
                continue  # fixed, and cut in different ways: only their sizes are tied
            assert algebra.same(axis, other) and algebra.same(other, axis)
            before = [algebra.expand(a) for a, _ in known]
            algebra.unify(other, axis)
            algebra.unify(axis, other)
            assert [algebra.expand(a) for a, _ in known] == before


@QUICK
@given(histories(), st.randoms(use_true_random=False))
def test_what_is_one_has_one_size_whatever_the_atoms_become(history, rng):
    algebra, known = history
    ones = []
    for (axis, size), (other, other_size) in itertools.pairwise(known):
        if size == other_size:
            unnested = len(algebra.equalities)
            with contextlib.suppress(Conflict):
                algebra.unify(axis, other)
                ones += [(axis, other)] * (len(algebra.equalities) == unnested)
    new = {var: rng.randint(1, 9) for axis, _ in known for var in algebra.free_variables(axis)}
    for axis, other in ones:
        assert algebra.evaluate(axis, new.__getitem__) == algebra.evaluate(other, new.__getitem__)


@QUICK
@given(histories(), st.randoms(use_true_random=False))
def test_reasons_reach_every_atom_an_axis_is_made_of(history, rng):
    algebra, known = history
    variables = [var for axis, _ in known for var in algebra.expand(axis)]
    if not variables:
        return
    fixed, frozen = rng.choice(variables), rng.choice(variables)
    fixed.holds |= {KEPT}
    frozen.holds |= {STUCK}
    for axis, size in known:
        if size > 4 and size % 2 == 0:
            with contextlib.suppress(Conflict):
                algebra.divide(axis, 2)
                algebra.cut(axis, size // 2)
    for (axis, _), (other, _) in zip(known, known[::-1], strict=True):
        with contextlib.suppress(Conflict):
            algebra.unify(axis, other)
    algebra.settle()
    assert all(var.fixed for var in algebra.free_variables((fixed,)))
    assert all(var.frozen for var in algebra.free_variables((frozen,)))


@QUICK
@given(st.lists(SIZES, min_size=1, max_size=4), st.data())
def test_every_cut_of_a_product_between_its_factors_is_found(factors, data):
    algebra = Algebra()
    axis = tuple(var for n in factors for var in algebra.new(n))
    place = data.draw(st.integers(0, len(factors)))
    lead, trail = algebra.divide(axis, math.prod(factors[place:]))
    assert (sizes(lead), sizes(trail)) == (factors[:place], factors[place:])


@QUICK
@given(st.lists(SIZES, min_size=2, max_size=4), st.data())
def test_a_plain_axis_takes_the_factors_it_is_given(factors, data):
    algebra = Algebra()
    plain = algebra.new(math.prod(factors))
    product = tuple(var for n in factors for var in algebra.new(n))
    algebra.unify(*((plain, product) if data.draw(st.booleans()) else (product, plain)))
    assert sizes(algebra.expand(plain)) == factors
    assert algebra.same(plain, product)


def test_a_cut_inside_an_atom_refines_it_in_place():
    algebra = Algebra()
    lead, trail = algebra.divide((*algebra.new(12), *algebra.new(5)), 15)
    assert (sizes(lead), sizes(trail)) == ([4], [3, 5])


def test_twelve_heads_of_64_and_768():
    algebra = Algebra()
    hidden, heads, size = algebra.new(768), algebra.new(12), algebra.new(64)
    algebra.unify(hidden, (*heads, *size))
    assert algebra.expand(hidden) == (*heads, *size)
    assert algebra.divide(hidden, 64) == (heads, size)
    assert algebra.evaluate(hidden, lambda var: {12: 6, 64: 32}[var.size]) == 192


def test_a_finer_cut_on_either_side():
    algebra = Algebra()
    left = (*algebra.new(4), *algebra.new(6))
    right = (*algebra.new(2), *algebra.new(12))
    algebra.unify(left, right)
    assert sizes(algebra.expand(left)) == sizes(algebra.expand(right)) == [2, 2, 6]


def test_four_by_six_is_not_six_by_four():
    algebra = Algebra()
    left = (*algebra.new(4), *algebra.new(6))
    right = (*algebra.new(6), *algebra.new(4))
    with pytest.raises(Conflict):
        algebra.unify(left, right)
    assert size_of(algebra.expand(left)) == size_of(algebra.expand(right)) == 24


def test_fixed_axes_that_do_not_nest_have_to_agree():
    algebra = Algebra()
    left = (*algebra.new(4, KEPT), *algebra.new(6, KEPT))
    right = (*algebra.new(6, KEPT), *algebra.new(4, KEPT))
    algebra.unify(left, right)
    assert algebra.equalities


@pytest.mark.parametrize("trailing", [1, 2, 3, 6, 12])
def test_a_sum_has_a_factor_that_all_its_parts_have(trailing):
    """h*d + k*d = (h + k)*d."""
    algebra = Algebra()
    parts = [algebra.new(24), algebra.new(12), algebra.new(36)]
    total = algebra.total(parts)
    lead, trail = algebra.divide(total, trailing)
    assert (size_of(lead), size_of(trail)) == (72 // trailing, trailing)
    for part in parts if trailing > 1 else []:
        assert algebra.same(algebra.expand(part)[-len(trail) :], trail)


def test_segments_without_a_common_factor_are_only_as_long_as_the_product():
    algebra = Algebra()
    segments = [algebra.new(9), algebra.new(15)]
    total = algebra.total(segments)
    algebra.mark(segments[0], AxisRole.CONTRACTED)
    lead, trail = algebra.divide(total, 2)
    assert (size_of(lead), size_of(trail)) == (12, 2)
    assert [[size_of(algebra.expand(side)) for side in pair] for pair in algebra.equalities] == [[24, 24]]
    assert [algebra.expand(part) for part in algebra.equalities[0][0][0].parts or ()] == segments
    algebra.settle()
    assert all(AxisRole.CONTRACTED in var.roles for var in (*lead, *trail, *segments[1]))


def test_equal_thirds_of_a_product_are_the_first_factor():
    algebra = Algebra()
    third = algebra.new(8)
    total = algebra.total([third, third, third])
    algebra.unify(total, (*algebra.new(3), *algebra.new(8)))
    assert sizes(algebra.expand(total)) == [3, 8]
    assert algebra.same(algebra.expand(total)[1:], third)


def test_sums_unify_segment_by_segment():
    algebra = Algebra()
    a, b, c, d = (algebra.new(n) for n in (4, 6, 4, 6))
    algebra.unify(algebra.total([a, b]), algebra.total([c, d]))
    assert algebra.same(a, c) and algebra.same(b, d)


def test_segments_that_were_cut_afterwards_unify():
    algebra = Algebra()
    whole, rest = algebra.new(12), algebra.new(5)
    left = algebra.total([whole, rest])
    algebra.cut(whole, 3)
    algebra.cut(whole, 8)
    first, second, third = algebra.new(3), algebra.new(9), algebra.new(5)
    right = algebra.total([first, second, third])
    algebra.unify(left, right)
    assert (
        algebra.same(left, right)
        and algebra.same(rest, third)
        and algebra.same(whole, (*algebra.total([first, second]),))
    )


@QUICK
@given(st.integers(2, 40), st.lists(st.integers(1, 39), min_size=1, max_size=5))
def test_cuts_at_any_places_in_any_order(size, places):
    algebra = Algebra()
    axis = algebra.new(size)
    for at in places:
        if at < size:
            first, second = algebra.cut(axis, at)
            assert (size_of(first), size_of(second)) == (at, size - at)
    ends = sorted({at for at in places if at < size} | {size})
    parts = algebra.expand(axis)[0].parts or [axis]
    assert [size_of(part) for part in parts] == [b - a for a, b in zip([0, *ends], ends, strict=False)]


def test_a_cut_inside_a_row_is_refused():
    algebra = Algebra()
    axis = (*algebra.new(3), *algebra.new(4))
    assert [size_of(part) for part in algebra.cut(axis, 8)] == [8, 4]
    with pytest.raises(Conflict):
        algebra.cut(axis, 6)
    assert size_of(algebra.expand(axis)) == 12


def test_a_conflict_says_what_would_have_fitted():
    algebra = Algebra()
    with pytest.raises(Conflict) as caught:
        algebra.unify(algebra.new(11), algebra.new(22))
    assert caught.value.ratio == 2


def test_parts_of_a_fixed_axis_are_fixed_and_of_a_frozen_one_frozen():
    algebra = Algebra()
    axis = algebra.new(24, KEPT)
    algebra.hold(axis, STUCK)
    lead, trail = algebra.divide(axis, 6)
    first, second = algebra.cut(lead, 1)
    variables = [a for part in (lead, trail, first, second) for a in algebra.free_variables(part)]
    assert variables and all(a.holds == {KEPT, STUCK} and a.fixed and a.frozen for a in variables)


def test_a_size_of_one_carries_no_dim():
    algebra = Algebra()
    assert algebra.new(1) == ()
    axis = algebra.new(8)
    assert algebra.divide(axis, 1) == (axis, ())
    assert algebra.divide(axis, 8) == ((), axis)


def test_sizes_known_at_run_time_are_told_by_name():
    """They are primes inside, which nobody has ever seen."""
    algebra = Algebra()
    width, batch, other = algebra.new(8), algebra.new(1009), algebra.new(1013)
    algebra.name(batch, "batch")
    algebra.mark(other, AxisRole.UNKNOWN)
    with pytest.raises(Conflict, match=r"^8 x batch is not a size known only at run time$"):
        algebra.unify((*width, *batch), other)


def state(algebra: Algebra, axes: list[Axis]) -> object:
    """All that is known of some axes."""
    variables = [var for axis in axes for var in algebra.free_variables(axis)]
    expanded = [algebra.expand(axis) for axis in axes]
    parts = [[[*map(algebra.expand, var.parts)] if var.parts else None for var in axis] for axis in expanded]
    return expanded, parts, [(var.holds, var.roles, var.symbols) for var in variables], [*algebra.equalities]


@QUICK
@given(histories(), st.randoms(use_true_random=False))
def test_a_failed_attempt_leaves_nothing_behind(history, rng):
    algebra, known = history
    axes = [axis for axis, _ in known]
    before = state(algebra, axes)
    with contextlib.suppress(Conflict), algebra.attempt():
        for axis, size in rng.sample(known, len(known)):
            same = [other for other, n in known if n == size]
            algebra.hold(axis, rng.choice([KEPT, STUCK]))
            algebra.unify(axis, rng.choice(same))
            with contextlib.suppress(Conflict), algebra.attempt():
                algebra.mark(axis, AxisRole.INNER)
                if size > 1:
                    algebra.cut(axis, rng.randint(1, size - 1))
                if rng.random() < 0.5:
                    raise Conflict("inside")
        raise Conflict("in the end")
    assert state(algebra, axes) == before


@QUICK
@given(histories(), st.randoms(use_true_random=False))
def test_an_attempt_that_fits_is_what_it_is_without_one(history, rng):
    algebra, known = history
    sizes_before = [size for _, size in known]
    pairs = [(axis, other) for axis, n in known for other, m in known if n == m]
    done = 0
    for axis, other in rng.sample(pairs, min(len(pairs), 5)):
        with contextlib.suppress(Conflict):
            with algebra.attempt():
                algebra.unify(axis, other)
            done += 1
            assert algebra.same(axis, other) or algebra.equalities
    assert [size_of(algebra.expand(axis)) for axis, _ in known] == sizes_before
    assert not pairs or done


def test_what_is_tried_inside_an_attempt_that_fails_goes_with_it():
    algebra = Algebra()
    left, right = [algebra.new(n) for n in (4, 6, 8)], [algebra.new(n) for n in (4, 6, 9)]
    with pytest.raises(Conflict), algebra.attempt():
        for one, other in zip(left, right, strict=True):
            with algebra.attempt():
                algebra.unify(one, other)
    assert not any(algebra.same(one, other) for one, other in zip(left, right, strict=True))


def test_reasons_are_united_and_only_the_one_that_is_meant_goes():
    algebra = Algebra()
    indexed = Hold(Why.INDEXED, 2)
    left, right = algebra.new(8, KEPT), algebra.new(8, indexed)
    algebra.unify(left, right)
    (var,) = algebra.expand(right)
    assert var.holds == {KEPT, indexed} and var.fixed
    algebra.release(left, Why.INPUT_AXIS)
    assert var.holds == {indexed} and var.fixed
    algebra.release(left, Why.INDEXED)
    assert not var.fixed
