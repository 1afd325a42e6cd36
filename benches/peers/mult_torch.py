#!/usr/bin/env python3
"""MulT in PyTorch, as a worker for compare.py.

    mult_torch.py [--preset official|paper] [--mode eager|compile] [--no-dropout] [--batch 24]

The maths of [Tsai2019] and its released code: scaled input with positions, pre-norm layers that
read the embedded source anew, a mask over the future, self-attention over the two streams
of a target, its last step, residual output layers. Attention is PyTorch's fused
`scaled_dot_product_attention`.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from layers import positions
from torch import Tensor, nn
from torch.nn import functional as F
from worker import CLASSES, PAPER_DIMS, serve

LENGTHS = (50, 375, 500)
# d_model, heads, layers, then dropouts: text, embedding, attention by source (text, audio, vision),
# ReLU, branch, output
PRESETS: dict[str, tuple[int, int, int, tuple[Any, ...]]] = {
    "official": (30, 5, 5, (0.25, 0.25, (0.1, 0.0, 0.0), 0.1, 0.1, 0.0)),
    "paper": (40, 8, 4, (0.3, 0.3, (0.1, 0.1, 0.1), 0.1, 0.1, 0.1)),
}


class Layer(nn.Module):
    """Attention and two linear layers, each with its norm in front."""

    def __init__(self, d: int, heads: int, p_attn: float, p_relu: float, p_res: float) -> None:
        super().__init__()
        self.heads, self.p = heads, (p_attn, p_relu, p_res)
        self.weight = nn.Parameter(torch.empty(3 * d, d))
        self.bias = nn.Parameter(torch.zeros(3 * d))
        nn.init.xavier_uniform_(self.weight)
        self.out, self.wide, self.narrow = nn.Linear(d, d), nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
        self.norms = nn.ModuleList([nn.LayerNorm(d), nn.LayerNorm(d)])

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """Multi-head attention, [utterance, time, d]."""
        batch, time, d = q.shape
        parts = zip((q, k, v), self.weight.chunk(3), self.bias.chunk(3))
        q, k, v = (
            F.linear(x, w, b).view(batch, -1, self.heads, d // self.heads).transpose(1, 2)
            for x, w, b in parts
        )
        p = self.p[0] if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
        return self.out(mixed.transpose(1, 2).reshape(batch, time, d))

    def forward(self, x: Tensor, source: tuple[Tensor, Tensor] | None, mask: Tensor) -> Tensor:
        """Reads keys and values from `source`, or from `x` itself."""
        norm, after = self.norms
        q = norm(x)
        k, v = (q, q) if source is None else (norm(source[0]), norm(source[1]))
        _, p_relu, p_res = self.p
        x = x + F.dropout(self.attend(q, k, v, mask), p_res, self.training)
        hidden = F.dropout(F.relu(self.wide(after(x))), p_relu, self.training)
        return x + F.dropout(self.narrow(hidden), p_res, self.training)


class Encoder(nn.Module):
    """Layers in which one stream reads another, or itself."""

    def __init__(
        self,
        d: int,
        heads: int,
        layers: int,
        p_attn: float,
        p: tuple[Any, ...],
        queries: int,
        keys: int,
    ) -> None:
        super().__init__()
        _, self.p_embed, _, p_relu, p_res, _ = p
        self.layers = nn.ModuleList(Layer(d, heads, p_attn, p_relu, p_res) for _ in range(layers))
        self.norm = nn.LayerNorm(d)
        self.register_buffer("table", positions(max(queries, keys), d), persistent=False)
        see = torch.ones(queries, keys, dtype=torch.bool).tril(abs(keys - queries))
        self.register_buffer("mask", see, persistent=False)

    def embed(self, x: Tensor) -> Tensor:
        """Scaled, with positions where there is a frame."""
        return x * math.sqrt(x.shape[-1]) + self.table[: x.shape[1]] * (x[..., :1] != 0)

    def drop(self, x: Tensor) -> Tensor:
        """Dropout in training."""
        return F.dropout(x, self.p_embed, self.training)

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        """`x` after all layers, [utterance, time, d]."""
        x = self.drop(self.embed(x))
        read: tuple[Tensor, Tensor] | None = None
        if source is not None:
            source = self.embed(source)
            read = (self.drop(source), self.drop(source))
        for layer in self.layers:
            x = layer(x, read, self.mask)
        return self.norm(x)


class Mult(nn.Module):
    """Six crossmodal encoders, three self-attending ones, and residual output layers."""

    def __init__(
        self,
        dims: Sequence[int],
        lengths: Sequence[int],
        d: int,
        heads: int,
        layers: int,
        p: tuple[Any, ...],
    ) -> None:
        super().__init__()
        self.p_text, p_attn, self.p_out = p[0], p[2], p[5]
        # a convolution of width 1
        self.project = nn.ModuleList(nn.Linear(i, d, bias=False) for i in dims)
        self.pairs = [(t, [s for s in range(3) if s != t]) for t in range(3)]
        self.cross = nn.ModuleList(
            nn.ModuleList(
                Encoder(d, heads, layers, p_attn[s], p, lengths[t], lengths[s]) for s in sources
            )
            for t, sources in self.pairs
        )
        self.memory = nn.ModuleList(
            Encoder(2 * d, heads, max(layers, 3), p_attn[0], p, n, n) for n in lengths
        )
        self.first, self.second = nn.Linear(6 * d, 6 * d), nn.Linear(6 * d, 6 * d)
        self.out = nn.Linear(6 * d, CLASSES)

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        """Text, audio and vision, [utterance, time, feature] each; the logits of one head."""
        text = F.dropout(inputs[0], self.p_text, self.training)
        streams = [project(x) for project, x in zip(self.project, [text, *inputs[1:]])]
        last = []
        for (target, sources), cross, memory in zip(self.pairs, self.cross, self.memory):
            target_stream = streams[target]
            reinforced = [encode(target_stream, streams[s]) for encode, s in zip(cross, sources)]
            last.append(memory(torch.cat(reinforced, 2))[:, -1])
        z = torch.cat(last, 1)
        h = F.dropout(F.relu(self.first(z)), self.p_out, self.training)
        return [self.out(self.second(h) + z)]


def build(preset: str, keep: float) -> tuple[nn.Module, Sequence[int], Sequence[int], int]:
    """The model, widths and lengths of its inputs, and its number of heads."""
    d, heads, layers, (text, embed, attn, relu, res, out) = PRESETS[preset]
    by_source = [a * keep for a in attn]
    p = (text * keep, embed * keep, by_source, relu * keep, res * keep, out * keep)
    return Mult(PAPER_DIMS, LENGTHS, d, heads, layers, p), PAPER_DIMS, LENGTHS, 1


if __name__ == "__main__":
    serve(__doc__, list(PRESETS), build)
