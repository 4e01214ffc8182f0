"""Configurations: the keys that hold the sizes which changed.

A key is changed if both agree: its name, as the configurations of `transformers` and `sentence-transformers` have it,
and its value, the size that the graph had. What agrees in one of them alone is not touched and told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from front_onnx.axes.size import size_of
from front_onnx.plan.plan import Plan

__all__ = ["Change", "Changes", "Resized", "changed_config", "resized_sizes"]

WIDTH, DEPTH, HEADS, KV_HEADS, HEAD_DIM, INNER, FIXED = (
    "width",
    "depth",
    "heads",
    "kv_heads",
    "head_dim",
    "inner",
    "fixed",
)
_KINDS = {"residual": WIDTH, "heads": HEADS, "kv_heads": KV_HEADS, "head_dim": HEAD_DIM, "inner": INNER, "fixed": FIXED}
_NAMES = {
    WIDTH: "hidden_size n_embd d_model dim embed_dim model_dim hidden_dim embedding_size word_embedding_dimension "
    "pooler_output_size decoder_hidden_size encoder_hidden_size hidden_sizes embed_dims encoder_hidden_sizes "
    "in_features out_features",
    DEPTH: "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers num_decoder_layers "
    "num_encoder_layers depth depths num_blocks",
    HEADS: "num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads "
    "num_encoder_attention_heads num_decoder_attention_heads attention_heads",
    KV_HEADS: "num_key_value_heads n_head_kv num_kv_heads multi_query_group_num",
    HEAD_DIM: "head_dim d_kv kv_channels attention_head_size d_head",
    INNER: "intermediate_size n_inner d_ff ffn_dim ffn_hidden_size encoder_ffn_dim decoder_ffn_dim hidden_dim d_inner "
    "dim_feedforward ff_dim",
    FIXED: "vocab_size max_position_embeddings n_positions n_ctx num_labels type_vocab_size projection_dim image_size "
    "patch_size num_channels num_mel_bins max_source_positions max_target_positions max_length window_size "
    "relative_attention_num_buckets relative_attention_max_distance bos_token_id eos_token_id pad_token_id",
}
_ROLES: dict[str, tuple[str, ...]] = {}
for _kind, _keys in _NAMES.items():
    for _key in _keys.split():
        _ROLES[_key] = (*_ROLES.get(_key, ()), _kind)
_TOWERS = ("encoder", "decoder", "text", "vision", "audio")
_TELLING = 8  # numbers below it stand for many things
_USUAL = 4  # times the width is an inner size that is not given


@dataclass(frozen=True)
class Resized:
    """One size of a model: its kind, what it was and is, and the towers that the names of file and chain speak of."""

    kind: str
    before: int
    after: int
    towers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Change:
    """A key of a configuration, by its path (`text_config.hidden_size`), and what it was and is."""

    key: str
    before: Any
    after: Any


@dataclass
class Changes:
    """What was changed in a configuration, and what may hold a size that changed and was not touched."""

    config: dict[str, Any]
    changed: list[Change] = field(default_factory=list)
    doubtful: list[Change] = field(default_factory=list)


def resized_sizes(plans: Mapping[str, Plan]) -> set[Resized]:
    """The sizes of models before and after, unchanged ones among them.

    Args:
        plans: by the name of the file.
    """
    found: set[Resized] = set()
    for file, plan in plans.items():
        structure, algebra = plan.structure, plan.structure.analysis.algebra
        facts = (structure.analysis.facts.get(info.name) for info in structure.graph.inputs)
        axes = (axis for fact in facts for axis in (fact.axes or () if fact is not None else ()))
        given = {var for axis in axes for var in algebra.expand(axis)}  # what another file has made
        names = [chain.name for chain in structure.chains]
        for name, (before, after) in zip(names, plan.depths, strict=True):
            found.add(Resized(DEPTH, before, after, _towers(file, name)))
        for dim in structure.dims:
            if dim.kind in _KINDS and not (dim.kind == "fixed" and dim.var in given):
                chain = names[dim.chain] if dim.chain is not None else ""
                after = plan.sizes[dim.var] * dim.times
                found.add(Resized(_KINDS[dim.kind], dim.size, after, _towers(file, chain)))
        for place, axis in enumerate((*structure.residuals, structure.loose)):
            if axis is not None:
                name = names[place] if place < len(names) else ""
                found.add(Resized(WIDTH, size_of(axis), plan.size(axis), _towers(file, name)))
    return found


def _towers(*names: str) -> frozenset[str]:
    words = {word for name in names for word in re.split("[^a-z]+", name.lower())}
    return frozenset(tower for tower in _TOWERS if tower in words)


def changed_config(config: Mapping[str, Any], sizes: set[Resized]) -> Changes:
    """A configuration with the sizes that a model has now.

    Args:
        config: as it was.
        sizes: those of the model before and after.
    """
    changes = Changes({})
    changes.config = _changed(config, sizes, "", changes)
    return changes


def _changed(config: Mapping[str, Any], sizes: set[Resized], path: str, changes: Changes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in config.items():
        found[key] = (
            _changed(value, sizes, f"{path}{key}.", changes)
            if isinstance(value, dict)
            else _value(key, value, sizes, path, changes, config)
        )
    return found


def _value(key: str, value: Any, sizes: set[Resized], path: str, changes: Changes, config: Mapping[str, Any]) -> Any:
    roles = _ROLES.get(key, ())
    if isinstance(value, list):
        return _list(key, value, sizes, path, changes, config)
    if value is None and INNER in roles:
        return _not_given(key, sizes, path, changes)
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    after = _targets(roles, value, sizes, path + key)
    if len(after) == 1:
        (new,) = after
        if new != value:
            changes.changed.append(Change(path + key, value, new))
        return new
    moved = {size.after for size in sizes if size.before == value != size.after}
    unknown = not after and moved and roles != (FIXED,) and (roles or value >= _TELLING)
    if len(after) > 1 or unknown:
        changes.doubtful.append(Change(path + key, value, sorted(after or moved)[0]))
    return value


def _targets(roles: tuple[str, ...], value: int, sizes: set[Resized], key: str) -> set[int]:
    """What a value becomes, by the first role of its key that a size has.

    Where towers part, those count that the key names; one that names none is the encoder's, as in `transformers`.
    """
    for role in roles:
        found = [size for size in sizes if size.kind == role and size.before == value]
        named = _towers(key.replace("_", " "))
        if named and any(size.towers for size in found) and not any(size.towers & named for size in found):
            return set()  # a tower that no file here is
        if len({size.after for size in found}) > 1:
            found = [size for size in found if size.towers >= (named or {"encoder"})] or found
        if found:
            return {size.after for size in found}
    return set()


def _not_given(key: str, sizes: set[Resized], path: str, changes: Changes) -> int | None:
    """An inner size that is left to be four times the width, where it no longer is."""
    widths = {size for size in sizes if size.kind == WIDTH}
    inner = {size for size in sizes if size.kind == INNER}
    pairs = {(i, w) for i in inner for w in widths if i.before == _USUAL * w.before and i.after != _USUAL * w.after}
    if len({i.after for i, _ in pairs}) != 1:
        return None
    new = next(iter(pairs))[0].after
    changes.changed.append(Change(path + key, None, new))
    return new


def _list(
    key: str, value: list[Any], sizes: set[Resized], path: str, changes: Changes, config: Mapping[str, Any]
) -> list[Any]:
    roles = _ROLES.get(key, ())
    if roles and value and all(isinstance(entry, int) and not isinstance(entry, bool) for entry in value):
        after = [_targets(roles, entry, sizes, path + key) for entry in value]
        if all(len(found) == 1 for found in after):
            new = [next(iter(found)) for found in after]
            if new != value:
                changes.changed.append(Change(path + key, value, new))
            return new
        changes.doubtful.append(Change(path + key, value, None))
        return value
    depths = {size.after for size in sizes if size.kind == DEPTH and size.before == len(value) != size.after}
    counted = any(DEPTH in _ROLES.get(other, ()) and config[other] == len(value) for other in config)
    if len(depths) == 1 and counted:  # one entry for each layer
        (layers,) = depths
        stretched = _stretched(value, layers)
        (changes.doubtful if stretched is None else changes.changed).append(Change(path + key, value, stretched))
        return value if stretched is None else stretched
    return value


def _stretched(value: list[Any], layers: int) -> list[Any] | None:
    """A list with an entry for each layer, for another number of layers, where it repeats; None where it does not."""
    for period in range(1, len(value) + 1):
        seen_twice = len(value) >= 2 * period or period == 1
        if seen_twice and all(entry == value[place % period] for place, entry in enumerate(value)):
            return [value[place % period] for place in range(layers)]
    return None
