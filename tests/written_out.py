"""Operators of com.microsoft that onnxruntime has no kernel for on a CPU, written out in numpy.

onnx's reference evaluator takes them along. Source: onnxruntime's docs/ContribOperators.md.
"""

from __future__ import annotations

import math

import numpy as np
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_conv import _conv_implementation

__all__ = ["WRITTEN_OUT", "is_written_out"]

DOMAIN = "com.microsoft"


def _normed(x, gain, bias, groups, last, activation, epsilon=1e-5):
    moved = np.moveaxis(x, -1, 1) if last else x
    grouped = moved.reshape(moved.shape[0], groups, -1)
    spread = grouped - grouped.mean(-1, keepdims=True)
    made = (spread / np.sqrt((spread**2).mean(-1, keepdims=True) + epsilon)).reshape(moved.shape)
    channels = (1, -1, *(1 for _ in moved.shape[2:]))
    made = made * gain.reshape(channels) + bias.reshape(channels)
    made = made / (1 + np.exp(-made)) if activation else made
    return (np.moveaxis(made, 1, -1) if last else made).astype(x.dtype)


class GroupNorm(OpRun):
    op_domain = DOMAIN

    def _run(self, x, gain, bias, groups=None, channels_last=1, activation=None, epsilon=None):
        return (_normed(x, gain, bias, groups, channels_last, activation),)


class SkipGroupNorm(OpRun):
    op_domain = DOMAIN

    def _run(self, x, gain, bias, skip, more=None, groups=None, channels_last=1, activation=None, epsilon=None):
        wide = (1,) * (x.ndim - 2)
        if skip.ndim == 2:
            skip = skip.reshape((len(skip), *wide, -1) if channels_last else (*skip.shape, *wide))
        whole = x + skip
        if more is not None:
            whole = whole + (more if channels_last else more.reshape(-1, *wide))
        return _normed(whole, gain, bias, groups, channels_last, activation), whole


class BiasAdd(OpRun):
    op_domain = DOMAIN

    def _run(self, x, bias, skip):
        assert bias.shape == x.shape[-1:]
        assert skip.shape == x.shape
        return (x + bias + skip,)


class BiasSplitGelu(OpRun):
    op_domain = DOMAIN

    def _run(self, x, bias):
        assert bias.shape == x.shape[-1:]
        left, right = np.split(x + bias, 2, axis=-1)
        return ((left * right * (1 + np.vectorize(math.erf)(right / np.sqrt(2))) / 2).astype(x.dtype),)


class NhwcConv(OpRun):
    op_domain = DOMAIN

    def _run(self, x, w, bias=None, added=None, group=1, pads=None, strides=None, activation=None, **more):
        rank = x.ndim - 2
        moved = np.moveaxis(x, -1, 1)
        given = (auto := "NOTSET", [1] * rank, group, list(w.shape[2:]), pads or [0] * 2 * rank, strides or [1] * rank)
        assert auto == "NOTSET"
        made = np.moveaxis(_conv_implementation(moved, w, bias, *given), 1, -1).astype(x.dtype)
        assert added is None or added.shape == made.shape
        return (made if added is None else made + added,)


class NhwcFusedConv(NhwcConv):
    pass


def _attention(q, k, v):
    scores = q @ np.swapaxes(k, -1, -2)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True) @ v


class PackedAttention(OpRun):
    op_domain = DOMAIN

    def _run(self, x, w, b, places, lengths, scores=None, num_heads=None, qkv_hidden_sizes=None, scale=None):
        assert lengths.shape == (len(places) + 1,)
        sizes = qkv_hidden_sizes or [w.shape[1] // 3] * 3
        assert sum(sizes) == w.shape[1]
        parts = np.split(x @ w + b, np.cumsum(sizes)[:2], axis=1)
        return (_packed(*parts, places, scores, num_heads),)


def _packed(q, k, v, places, scores, heads):
    """As if all tokens were of one sequence: shapes are those of the operator."""
    q, k, v = (part.reshape(len(part), heads, -1).swapaxes(0, 1) for part in (q, k, v))
    np.broadcast_shapes((len(places), heads, *places.shape[1:] * 2), scores.shape if scores is not None else ())
    return _attention(q, k, v).swapaxes(0, 1).reshape(q.shape[1], -1)


class PackedMultiHeadAttention(OpRun):
    op_domain = DOMAIN

    def _run(self, q, k, v, bias, places, lengths, scores=None, num_heads=None, scale=None):
        assert lengths.shape == (len(places) + 1,)
        if k is None:
            assert q.shape[1:3] == (num_heads, 3)
            q, k, v = (q[:, :, place].reshape(len(q), -1) for place in range(3))
        return (_packed(q, k, v, places, scores, num_heads),)


class MoE(OpRun):
    """All experts for all tokens, the chosen ones summed."""

    op_domain = DOMAIN

    def _run(self, x, router, w1, b1, w2, b2=None, w3=None, b3=None, k=1, swiglu_fusion=0, activation_type=None):
        rows = x.reshape(-1, x.shape[-1])
        assert router.shape == (len(rows), len(w1))
        made = np.einsum("td,emd->tem", rows, w1) + (0 if b1 is None else b1)
        if swiglu_fusion == 2:
            made, gated = np.split(made, 2, axis=-1)
        else:
            gated = np.einsum("td,emd->tem", rows, w3) + (0 if b3 is None else b3)
        inner = made / (1 + np.exp(-made)) * (gated + 1)
        out = np.einsum("tem,edm->ted", inner, w2) + (0 if b2 is None else b2)
        least = np.sort(router, axis=1)[:, -k][:, None]
        shares = np.where(router >= least, np.exp(router), 0)
        return (np.einsum("ted,te->td", out, shares / shares.sum(1, keepdims=True)).reshape(x.shape).astype(x.dtype),)

    @staticmethod
    def is_needed(node):
        """onnxruntime has a kernel for gates that share a matrix with what they gate, in turns."""
        given = {a.name: a for a in node.attribute}
        gated = "activation_type" in given and given["activation_type"].s == b"swiglu"
        return gated and ("swiglu_fusion" not in given or given["swiglu_fusion"].i != 1)


class RemovePadding(OpRun):
    op_domain = DOMAIN

    def _run(self, x, counts):
        held = np.arange(x.shape[1]) < np.asarray(counts)[:, None]
        flat = np.arange(held.size)
        places = np.concatenate([flat[held.ravel()], flat[~held.ravel()]]).reshape(held.shape).astype(np.int32)
        ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        return x[held], places, ends, np.max(counts, keepdims=True).astype(np.int32)


class RestorePadding(OpRun):
    op_domain = DOMAIN

    def _run(self, x, places):
        out = np.zeros((places.size, x.shape[1]), x.dtype)
        out[places.ravel()[: len(x)] % places.size] = x
        return (out.reshape(*places.shape, -1),)


class RelativePositionBias(OpRun):
    op_domain = DOMAIN

    def _run(self, table, rows, columns, max_distance=None, is_bidirectional=0):
        buckets, heads = table.shape
        places = np.abs(np.arange(int(rows))[:, None] - np.arange(int(columns)))
        return (table.reshape(heads, buckets)[:, np.minimum(places, buckets - 1)][None],)


class GatedRelativePositionBias(OpRun):
    op_domain = DOMAIN

    def _run(self, x, x_bias, places, w, bias, gain, offsets=None, num_heads=None):
        rows = x.shape[:2] if offsets is None else offsets.shape
        whole = np.zeros((rows[0] * rows[1], x.shape[-1]), x.dtype)
        whole[: x.size // x.shape[-1]] = (x + x_bias).reshape(-1, x.shape[-1])
        heads = whole.reshape(*rows, num_heads, -1).swapaxes(1, 2)
        gates = (heads @ w + bias).reshape(*heads.shape[:3], 2, -1).sum(-1)
        up, right = np.split(1 / (1 + np.exp(-gates)), 2, axis=-1)
        return (((up * (right * gain - 1) + 2) * places).astype(x.dtype),)


WRITTEN_OUT = [
    BiasAdd,
    BiasSplitGelu,
    GatedRelativePositionBias,
    GroupNorm,
    MoE,
    NhwcConv,
    NhwcFusedConv,
    PackedAttention,
    PackedMultiHeadAttention,
    RelativePositionBias,
    RemovePadding,
    RestorePadding,
    SkipGroupNorm,
]


def is_written_out(node):
    """True for a node that onnxruntime cannot run on a CPU and that is written here."""
    found = [operator for operator in WRITTEN_OUT if (DOMAIN, operator.__name__) == (node.domain, node.op_type)]
    return any(getattr(operator, "is_needed", lambda _: True)(node) for operator in found)
