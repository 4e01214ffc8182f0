"""What onnxruntime's optimisers write (domain com.microsoft), after its docs/ContribOperators.md."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from front_onnx.adapters.executor.operators.attention import (
    attend,
    causal,
    join_heads,
    repeat_heads,
    rotate,
    split_heads,
)
from front_onnx.adapters.executor.operators.convolution import activated, convolve
from front_onnx.adapters.executor.table import Step, ints, operator
from torch import Tensor
from torch.nn import functional

from front_onnx.errors import UntrainableError

__all__: list[str] = []

fused = partial(operator, domain="com.microsoft")


@fused("Gelu")
def gelu(step: Step, x: Tensor) -> Tensor:
    """Exact."""
    return functional.gelu(x)


@fused("QuickGelu")
def quick_gelu(step: Step, x: Tensor) -> Tensor:
    """x sigmoid(alpha x)."""
    return x * torch.sigmoid(step.get("alpha", 1.702) * x)


@fused("BiasGelu")
def bias_gelu(step: Step, x: Tensor, bias: Tensor) -> Tensor:
    """Of the sum."""
    return functional.gelu(x + bias)


@fused("FastGelu")
def fast_gelu(step: Step, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """By tanh."""
    return functional.gelu(x if bias is None else x + bias, approximate="tanh")


@fused("SkipLayerNormalization")
def skip_layer_norm(
    step: Step, x: Tensor, skip: Tensor, gamma: Tensor, beta: Tensor | None = None, bias: Tensor | None = None
) -> Any:
    """The norm of a sum, and the sum."""
    total = x + skip if bias is None else x + skip + bias
    epsilon = step.get("epsilon", 1e-12)
    return functional.layer_norm(total, gamma.shape, gamma, beta, epsilon), None, None, total


@fused("SkipSimplifiedLayerNormalization")
def skip_rms_norm(step: Step, x: Tensor, skip: Tensor, gamma: Tensor, bias: Tensor | None = None) -> Any:
    """The norm without a mean of a sum, and the sum."""
    total = x + skip if bias is None else x + skip + bias
    root = torch.rsqrt(total.square().mean(-1, keepdim=True) + step.get("epsilon", 1e-12))
    return total * root * gamma, None, None, total


@fused("EmbedLayerNormalization")
def embed_layer_norm(
    step: Step,
    ids: Tensor,
    segments: Tensor | None,
    words: Tensor,
    positions: Tensor,
    kinds: Tensor | None,
    gamma: Tensor,
    beta: Tensor,
    mask: Tensor | None = None,
    places: Tensor | None = None,
) -> Any:
    """The norm of summed embeddings, how many tokens are not masked, and the sum."""
    at = torch.arange(ids.shape[1], device=ids.device)[None] if places is None else places.to(torch.int64)
    total = words[ids.to(torch.int64)] + positions[at]
    if kinds is not None and segments is not None:
        total = total + kinds[segments.to(torch.int64)]
    y = functional.layer_norm(total, gamma.shape, gamma, beta, step.get("epsilon", 1e-12))
    counts = ids.new_zeros(ids.shape[0]) if mask is None else mask.sum(1)
    return y, counts.to(torch.int32), total


@fused("FusedMatMul", "TransposeMatMul")
def fused_matmul(step: Step, a: Tensor, b: Tensor) -> Tensor:
    """alpha A' B'; transBatch moves the first axis behind those of the batch."""
    a = a.movedim(0, -2) if step.get("transBatchA", 0) else a
    b = b.movedim(0, -2) if step.get("transBatchB", 0) else b
    a = a.transpose(-2, -1) if step.get("transA", 0) and a.dim() > 1 else a
    b = b.transpose(-2, -1) if step.get("transB", 0) and b.dim() > 1 else b
    return step.get("alpha", 1.0) * torch.matmul(a, b)


@fused("FusedGemm")
def fused_gemm(step: Step, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """Gemm and an activation."""
    left, right = (x.T if step.get(f"trans{n}", 0) else x for x, n in ((a, "A"), (b, "B")))
    y = step.get("alpha", 1.0) * (left @ right)
    return activated(step, y if c is None else y + step.get("beta", 1.0) * c)


@fused("FusedConv")
def fused_conv(
    step: Step, x: Tensor, weight: Tensor, bias: Tensor | None = None, added: Tensor | None = None
) -> Tensor:
    """Conv, a sum and an activation."""
    y = convolve(step, x, weight, bias)
    return activated(step, y if added is None else y + added)


def _scale(step: Step) -> float | None:
    return step.get("scale") or None


def _masked(step: Step, mask: Tensor | None, queries: int, keys: int, q: Tensor) -> Tensor:
    """What a mask of any form and `unidirectional` add to scores, broadcast to [B, h, S, T]."""
    low = step.get("mask_filter_value", -10000.0)
    bias = q.new_zeros(1, 1, queries, keys)
    if mask is not None:
        batch = q.shape[0]
        at = torch.arange(keys, device=q.device)
        if mask.dim() == 1 and len(mask) == batch:
            seen = (at < mask[:, None])[:, None, None]
        elif mask.dim() == 1 and len(mask) == 2 * batch:
            ends, starts = mask[:batch, None], mask[batch:, None]
            seen = ((at < ends) & (at >= starts))[:, None, None]
        elif mask.dim() == 1:
            lengths = mask[:batch, None]
            seen = (at < lengths)[:, None, None]
        elif mask.dim() == 2:
            seen = mask.bool()[:, None, None]
        elif mask.dim() == 3:
            seen = mask.bool()[:, None]
        else:
            seen = mask.bool()[:, :, keys - queries : keys, :keys]
        bias = bias.masked_fill(~seen, low)
    if step.get("unidirectional", 0):
        bias = bias.masked_fill(~causal(queries, keys, q.device), low if mask is None else torch.finfo(q.dtype).min)
    return bias


@fused("Attention")
def attention(
    step: Step,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    past: Tensor | None = None,
    added: Tensor | None = None,
    *others: Tensor | None,
) -> Any:
    """X [B, S, I] by W [I, q + k + v], heads, an optional cache [2, B, h, P, d]."""
    if step.get("do_rotary", 0) or any(other is not None for other in others):
        raise UntrainableError("a form of Attention that is not covered (rotary, shared cache)", node=step.label)
    heads = step.get("num_heads")
    projected = x @ weight if bias is None else x @ weight + bias
    sizes = step.get("qkv_hidden_sizes") or [projected.shape[-1] // 3] * 3
    q, k, v = (split_heads(part, heads) for part in projected.split(list(sizes), -1))
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    scores = _masked(step, mask, q.shape[2], k.shape[2], q)
    y = attend(q, k, v, _scale(step), scores if added is None else scores + added)
    return join_heads(y), torch.stack([k, v]) if step.wants(1) else None


@fused("MultiHeadAttention")
def multi_head_attention(
    step: Step,
    query: Tensor,
    key: Tensor | None = None,
    value: Tensor | None = None,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    added: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    *others: Tensor | None,
) -> Any:
    """Projected queries, keys and values, apart or packed, perhaps with heads apart, perhaps behind a cache."""
    if any(other is not None for other in others):
        raise UntrainableError("a cache that is shared by past and present is not covered", node=step.label)
    heads = step.get("num_heads")
    if bias is not None and (query.dim() == 5 or (key is not None and key.dim() == 5)):
        raise UntrainableError("a bias of packed queries, keys and values is not covered", node=step.label)
    if query.dim() == 5:  # [B, S, h, 3, d]
        q, k, v = (query[:, :, :, i].transpose(1, 2) for i in range(3))
    elif key is not None and key.dim() == 5:  # [B, T, h, 2, d]
        q = split_heads(query, heads)
        k, v = (key[:, :, :, i].transpose(1, 2) for i in range(2))
    else:
        assert key is not None and value is not None
        if bias is not None:
            width, keys = query.shape[-1], key.shape[-1] if key.dim() == 3 else query.shape[-1]
            query = query + bias[:width]
            if key.dim() == 3:
                key, value = key + bias[width : width + keys], value + bias[width + keys :]
        q = split_heads(query, heads)
        k, v = (split_heads(x, heads) if x.dim() == 3 else x for x in (key, value))
    if past_key is not None and past_value is not None:
        k, v = torch.cat([past_key, k], 2), torch.cat([past_value, v], 2)
    scores = _masked(step, mask, q.shape[2], k.shape[2], q)
    y = attend(q, k, v, _scale(step), scores if added is None else scores + added)
    return join_heads(y), k, v


@fused("GroupQueryAttention")
def group_query_attention(
    step: Step,
    query: Tensor,
    key: Tensor | None,
    value: Tensor | None,
    past_key: Tensor | None,
    past_value: Tensor | None,
    lengths: Tensor,
    total: Tensor,
    cos: Tensor | None = None,
    sin: Tensor | None = None,
    *others: Tensor | None,
) -> Any:
    """Causal attention of groups of query heads on few key and value heads, with rotary angles and a cache."""
    if any(other is not None for other in others):
        raise UntrainableError("a form of GroupQueryAttention that is not covered", node=step.label)
    heads, few = step.get("num_heads"), step.get("kv_num_heads")
    if key is None or value is None:
        size = query.shape[-1] // (heads + 2 * few)
        query, key, value = query.split([heads * size, few * size, few * size], -1)
    q, k, v = split_heads(query, heads), split_heads(key, few), split_heads(value, few)
    wanted = {n + 1 for n in ints(lengths)}
    start = 0 if past_key is None else past_key.shape[2]
    if wanted != {start + q.shape[2]}:
        raise UntrainableError("sequences of several lengths behind one cache are not covered", node=step.label)
    if step.get("do_rotary", 0) and cos is not None and sin is not None:
        at = torch.arange(start, start + q.shape[2], device=q.device)
        turned = bool(step.get("rotary_interleaved", 0))
        q, k = (rotate(x, cos[at][None], sin[at][None], turned) for x in (q, k))
    if past_key is not None and past_value is not None:
        k, v = torch.cat([past_key, k], 2), torch.cat([past_value, v], 2)
    seen = causal(q.shape[2], k.shape[2], q.device)
    window = step.get("local_window_size", -1)
    if window > 0:
        distance = (
            torch.arange(k.shape[2], device=q.device)[None] - torch.arange(start, k.shape[2], device=q.device)[:, None]
        )
        seen = seen & (distance > -window)
    bias = q.new_zeros(seen.shape).masked_fill(~seen, -torch.inf)
    y = attend(q, repeat_heads(k, heads), repeat_heads(v, heads), _scale(step), bias, step.get("softcap", 0.0))
    return join_heads(y), k, v


@fused("RotaryEmbedding")
def rotary_embedding(step: Step, x: Tensor, positions: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """As the standard operator, with positions first: [B, S], or one offset for all."""
    if step.get("scale", 1.0) != 1.0:
        raise UntrainableError("a scaled rotary embedding is not covered", node=step.label)
    flat = x.dim() == 3
    size = 2 * cos.shape[-1]
    count = step.get("num_heads", 0) or (x.shape[-1] // size if flat else 0)
    heads = split_heads(x, count) if flat else x
    at = positions.to(torch.int64)
    if positions.numel() == 1:
        at = at.reshape(1, 1) + torch.arange(heads.shape[2], device=x.device)[None]
    turned = rotate(heads, cos[at], sin[at], bool(step.get("interleaved", 0)))
    return join_heads(turned) if flat else turned
