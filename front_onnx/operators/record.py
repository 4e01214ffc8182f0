"""Operators: one record for each, read by everything that has to know what an operator does.

A record holds the rule that follows axes through a node, and what else is true of the operator: traits, inputs that are
settings, inputs that are gains. Whoever asks "does this only move data?" asks a trait, so an operator that is added
here, or by another package (entry points of the group `front_onnx.operators`), is known everywhere at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Flag, auto
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol

from front_onnx.errors import FrontError
from front_onnx.read.node import AnyNode

if TYPE_CHECKING:
    from front_onnx.operators.context import RuleContext

__all__ = ["OPERATORS", "Operator", "Trait", "load_plugins", "operator", "record_of", "values_of"]


class Trait(Flag):
    """What is true of an operator, whatever its axes.

    "Its input" is input 0.
    """

    NONE = 0
    VIEW = auto()  # gives back all elements of its input, in another shape, order, type or name
    PICKS = auto()  # gives back some elements of its input
    REPEATS = auto()  # gives back the elements of its input, some of them several times
    GATHERS = auto()  # picks the elements that indices say
    SLICES = auto()  # picks stretches of axes
    JOINS = auto()  # gives back all elements of all its inputs
    SHIFTS = auto()  # adds or subtracts
    MULTIPLIES = auto()
    DIVIDES = auto()
    MAGNITUDE = auto()  # gives back elements as large as those of its input
    BENDS = auto()  # an activation: nonlinear, element by element
    ZERO = auto()  # an activation that is zero where its input is
    SETTLES = auto()  # changes nothing the second time
    LINEAR = auto()  # weighs entries of other axes than channels, the same for every channel: a mean, a running sum
    SHARES = auto()  # makes shares or probabilities of logits
    SOFTMAX = auto()  # shares of one, along an axis
    CHOOSES = auto()  # takes each element from one input or another
    BOUNDS = auto()  # keeps elements below or above something
    COUNTS = auto()  # makes numbers that count on
    PERIODIC = auto()  # a sine or cosine
    ROOT = auto()  # takes a root
    REDUCES = auto()  # folds axes of its input
    CONTRACTS = auto()  # sums products with a weight
    PRODUCT = auto()  # a contraction whose weight may be either operand
    CONVOLVES = auto()  # a contraction that has kernel sides
    RECURRENT = auto()  # contracts with its own state, step by step
    ATTENDS = auto()  # attention in one operator: weighs places by what others hold
    NORMALISES = auto()  # divides by a deviation or a root mean square
    LAYERWISE = auto()  # normalises over the last axes, each place by itself
    CENTRES = auto()  # takes the mean away before it normalises
    PARAMETERS = auto()  # a constant that it reads is a weight, whatever it holds
    MEASURES = auto()  # reads the shape of its input, and none of its values
    NO_GRADIENT = auto()  # no gradient passes

    SCALES = MULTIPLIES | DIVIDES
    ARITHMETIC = SHIFTS | SCALES
    LOOKS_UP = GATHERS | SLICES  # which elements it gives back may depend on data
    MOVES = VIEW | PICKS | REPEATS


class Rule(Protocol):
    """Applies one operator's specification to axes."""

    def __call__(self, ctx: RuleContext) -> None: ...


@dataclass(frozen=True)
class Operator:
    """What is known of an operator.

    Attributes:
        name: as the specification has it.
        domain: its operator set; "ai.onnx" for the default one.
        rule: follows axes through a node.
        traits: see `Trait`.
        numbers: inputs that are read as numbers: shapes, axes, counts.
        settings: other inputs that say what to do: bounds, probabilities, a value to pad with.
        indices: inputs that say which elements of another one are taken.
        parameters: by input, what a norm's parameter is for: gain, bias, mean, variance.
    """

    name: str
    domain: str
    rule: Rule
    traits: Trait = Trait.NONE
    numbers: tuple[int, ...] = ()
    settings: tuple[int, ...] = ()
    indices: tuple[int, ...] = ()
    parameters: Mapping[int, str] = field(default_factory=dict)

    def has(self, traits: Trait) -> bool:
        """True if the operator has one of some traits."""
        return bool(self.traits._value_ & traits._value_)  # whole numbers: flags would make a flag of it first


def _unknown(ctx: RuleContext) -> None:
    raise NotImplementedError


_UNKNOWN = Operator("", "", _unknown, Trait.PARAMETERS)
OPERATORS: dict[tuple[str, str], Operator] = {}


def operator(
    *names: str,
    domain: str = "ai.onnx",
    traits: Trait = Trait.NONE,
    numbers: Iterable[int] = (),
    settings: Iterable[int] = (),
    indices: Iterable[int] = (),
    parameters: Mapping[int, str] | None = None,
) -> Callable[[Rule], Rule]:
    """Register a rule, and what else is true, for operators of one domain. See `Operator`.

    Raises:
        ValueError: one of them has a record already; which of two is right cannot be told.

    Example:
        @operator("Mish", traits=Trait.BENDS)
        def mish(ctx: RuleContext) -> None:
            ctx.out(ctx.axes(0))
    """

    def register(rule: Rule) -> Rule:
        for name in names:
            if (domain, name) in OPERATORS:
                raise ValueError(f"{name} of {domain} has a record already")
            OPERATORS[domain, name] = Operator(
                name, domain, rule, traits, tuple(numbers), tuple(settings), tuple(indices), dict(parameters or {})
            )
        return rule

    return register


def record_of(node: AnyNode) -> Operator:
    """The record of a node's operator; for one that is not known, a record without a rule's knowledge."""
    return OPERATORS.get((node.domain or "ai.onnx", node.op_type), _UNKNOWN)


def values_of(node: AnyNode) -> list[str]:
    """The inputs whose values a node hands on: not its settings, nor the places that it picks."""
    record = record_of(node)
    others = (*record.numbers, *record.settings, *record.indices)
    return [name for slot, name in enumerate(node.input) if slot not in others]


@cache
def load_plugins() -> None:
    """Load the operators of other packages, once.

    Raises:
        FrontError: a package cannot be loaded.
    """
    for found in entry_points(group="front_onnx.operators"):
        try:
            found.load()
        except Exception as error:
            line = f"operators of the package {found.dist.name if found.dist else found.value} cannot be loaded"
            raise FrontError(f"{line}: {error}", hint="install another version of it, or remove it") from error
