#!/usr/bin/env python3
"""MulT in PyTorch, as a worker for compare.py.

    mult_torch.py [--preset official|paper] [--mode eager|compile] [--no-dropout] [--batch 24] [--threads 2]

The maths of [Tsai2019] and its released code: scaled input with positions, pre-norm layers that read the embedded
source anew, a mask over the future, self-attention over the two streams of a target, its last step, residual output
layers. Attention is PyTorch's fused `scaled_dot_product_attention`.
"""
import math

import torch
from torch import nn
from torch.nn import functional as F

from worker import CLASSES, PAPER_DIMS, serve

LENGTHS = (50, 375, 500)
# d_model, heads, layers, then dropouts: text, embedding, attention by source (text, audio, vision), ReLU, branch, output
PRESETS = {
    "official": (30, 5, 5, (0.25, 0.25, (0.1, 0.0, 0.0), 0.1, 0.1, 0.0)),
    "paper": (40, 8, 4, (0.3, 0.3, (0.1, 0.1, 0.1), 0.1, 0.1, 0.1)),
}


def positions(time_steps, width):
    half = width // 2
    frequency = torch.exp(-math.log(10000) / (half - 1) * torch.arange(half))
    angle = torch.outer(torch.arange(1, time_steps + 1).float(), frequency)
    return torch.hstack([angle.sin(), angle.cos()])


class Layer(nn.Module):
    def __init__(self, d, heads, p_attn, p_relu, p_res):
        super().__init__()
        self.heads, self.p = heads, (p_attn, p_relu, p_res)
        self.weight, self.bias = nn.Parameter(torch.empty(3 * d, d)), nn.Parameter(torch.zeros(3 * d))
        nn.init.xavier_uniform_(self.weight)
        self.out, self.wide, self.narrow = nn.Linear(d, d), nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
        self.norms = nn.ModuleList([nn.LayerNorm(d), nn.LayerNorm(d)])

    def attend(self, q, k, v, mask):
        batch, time, d = q.shape
        parts = zip((q, k, v), self.weight.chunk(3), self.bias.chunk(3))
        q, k, v = (F.linear(x, w, b).view(batch, -1, self.heads, d // self.heads).transpose(1, 2) for x, w, b in parts)
        p = self.p[0] if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
        return self.out(mixed.transpose(1, 2).reshape(batch, time, d))

    def forward(self, x, source, mask):
        norm, after = self.norms
        q = norm(x)
        k, v = (q, q) if source is None else (norm(source[0]), norm(source[1]))
        _, p_relu, p_res = self.p
        x = x + F.dropout(self.attend(q, k, v, mask), p_res, self.training)
        hidden = F.dropout(F.relu(self.wide(after(x))), p_relu, self.training)
        return x + F.dropout(self.narrow(hidden), p_res, self.training)


class Encoder(nn.Module):
    def __init__(self, d, heads, layers, p_attn, p, queries, keys):
        super().__init__()
        _, self.p_embed, _, p_relu, p_res, _ = p
        self.layers = nn.ModuleList(Layer(d, heads, p_attn, p_relu, p_res) for _ in range(layers))
        self.norm = nn.LayerNorm(d)
        self.register_buffer("table", positions(max(queries, keys), d), persistent=False)
        see = torch.ones(queries, keys, dtype=torch.bool).tril(abs(keys - queries))
        self.register_buffer("mask", see, persistent=False)

    def embed(self, x):
        return x * math.sqrt(x.shape[-1]) + self.table[: x.shape[1]] * (x[..., :1] != 0)

    def drop(self, x):
        return F.dropout(x, self.p_embed, self.training)

    def forward(self, x, source=None):
        x = self.drop(self.embed(x))
        if source is not None:
            source = self.embed(source)
            source = (self.drop(source), self.drop(source))
        for layer in self.layers:
            x = layer(x, source, self.mask)
        return self.norm(x)


class Mult(nn.Module):
    def __init__(self, dims, lengths, d, heads, layers, p):
        super().__init__()
        self.p_text, p_attn, self.p_out = p[0], p[2], p[5]
        self.project = nn.ModuleList(nn.Linear(i, d, bias=False) for i in dims)  # a convolution of width 1
        self.pairs = [(t, [s for s in range(3) if s != t]) for t in range(3)]
        self.cross = nn.ModuleList(
            nn.ModuleList(Encoder(d, heads, layers, p_attn[s], p, lengths[t], lengths[s]) for s in sources)
            for t, sources in self.pairs
        )
        self.memory = nn.ModuleList(
            Encoder(2 * d, heads, max(layers, 3), p_attn[0], p, n, n) for n in lengths
        )
        self.first, self.second, self.out = nn.Linear(6 * d, 6 * d), nn.Linear(6 * d, 6 * d), nn.Linear(6 * d, CLASSES)

    def forward(self, inputs):
        text = F.dropout(inputs[0], self.p_text, self.training)
        streams = [project(x) for project, x in zip(self.project, [text, *inputs[1:]])]
        last = []
        for (target, sources), cross, memory in zip(self.pairs, self.cross, self.memory):
            reinforced = [encoder(streams[target], streams[s]) for encoder, s in zip(cross, sources)]
            last.append(memory(torch.cat(reinforced, 2))[:, -1])
        z = torch.cat(last, 1)
        h = F.dropout(F.relu(self.first(z)), self.p_out, self.training)
        return [self.out(self.second(h) + z)]


def build(preset, keep):
    d, heads, layers, (text, embed, attn, relu, res, out) = PRESETS[preset]
    p = (text * keep, embed * keep, [a * keep for a in attn], relu * keep, res * keep, out * keep)
    return Mult(PAPER_DIMS, LENGTHS, d, heads, layers, p), PAPER_DIMS, LENGTHS, 1


if __name__ == "__main__":
    serve(__doc__, list(PRESETS), build)
