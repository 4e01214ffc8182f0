"""What every weight of a model is there for: its role, from how data flow, not from names.

Query, key and value are what the two products of attention read, the output what reads their result; a feed-forward
layer leads away from the residual stream and back; a norm is named after what it feeds; a bias after what it is added
to. A fused weight has several roles, one for each of its pieces.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from front_onnx.axes.size import Axis, size_of
from front_onnx.dims.structure import Structure
from front_onnx.operators.equation import parse
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge
from front_onnx.read.tensor_data import is_float
from front_onnx.roles.norms import is_gained, is_normed, is_root, normed_end
from front_onnx.roles.piece import Piece
from front_onnx.roles.role import Role, Task
from front_onnx.roles.tables import Tables
from front_onnx.roles.trace import Arrival, Contraction, Pick, Trace

__all__ = ["find_pieces"]

_QUERY, _KEY, _VALUE, _OUTPUT = (Role(task) for task in (Task.QUERY, Task.KEY, Task.VALUE, Task.OUTPUT))
_IN, _OUT, _GATE, _UP = (Role(task) for task in (Task.IN, Task.OUT, Task.GATE, Task.UP))  # of a feed-forward layer
_NORM_STEPS = 4
_STRAIGHT = Trait.VIEW | Trait.PICKS


def find_pieces(structure: Structure) -> list[Piece]:
    """All weights of a model by role; equal roles in one place are numbered."""
    return _Roles(structure).run()


class _Roles:
    def __init__(self, structure: Structure) -> None:
        self.structure, self.analysis, self.graph = structure, structure.analysis, structure.graph
        self.algebra = self.analysis.algebra
        self.trace = Trace(self.analysis)
        self.tables = Tables(self.analysis)
        self.behind_chains = [self._after(chain.end) for chain in structure.chains]
        self.by_edge: dict[Edge, Contraction] = {c.edge: c for c in self.trace.contractions.values()}
        self.roles: dict[int, dict[Role, list[Arrival]]] = defaultdict(lambda: defaultdict(list))
        self.first = {
            edge: (n, there) for n, chain in enumerate(structure.chains) for edge, there in chain.places.items()
        }
        self.later = {e for _, there in self.first.values() for e in there[1:]} - set(self.first)
        self.sides: dict[tuple[int, int], Role] = {}  # (product of two activations, operand): query, key or value
        self.ups, self.downs = self._heights()

    def run(self) -> list[Piece]:
        """Roles of contractions first; what goes by them afterwards."""
        for product in sorted(self.trace.products):
            self._attention(product)
        for index in self.trace.contractions:
            if not self.roles[index]:
                self.roles[index][self._way(index)].append(Arrival(index, (), False))
        self._ways_in()
        self._gates()
        found: list[tuple[tuple[int, ...], Piece]] = []
        for edge, fact in sorted(self.analysis.uses.items()):
            if edge in self.later or fact.value is not None or not fact.axes or self.structure.constants[edge].is_kept:
                continue
            if record_of(self.graph.nodes[edge.node]).has(Trait.MEASURES):
                continue
            if not is_float(np.dtype(self.graph.array(self.graph.read_by(edge)).dtype)):
                continue
            place = (self.ups[edge.node], -self.downs[edge.node], self._token(edge.node))
            found += [(place, piece) for piece in self._pieces(edge)]
        return _numbered(found)

    def _token(self, index: int) -> int:
        """Which place of a sequence a node reads, where a number says so: two heads may read two tokens."""
        name = self.graph.nodes[index].input[0]
        while name not in self.graph.constants and (maker := self.graph.producer.get(name)) is not None:
            node = self.graph.nodes[maker]
            if not record_of(node).has(_STRAIGHT | Trait.SHIFTS) and maker not in self.trace.contractions:
                break
            pick = self.trace.pick(maker, name)
            if pick is not None:
                return pick.start
            name = node.input[0]
        return 0

    def _heights(self) -> tuple[list[int], list[int]]:
        """How many contractions lie before and behind each node, along the longest way: no exporter's order matters."""
        count = len(self.graph.nodes)
        ups, downs = [0] * count, [0] * count
        for index, node in enumerate(self.graph.nodes):
            before = [self.graph.producer[name] for name in node.input if name in self.graph.producer]
            ups[index] = max((ups[maker] for maker in before), default=0) + (index in self.trace.contractions)
        for index in reversed(range(count)):
            step = index in self.trace.contractions
            for name in self.graph.nodes[index].input:
                if name in self.graph.producer:
                    maker = self.graph.producer[name]
                    downs[maker] = max(downs[maker], downs[index] + step)
        return ups, downs

    # -- contractions -------------------------------------------------------------------------------------------------

    def _attention(self, product: int) -> None:
        """Roles of what a product of attention and values comes from and goes to."""
        node = self.graph.nodes[product]
        if len(node.input) < 2:
            return
        mixed = [self.trace.from_softmax(name) for name in node.input[:2]]
        if mixed.count(True) != 1:
            return
        attention = mixed.index(True)
        scores = self.trace.scores(node.input[attention])
        if len(scores) != 1:
            return
        first, second = self.graph.nodes[scores[0]].input[:2]
        sides = {_QUERY: first, _KEY: second, _VALUE: node.input[1 - attention]}
        if node.op_type == "Einsum" or self.graph.nodes[scores[0]].op_type == "Einsum":
            query = self._is_query(product, attention, scores[0])
            if query is None:
                return
            sides[_QUERY], sides[_KEY] = (first, second) if query == 0 else (second, first)
        elif attention != 0:
            return
        for role, name in sides.items():
            reader = product if role == _VALUE else scores[0]
            self.sides[reader, list(self.graph.nodes[reader].input).index(name)] = role
        found = {role: self.trace.arrivals(name) for role, name in sides.items()}
        if any(len({a.node for a in arrivals}) != 1 for arrivals in found.values()):
            return
        for role, arrivals in found.items():
            known = self.roles[arrivals[0].node][role]
            known += [a for a in arrivals if a not in known]
        readers = self.trace.readers(node.output[0])
        if len(readers) == 1:
            self.roles[readers[0]][_OUTPUT] = [Arrival(readers[0], (), False)]

    def _is_query(self, product: int, attention: int, scores: int) -> int | None:
        """Which operand of the scores has the places that the result has: the keys' places are summed over."""
        summed = set(map(id, self.algebra.expand(self.analysis.products[product])))
        node = self.graph.nodes[scores]
        held = []
        for name in node.input[:2]:
            fact = self.analysis.facts.get(name)
            variables = {id(a) for axis in (fact.axes if fact and fact.axes else ()) for a in self.algebra.expand(axis)}
            held.append(bool(summed & variables))
        if held.count(True) == 1:
            return held.index(False)
        return _query_by_letters(self.graph, product, attention, scores)

    def _way(self, index: int) -> Role:
        """A contraction that is no part of attention, by what it leads from and to."""
        contraction = self.trace.contractions[index]
        axes = self.analysis.uses[contraction.edge].axes or ()
        node = self.graph.nodes[index]
        sides = (axis for place, axis in enumerate(axes) if place not in (*contraction.into, *contraction.out))
        kernel = tuple(map(size_of, sides)) if record_of(node).has(Trait.CONVOLVES) else None
        residual = self.structure.residual_of(self._chain(contraction.edge))
        if residual is None:
            return Role(Task.WEIGHT, kernel)
        into, out = (
            self.algebra.same(tuple(a for place in places for a in axes[place]), residual)
            for places in (contraction.into, contraction.out)
        )
        if into == out:
            return Role(Task.MIX if into else Task.INNER, kernel)
        return Role(Task.IN if into else Task.OUT, kernel)

    def _ways_in(self) -> None:
        """What leads to a way out may be a part of the weight that queries, keys and values are cut from, too."""
        for index in [index for index, roles in self.roles.items() if _OUT in roles]:
            for arrival in self.trace.arrivals(self.graph.nodes[index].input[0]):
                roles = self.roles[arrival.node]
                if arrival.picks and _QUERY in roles and arrival not in roles[_IN]:
                    roles[_IN].append(arrival)

    def _gates(self) -> None:
        """Of two ways in whose results are multiplied, the one behind a nonlinearity is the gate."""
        for node in self.graph.nodes:
            if not record_of(node).has(Trait.MULTIPLIES) or any(name in self.graph.constants for name in node.input):
                continue
            sides = [self.trace.arrivals(name) for name in node.input]
            sources = [{(a.node, a.picks) for a in side} for side in sides]
            if any(len(source) != 1 for source in sources) or sources[0] == sources[1]:
                continue
            bent = [any(a.bent for a in side) for side in sides]
            ways = [set(self.roles[side[0].node]) for side in sides]
            if bent.count(True) != 1 or any(not way <= {_IN, _GATE, _UP} for way in ways):
                continue
            for side in sides:
                self.roles[side[0].node].pop(_IN, None)
            for side, curved in zip(sides, bent, strict=True):
                self.roles[side[0].node][_GATE if curved else _UP] = list(side)

    # -- pieces -------------------------------------------------------------------------------------------------------

    def _pieces(self, edge: Edge) -> Iterator[Piece]:
        contraction = self.by_edge.get(edge)
        if contraction is not None:
            for role, arrivals in self.roles[contraction.node].items():
                yield self._cut(edge, role, arrivals, contraction)
            return
        node = self.graph.nodes[edge.node]
        if edge in self.analysis.tables or self.tables.is_looked_up(edge):
            yield self._whole(edge, self.tables.role(edge))
            return
        if record_of(node).has(Trait.NORMALISES) and edge.slot:
            what = record_of(node).parameters.get(edge.slot)
            yield self._whole(edge, self._norm(Task(f"norm {what}") if what else Task.STATE, node.output[0]))
            return
        if edge.node in self.trace.contractions and edge.slot == 2:
            yield from self._biases(edge, Arrival(edge.node, (), False))
            return
        if record_of(node).has(Trait.SHIFTS):
            other = node.input[1 - edge.slot]
            straight = self._straight(other)
            if straight is not None and self._is_bias(edge, straight):
                yield from self._biases(edge, straight)
                return
            if is_gained(self.graph, other):
                yield self._whole(edge, self._norm(Task.BIAS, node.output[0]))
                return
        other = node.input[1 - edge.slot] if len(node.input) == 2 else ""
        if record_of(node).has(Trait.SCALES) and (is_normed(self.graph, other) or is_root(self.graph, other)):
            yield self._whole(edge, self._norm(Task.GAIN, node.output[0]))
            return
        yield self._whole(edge, self._use(edge))

    def _is_bias(self, edge: Edge, behind: Arrival) -> bool:
        """False for what differs from place to place (positions that are added to patches)."""
        contraction = self.trace.contractions[behind.node]
        weight = self.analysis.uses[contraction.edge].axes or ()
        out = size_of(tuple(var for place in contraction.out for var in weight[place]))
        held = size_of(tuple(var for axis in self.analysis.uses[edge].axes or () for var in axis))
        return held == out or (bool(behind.picks) and held < out)

    def _biases(self, edge: Edge, behind: Arrival) -> Iterator[Piece]:
        """A bias has a piece for each role of the weight before it."""
        contraction = self.trace.contractions[behind.node]
        for role, weights in self.roles[contraction.node].items():
            if behind.picks and {a.picks[-len(behind.picks) :] for a in weights} != {behind.picks}:
                continue
            yield self._cut(edge, role.of_bias(), weights, contraction, bool(behind.picks))

    def _cut(
        self, edge: Edge, role: Role, arrivals: list[Arrival], contraction: Contraction, picked: bool = False
    ) -> Piece:
        """A piece of a weight or of the bias behind it: what arrives where its role says."""
        axes = self.analysis.uses[edge].axes or ()
        found = [self.trace.places(arrival, contraction) for arrival in arrivals]
        places: np.ndarray | None = None
        if any(entries is None for entries, _ in found):
            found = [(entries, axis) for entries, axis in found if entries is None]
        else:
            places = np.unique(np.concatenate([entries for entries, _ in found if entries is not None]))
        kinds = {axis for _, axis in found}
        known = next(iter(kinds)) if len(kinds) == 1 else None
        weight = self.analysis.uses[contraction.edge].axes or ()
        whole = self.algebra.expand(tuple(a for place in contraction.out for a in weight[place]))
        if places is not None and len(places) == size_of(whole):
            places, known = None, whole
        if edge == contraction.edge:
            others = [p for p in range(len(axes)) if p not in (*contraction.into, *contraction.out)]
            order = (*contraction.into, *others, *contraction.out)
            summed = self.algebra.expand(tuple(a for p in contraction.into for a in axes[p]))
            lead = [summed, *(self.algebra.expand(axes[p]) for p in others)]
            groups = (len(contraction.into), *(1 for _ in others), len(contraction.out))
        else:
            wide = [p for p, axis in enumerate(axes) if size_of(axis) > 1]
            order = (*(p for p in range(len(axes)) if p not in wide), *wide)
            lead = [() for p in range(len(axes)) if p not in wide]
            groups = (*(1 for _ in lead), len(wide))
            size = size_of(tuple(a for p in wide for a in axes[p]))
            if picked or size != size_of(whole):
                places = None
            if size != size_of(known or whole) and places is None:
                known = None
        made = (*lead, known) if known is not None else None
        return self._piece(edge, role, order, groups, places, made)

    def _whole(self, edge: Edge, role: Role) -> Piece:
        axes = self.analysis.uses[edge].axes or ()
        every = range(len(axes))
        return self._piece(edge, role, tuple(every), (1,) * len(axes), None, tuple(map(self.algebra.expand, axes)))

    def _piece(
        self,
        edge: Edge,
        role: Role,
        order: tuple[int, ...],
        groups: tuple[int, ...],
        places: np.ndarray | None,
        axes: tuple[Axis, ...] | None,
    ) -> Piece:
        number, edges = self.first.get(edge, (None, (edge,)))
        where = f"outside {self._before(edge.node)}" if number is None else f"blocks {number + 1}"
        tensors = tuple(self.graph.read_by(e) for e in edges)
        return Piece(number, where, role, tensors, order, groups, places, axes)

    def _use(self, edge: Edge) -> Role:
        """The operator that a tensor ends up in, and as which operand if their order matters."""
        node = self.graph.nodes[edge.node]
        while record_of(node).has(Trait.MOVES) and edge.slot == 0:
            readers = self.graph.consumers.get(node.output[0], ())
            if len(readers) != 1:
                break
            edge = readers[0]
            node = self.graph.nodes[edge.node]
        slot = None if node.op_type in ("Add", "Mul") else edge.slot
        return Role(Task.OPERAND, operator=node.op_type.lower(), slot=slot)

    # -- what a weight stands beside ----------------------------------------------------------------------------------

    def _chain(self, edge: Edge) -> int | None:
        return self.first[edge][0] if edge in self.first else None

    def _before(self, node: int) -> int:
        """How many chains end before a node."""
        return sum(node in after for after in self.behind_chains)

    def _after(self, name: str) -> set[int]:
        found: set[int] = set()
        waiting = [name]
        while waiting:
            for edge in self.graph.consumers.get(waiting.pop(), ()):
                if edge.node not in found:
                    found.add(edge.node)
                    waiting += list(self.graph.nodes[edge.node].output)
        return found

    def _norm(self, task: Task, name: str) -> Role:
        """The role of a norm's weight, with what the norm leads to, if that is known."""
        names = [normed_end(self.trace, name)]
        readers = self.trace.readers(names[0])
        for _ in range(_NORM_STEPS):  # a gain may be multiplied with the deviation before the input is
            if readers:
                break
            after = [self.graph.nodes[edge.node] for name in names for edge in self.graph.consumers.get(name, ())]
            names = [
                node.output[0] for node in after if record_of(node).has(Trait.MULTIPLIES | Trait.SHIFTS | _STRAIGHT)
            ]
            readers = [index for name in names for index in self.trace.readers(name)]
        roles = {role for index in readers for role in self.roles[index]}
        parts = []
        if roles & {_QUERY, _KEY, _VALUE}:
            parts.append("attention")
        if roles & {_IN, _GATE, _UP}:
            parts.append("feed-forward")
        if not parts and len(sides := self._toward(name)) == 1:
            return Role(task, feeds=(str(sides.pop()),), side=True)
        return Role(task, feeds=tuple(parts))

    def _toward(self, name: str) -> set[Role]:
        """The sides of attention that a tensor leads to, nothing with a weight between."""
        seen: set[str] = set()
        found: set[Role] = set()
        waiting = [name]
        while waiting:
            tensor = waiting.pop()
            if tensor in seen:
                continue
            seen.add(tensor)
            for edge in self.graph.consumers.get(tensor, ()):
                if edge.node in self.trace.products:
                    found.update({self.sides[at]} if (at := (edge.node, edge.slot)) in self.sides else ())
                elif edge.node not in self.trace.contractions:
                    waiting += list(self.graph.nodes[edge.node].output)
        return found

    def _straight(self, name: str) -> Arrival | None:
        """The contraction whose output a tensor is, moved about but not changed."""
        tensor = name
        picks: list[Pick] = []
        while tensor not in self.graph.constants and (maker := self.graph.producer.get(tensor)) is not None:
            if maker in self.trace.contractions:
                return Arrival(maker, tuple(picks), False)
            node = self.graph.nodes[maker]
            if not record_of(node).has(_STRAIGHT):
                return None
            pick = self.trace.pick(maker, tensor)
            picks += [pick] if pick else []
            tensor = node.input[0]
        return None


def _query_by_letters(graph, product: int, attention: int, scores: int) -> int | None:  # type: ignore[no-untyped-def]
    """Of an Einsum of scores whose result is attention: the operand with the letter that the next one sums over."""
    first, second = (graph.nodes[index] for index in (scores, product))
    if first.op_type != "Einsum" or second.op_type != "Einsum":
        return None
    one, other = (graph.attribute(index, "equation").replace("...", "") for index in (scores, product))
    (terms, result), (others, made) = parse(one), parse(other)
    reads = others[attention]
    if len(reads) != len(result):
        return None
    summed = {letter for letter, there in zip(result, reads, strict=True) if there not in made}
    held = [bool(summed & set(term)) for term in terms]
    return held.index(False) if held.count(True) == 1 else None


def _numbered(found: list[tuple[tuple[int, ...], Piece]]) -> list[Piece]:
    """Pieces whose roles say one thing are numbered in the order of data; those that it does not tell apart say so."""
    groups: dict[tuple[str, Role], list[tuple[int, ...]]] = defaultdict(list)
    for place, piece in found:
        groups[piece.key].append(place)
    out = []
    seen: Counter[tuple[tuple[str, Role], tuple[int, ...]]] = Counter()
    for place, piece in found:
        places = sorted(groups[piece.key])
        if len(places) > 1:
            number, alike = places.index(place) + 1, places.count(place)
            seen[piece.key, place] += 1  # in the order of the file, which means nothing but in this model
            if alike > 1:
                number = seen[piece.key, place]
            piece = replace(piece, role=piece.role.numbered(number, len(places), alike))
        out.append(piece)
    return out
