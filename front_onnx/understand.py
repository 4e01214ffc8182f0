"""Understanding: what a graph is made of, in one pass after another; what they find is not changed afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from front_onnx.blocks.alike import tie_values
from front_onnx.blocks.chain import Chain
from front_onnx.blocks.chains import find_chains, told_apart
from front_onnx.blocks.chosen import chosen_chains
from front_onnx.blocks.looped import find_looped
from front_onnx.blocks.ports import free_inputs, with_heads
from front_onnx.blocks.segments import Flow
from front_onnx.constants.classify import classify
from front_onnx.constants.compared import tie_compared
from front_onnx.constants.copies import tie_copies, tie_measured, tie_transposed
from front_onnx.constants.held import hold_axes
from front_onnx.constants.kinds import Kind
from front_onnx.constants.scalars import Guess, share_meanings, tie_scalars
from front_onnx.dims.best import release_best
from front_onnx.dims.naming import name_dims
from front_onnx.dims.residual import chosen_residuals, found_residual, shared_width
from front_onnx.dims.structure import Structure
from front_onnx.operators.analysis import Analysis, analyse
from front_onnx.read.graph import Graph

__all__ = ["follow_axes", "tie_constants", "understand"]


def understand(
    graph: Graph,
    blocks: Sequence[str] = (),
    residuals: Sequence[str] = (),
    treat: Mapping[str, Kind] | None = None,
) -> Structure:
    """Analyse a graph: axes, chains of blocks, named dims.

    Args:
        graph: the graph.
        blocks: repeated units by hand, `NODE..NODE` each: their chains instead of those that are found.
        residuals: residual widths by hand, `TENSOR` or `TENSOR:AXIS` each: instead of what is found for their chains.
        treat: what constants are, by patterns of names: instead of what is found.

    Raises:
        RequestError: what is named by hand is not there, or is no unit or width.
    """
    # axes: every size of every tensor, and the numbers and scalars that stand for sizes
    analysis, guesses = follow_axes(graph)

    # constants: weights, tables, masks, settings
    constants = classify(analysis, treat)

    # blocks: chains of repeated units, alike in every size
    flow = Flow(analysis, constants)
    chains = chosen_chains(flow, blocks) if blocks else find_chains(flow)
    chains = told_apart(flow, _in_order(flow, [*chains, *find_looped(flow)]))
    chains = [with_heads(flow, chain) for chain in chains]
    tie_values(analysis, chains)
    share_meanings(analysis, (place for chain in chains for place in chain.places.values()))
    analysis.algebra.settle()
    free_inputs(flow, chains)

    # dims: residual widths, what stays, and names
    release_best(analysis)
    found = [found_residual(analysis, chain) for chain in chains]
    widths, loose = chosen_residuals(analysis, chains, residuals, found)
    loose = loose if chains or loose is not None else shared_width(analysis)
    hold_axes(analysis, constants, [axis for axis in (*widths, loose) if axis is not None])
    analysis.algebra.close()
    structure = Structure(flow, chains, widths, [], guesses, loose)
    structure.dims = name_dims(structure)
    return structure


def follow_axes(graph: Graph) -> tuple[Analysis, list[Guess]]:
    """Follow every axis of a graph, and tie the constants that belong to a size; also gives what was guessed."""
    analysis = analyse(graph)
    return analysis, tie_constants(analysis)


def tie_constants(analysis: Analysis) -> list[Guess]:
    """Tie what a file holds twice, and the scalars that follow a size."""
    tie_transposed(analysis)
    tie_measured(analysis)
    tie_copies(analysis)
    guesses = tie_scalars(analysis)
    tie_compared(analysis)
    analysis.algebra.settle()
    return guesses


def _in_order(flow: Flow, chains: list[Chain]) -> list[Chain]:
    """Chains in the order data takes, an encoder before its decoder; those that do not meet in the file's order."""
    ends = [chain.units[-1][-1].nodes[-1] for chain in chains]
    behind = [len(flow.behind(chain.end).intersection(ends)) for chain in chains]
    order = sorted(range(len(chains)), key=lambda i: (behind[i], chains[i].units[0][0].nodes[-1]))
    return [chains[i] for i in order]
