"""A small vision transformer for 8x8 digits, in plain torch and of any depth and width."""

from __future__ import annotations

import torch
from torch import Tensor, nn

IMAGE = 8
PATCH = 2
CLASSES = 10


class Attention(nn.Module):
    """Self-attention with q, k and v fused in one linear layer (output: [3, heads, head_dim])."""

    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        if width % head_dim:
            raise ValueError(f"width {width} is not a multiple of head_dim {head_dim}")
        self.heads = width // head_dim
        self.head_dim = head_dim
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, tokens, width] to the same shape."""
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        query, key, value = qkv[0], qkv[1], qkv[2]
        # Written out, not scaled_dot_product_attention: the exported graph is easier to read.
        weights = (query * self.head_dim**-0.5 @ key.transpose(-2, -1)).softmax(dim=-1)
        return self.proj((weights @ value).transpose(1, 2).reshape(batch, tokens, width))


class Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, tokens, width] to the same shape."""
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """One pre-norm transformer block."""

    def __init__(self, width: int, head_dim: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, head_dim)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, mlp_ratio * width)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, tokens, width] to the same shape."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class DigitViT(nn.Module):
    """A vision transformer over the 16 patches of a digit and a class token.

    Args:
        depth: number of blocks.
        width: size of the residual stream; a multiple of `head_dim`.
        head_dim: size of one attention head; there are `width // head_dim` heads.
        mlp_ratio: hidden size of the feed-forward layers, in widths.
    """

    def __init__(self, depth: int = 6, width: int = 48, head_dim: int = 12, mlp_ratio: int = 4) -> None:
        super().__init__()
        tokens = 1 + (IMAGE // PATCH) ** 2
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, width))
        self.patch_embed = nn.Conv2d(1, width, kernel_size=PATCH, stride=PATCH)
        self.blocks = nn.ModuleList(Block(width, head_dim, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)
        self._init_weights()

    def _init_weights(self) -> None:
        """Initialise as vision transformers usually are, except for wide positions.

        The usual 0.02 keeps a small model from leaving chance for hundreds of steps, which would flatter
        every initialisation that is compared with this one.
        """
        nn.init.normal_(self.cls_token, std=0.5)
        nn.init.normal_(self.pos_embed, std=0.5)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> Tensor:
        """Map images [batch, 1, 8, 8] with values in -1..1 to logits [batch, 10]."""
        x = self.patch_embed(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])
