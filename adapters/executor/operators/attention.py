"""Whole attention: the standard operator, rotary embeddings, and the core that fused operators share."""

from __future__ import annotations

from typing import Any

import torch
from front_onnx.adapters.executor.table import Step, operator
from torch import Tensor
from torch.nn import functional

__all__ = ["attend", "causal", "join_heads", "repeat_heads", "rotate", "split_heads"]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, S, h d] -> [B, h, S, d]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """[B, h, S, d] -> [B, S, h d]."""
    return x.transpose(1, 2).flatten(2)


def repeat_heads(x: Tensor, heads: int) -> Tensor:
    """Keys or values of fewer heads for groups of query heads."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], 1)


def causal(queries: int, keys: int, device: torch.device, start: int | None = None) -> Tensor:
    """True where a query may see a key [S, T]: those up to its own place, `start` places after the first key."""
    first = keys - queries if start is None else start
    return torch.arange(keys, device=device) <= torch.arange(queries, device=device)[:, None] + first


def attend(
    q: Tensor, k: Tensor, v: Tensor, scale: float | None, bias: Tensor | None = None, softcap: float = 0.0
) -> Tensor:
    """softmax(scale q k' + bias) v for [B, h, S, d]; `bias` is added to the scores."""
    scores = (q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.transpose(-2, -1)
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    if bias is not None:
        scores = scores + bias
    return torch.softmax(scores, -1).nan_to_num(0.0).to(v.dtype) @ v


@operator("Attention")
def attention(
    step: Step,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    lengths: Tensor | None = None,
) -> Any:
    """Heads apart [B, h, S, d] or in one axis; the scores are an output too, at one of four points."""
    flat = q.dim() == 3
    if flat:
        q = split_heads(q, step.get("q_num_heads"))
        k, v = (split_heads(x, step.get("kv_num_heads")) for x in (k, v))
    if past_key is not None and past_value is not None:
        k, v = torch.cat([past_key, k], 2), torch.cat([past_value, v], 2)
    present = (k, v)
    k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
    bias = _bias(step, q, k, mask, 0 if past_key is None else past_key.shape[2], lengths)
    root = (q.shape[-1] ** -0.5 if step.get("scale") is None else step.get("scale")) ** 0.5
    raw = (q * root) @ (k * root).transpose(-2, -1)
    cap = step.get("softcap")
    capped = cap * torch.tanh(raw / cap) if cap else raw
    biased = capped + bias
    blind = torch.isneginf(biased).all(-1, keepdim=True)  # a query that sees nothing gets zeros
    weights = torch.softmax(biased.masked_fill(blind, 0.0), -1).masked_fill(blind, 0.0).to(v.dtype)
    if lengths is not None:  # what lies behind the end may be anything
        v = v.masked_fill(_behind(k, lengths)[:, None, :, None], 0.0)
    y = weights @ v
    shown = {0: raw, 1: capped, 2: biased, 3: weights}[step.get("qk_matmul_output_mode")]
    return (join_heads(y) if flat else y), *present, shown


def _behind(k: Tensor, lengths: Tensor) -> Tensor:
    """True behind the end of each sequence of keys [B, T]."""
    return torch.arange(k.shape[2], device=k.device) >= lengths.to(torch.int64)[:, None]


def _bias(step: Step, q: Tensor, k: Tensor, mask: Tensor | None, past: int, lengths: Tensor | None) -> Tensor:
    """What is added to the scores [B or 1, 1 or h, S, T]: mask, ends of sequences, causality and windows."""
    queries, keys = q.shape[2], k.shape[2]
    offset = torch.full((1, 1), past, device=q.device)
    bias = q.new_zeros(1, 1, queries, keys)
    if lengths is not None:
        offset = offset if past else lengths.to(torch.int64)[:, None] - queries
        bias = bias.masked_fill(_behind(k, lengths)[:, None, None], -torch.inf)
    ahead = torch.arange(keys, device=q.device) - (torch.arange(queries, device=q.device) + offset)[..., None]
    left, right = step.get("left_window_size", -1), step.get("right_window_size", -1)
    hidden = torch.zeros_like(ahead, dtype=torch.bool)
    hidden = hidden | (ahead > 0) if step.get("is_causal", 0) else hidden
    hidden = hidden | (ahead < -left) if left >= 0 else hidden
    hidden = hidden | (ahead > right) if right >= 0 else hidden
    bias = bias.masked_fill(hidden[:, None], -torch.inf)
    if mask is None:
        return bias
    if mask.shape[-1] < keys:
        fill = 0.0 if mask.dtype == torch.bool else -torch.inf
        mask = functional.pad(mask, [0, keys - mask.shape[-1]], value=fill)
    return bias.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else bias + mask


def rotate(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """Turn pairs of the last axis by angles: x [B, h, S, d], cos and sin [B or 1, S, n / 2], n of d turned."""
    turned, rest = x[..., : 2 * cos.shape[-1]], x[..., 2 * cos.shape[-1] :]
    cos, sin = cos.unsqueeze(1).to(x.dtype), sin.unsqueeze(1).to(x.dtype)
    a, b = (turned[..., 0::2], turned[..., 1::2]) if interleaved else turned.chunk(2, -1)
    real, imaginary = cos * a - sin * b, sin * a + cos * b
    made = torch.stack([real, imaginary], -1).flatten(-2) if interleaved else torch.cat([real, imaginary], -1)
    return torch.cat([made, rest], -1)


@operator("RotaryEmbedding")
def rotary_embedding(step: Step, x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None = None) -> Tensor:
    """[B, h, S, d] or [B, S, h d]; caches by position, or for each token."""
    flat = x.dim() == 3
    heads = split_heads(x, step.get("num_heads")) if flat else x
    if positions is not None:
        cos, sin = cos[positions.to(torch.int64)], sin[positions.to(torch.int64)]
    turned = rotate(heads, cos, sin, bool(step.get("interleaved")))
    return join_heads(turned) if flat else turned
