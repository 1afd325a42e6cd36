#!/usr/bin/env python3
"""LFMIM's paper and released presets in PyTorch, as a worker for compare.py.

    lfmim_torch.py [--preset paper|released] [--mode eager|compile] [--no-dropout] [--batch 24]
"""
from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from layers import positions
from torch import Tensor, nn
from torch.nn import functional as F
from worker import CLASSES, PAPER_DIMS, serve

PRESETS = {
    # widths and lengths of text, audio and vision, then d_model, heads, visual blocks per layer,
    # learned tokens
    "paper": (PAPER_DIMS, (80, 100, 64), 128, 8, 1, 1),
    "released": ((1024, 1024, 2048), (80, 50, 16), 1024, 16, 2, 4),
}
LAYERS = 4


class EncoderBlock(nn.Module):
    """Attention and two linear layers, each between two norms."""

    def __init__(self, width: int, heads: int, p: dict[str, float]) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.attention = nn.MultiheadAttention(width, heads, dropout=p["attn"], batch_first=True)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(p["mlp"])

    def forward(self, x: Tensor) -> Tensor:
        """States after the block, [utterance, time, width]."""
        before_attn, after_attn, before_mlp, after_mlp = self.norms
        h = before_attn(x)
        h, _ = self.attention(h, h, h, need_weights=False)
        x = x + after_attn(h)
        h = self.narrow(self.drop(F.relu(self.wide(before_mlp(x)))))
        return x + after_mlp(h)


class Tower(nn.Module):
    """One stream: its blocks, and what turns its states into logits."""

    def __init__(
        self,
        steps: int,
        width: int,
        heads: int,
        blocks: int,
        p: dict[str, float],
        head: Sequence[int],
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(EncoderBlock(width, heads, p) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Parameter(torch.rand(steps) / math.sqrt(steps))
        layers: list[nn.Module] = []
        for i, o in zip(head, head[1:]):
            layers += [nn.Linear(i, o), nn.ReLU()]
        self.head = nn.Sequential(*layers[:-1])

    def pool(self, states: Tensor) -> Tensor:
        """A learned mean over time, [utterance, width]."""
        return torch.einsum("t,btd->bd", self.mix, self.norm(states))


class Lfmim(nn.Module):
    """Three towers and the joint one that reads them layer by layer."""

    def __init__(self, preset: str, p: dict[str, float]) -> None:
        super().__init__()
        dims, lengths, d, heads, visual, tokens = PRESETS[preset]
        self.released = preset == "released"
        self.n_tokens, self.visual, self.p_embed = tokens, visual, p["embed"]
        steps = [n + int(self.released) for n in lengths]
        self.steps = steps
        self.project = nn.ModuleList(nn.Linear(i, d) for i in dims)
        head = [d, d // 2, 32, CLASSES]
        per_layer = (1, 1, visual)
        self.towers = nn.ModuleList(
            Tower(s, d, heads, LAYERS * n, p, head) for s, n in zip(steps, per_layer)
        )
        joint_head = [4 * d, 2 * d, 128, 64, CLASSES] if self.released else head
        self.joint = Tower(tokens + sum(steps), d, heads, LAYERS, p, joint_head)
        self.tokens = nn.Parameter(torch.randn(tokens, d) / math.sqrt(d))
        if self.released:
            self.cls = nn.ParameterList(
                nn.Parameter(torch.randn(1, d) / math.sqrt(d)) for _ in range(3)
            )
            self.embed_norms = nn.ModuleList(
                nn.ModuleList([nn.LayerNorm(d), nn.LayerNorm(d)]) for _ in range(4)
            )
            self.weights = nn.Parameter(torch.ones(1, 3, 2))
        else:
            self.weights = nn.Parameter(torch.ones(LAYERS, 3, 2))
        for i, n in enumerate([*steps, tokens]):
            self.register_buffer(f"positions_{i}", positions(n, d), persistent=False)

    def embed(self, x: Tensor, i: int) -> Tensor:
        """States of stream `i` with positions and dropout."""
        table = getattr(self, f"positions_{i}")
        if not self.released:
            return F.dropout(x + table, self.p_embed, self.training)
        before, after = self.embed_norms[i]
        x = before(x * math.sqrt(x.shape[-1]))
        x = x + table * (x[..., :1] != 0)
        return after(F.dropout(x, self.p_embed, self.training))

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        """Logits of text, audio, vision and the joint head, [utterance, class] each."""
        batch = inputs[0].shape[0]
        states = []
        for i, x in enumerate(inputs):
            x = self.project[i](x)
            if self.released:
                x = torch.cat([self.cls[i].expand(batch, 1, -1), x], 1)
            states.append(self.embed(x, i))
        tokens = self.tokens.expand(batch, -1, -1)
        if self.released:
            tokens = self.embed(tokens, 3)
        segments = None
        for layer in range(LAYERS):
            mixed = []
            for i, state in enumerate(states):
                if segments is not None:
                    own, other = self.weights[layer if not self.released else 0, i]
                    state = own * state + other * segments[i]
                elif not self.released:
                    state = self.weights[layer, i, 0] * state
                mixed.append(state)
            joint = self.joint.blocks[layer](torch.cat([tokens, *mixed], 1))
            tokens, *segments = torch.split(joint, [self.n_tokens, *self.steps], 1)
            for i, tower in enumerate(self.towers):
                per_layer = self.visual if i == 2 else 1
                for block in tower.blocks[layer * per_layer : (layer + 1) * per_layer]:
                    states[i] = block(states[i])
        pooled = [tower.pool(state) for tower, state in zip(self.towers, states)]
        last = self.joint.pool(joint)
        logits = [tower.head(x) for tower, x in zip(self.towers, pooled)]
        return [*logits, self.joint.head(torch.cat([*pooled, last], 1) if self.released else last)]


def build(preset: str, keep: float) -> tuple[nn.Module, Sequence[int], Sequence[int], int]:
    """The model, widths and lengths of its inputs, and its number of heads."""
    p = {"embed": 0.25 * keep, "attn": 0.2 * keep, "mlp": 0.1 * keep}
    return Lfmim(preset, p), *PRESETS[preset][:2], 4


if __name__ == "__main__":
    serve(__doc__, list(PRESETS), build)
