#!/usr/bin/env python3
"""PyTorch implementations of two models of conversations, written from their equations.

    conversations_torch.py --model dialoguernn|mmgcn [--mode eager|dense] [--batch 32]
        [--turns 110] [--min-turns 8] [--no-dropout] [--threads 2]

A worker for compare.py. Sizes are those published for IEMOCAP: audio, vision and text 1582, 342 and
100 wide, two speakers, six classes. The lengths of the conversations are spread evenly between
--min-turns and --turns. `--mode dense` is MMGCN with one matrix over all nodes of the batch, as the
published code has it; otherwise a block per conversation and modality.
"""
from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from worker import answer_requests, prepare, steps, worker_parser

AUDIO, VISION, TEXT = 1582, 342, 100
WIDTHS = {"audio": AUDIO, "vision": VISION, "text": TEXT}
SPEAKERS, CLASSES = 2, 6

Propagate = Callable[[Tensor], Tensor]


def spread(low: int, high: int, n: int) -> list[int]:
    """`n` whole numbers at equal distances from `high` down to `low`."""
    return [high - (high - low) * i // max(n - 1, 1) for i in range(n)]


class Direction(nn.Module):
    """DialogueRNN's recurrence in one direction, equations 1 to 9."""

    def __init__(self, d_m: int, d_g: int, d_p: int, d_e: int, p: float) -> None:
        super().__init__()
        self.g_cell = nn.GRUCell(d_m + d_p, d_g)
        self.p_cell = nn.GRUCell(d_m + d_g, d_p)
        self.e_cell = nn.GRU(d_p, d_e)
        self.attention = nn.Linear(d_m, d_g, bias=False)
        self.drop = nn.Dropout(p)

    def forward(self, u: Tensor, who: Tensor) -> Tensor:
        """`u` is [turn, conversation, d_m], `who` one-hot [turn, conversation, speaker]."""
        turns, batch, _ = u.shape
        speakers = u.new_zeros(batch, SPEAKERS, self.p_cell.hidden_size)
        g = u.new_zeros(batch, self.g_cell.hidden_size)
        queries = self.attention(u)  # [turn, conversation, d_g]
        history, spoken = [], []
        for t in range(turns):
            own = (who[t].unsqueeze(2) * speakers).sum(1)
            g = self.drop(self.g_cell(torch.cat([u[t], own], 1), g))
            if history:
                past = torch.stack(history, 1)  # [conversation, t, d_g]
                weights = torch.bmm(past, queries[t].unsqueeze(2)).softmax(1)
                context = torch.bmm(weights.transpose(1, 2), past).squeeze(1)
            else:
                context = torch.zeros_like(g)
            # The speaker's state alone changes.
            new = self.drop(self.p_cell(torch.cat([u[t], context], 1), own))
            mask = who[t].unsqueeze(2)
            speakers = speakers * (1 - mask) + new.unsqueeze(1) * mask
            history.append(g)
            spoken.append(new)
        return self.drop(self.e_cell(torch.stack(spoken))[0])


class DialogueRnn(nn.Module):
    """DialogueRNN in both directions, with attention over the emotion states."""

    def __init__(self, keep: float) -> None:
        super().__init__()
        d_g = d_p = 500
        d_e, d_m = 300, AUDIO + VISION + TEXT
        self.forward_cell = Direction(d_m, d_g, d_p, d_e, 0.1 * keep)
        self.reverse_cell = Direction(d_m, d_g, d_p, d_e, 0.1 * keep)
        self.drop = nn.Dropout(0.25 * keep)
        self.emotion = nn.Linear(2 * d_e, 2 * d_e)
        self.linear = nn.Linear(2 * d_e, 300)
        self.head = nn.Linear(300, CLASSES)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits of the valid utterances, [utterance, class]."""
        u = torch.cat([batch["audio"], batch["vision"], batch["text"]], 2).transpose(0, 1)
        who = batch["who"].transpose(0, 1)
        back = batch["reverse"]  # [turn, conversation]

        def turned(x: Tensor) -> Tensor:
            return x.gather(0, back.unsqueeze(2).expand(-1, -1, x.shape[2]))

        forward = self.drop(self.forward_cell(u, who))
        reverse = self.drop(turned(self.reverse_cell(turned(u), turned(who))))
        e = torch.cat([forward, reverse], 2).transpose(0, 1)  # [conversation, turn, 2 d_e]
        scores = torch.bmm(self.emotion(e), e.transpose(1, 2)).tanh()
        scores = scores.masked_fill(~batch["real"].unsqueeze(1), -1e30)
        attended = torch.bmm(scores.softmax(2), e)
        return self.head(self.linear(attended).relu())[batch["real"]]


class Mmgcn(nn.Module):
    """MMGCN: a spectral graph convolution over the utterances of each modality."""

    def __init__(self, keep: float, dense: bool) -> None:
        super().__init__()
        self.p, self.dense = 0.4 * keep, dense
        width, h, self.layers = 200, 100, 4
        self.towers = nn.ModuleDict({name: nn.Linear(dim, width) for name, dim in WIDTHS.items()})
        self.lstm = nn.LSTM(
            width, width // 2, 2, bidirectional=True, dropout=self.p, batch_first=True
        )
        self.speakers = nn.Embedding(SPEAKERS, width)
        self.fc0 = nn.Linear(width, h)
        bound = 1 / math.sqrt(h)
        self.weights = nn.ParameterList(
            nn.Parameter(torch.empty(2 * h, h).uniform_(-bound, bound)) for _ in range(self.layers)
        )
        self.head = nn.Linear(3 * (width + h), CLASSES)

    def drop(self, x: Tensor) -> Tensor:
        """Dropout in training."""
        return F.dropout(x, self.p, self.training)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits of the valid utterances, [utterance, class]."""
        real = batch["real"]
        towers = {m: layer(batch[m]) for m, layer in self.towers.items()}
        towers["text"] = self.lstm(towers["text"])[0]
        spoken = self.speakers(batch["speaker"])
        # [modality, conversation, turn, width]
        nodes = torch.stack([x + spoken for x in towers.values()])
        propagate = self.whole(nodes, real) if self.dense else self.blocks(nodes, real)
        x = self.drop(nodes)
        if self.dense:
            x = x[:, real].flatten(0, 1)
        h0 = self.fc0(x).relu()
        h = self.drop(h0)
        for i, weight in enumerate(self.weights):
            theta = math.log(0.5 / (i + 1) + 1)
            p = propagate(h)
            out = theta * torch.cat([p, h0], -1) @ weight + (1 - theta) * (0.9 * p + 0.1 * h0)
            h = self.drop(out.relu())
        states = torch.cat([x, h], -1)
        states = states.unflatten(0, (3, -1)) if self.dense else states[:, real]
        features = self.drop(torch.cat(list(states), -1)).relu()
        return self.head(features)

    @staticmethod
    def similarity(cosine: Tensor) -> Tensor:
        """One minus the angle as a share of a half turn."""
        return 1 - (0.99999 * cosine).acos() / math.pi

    def blocks(self, nodes: Tensor, real: Tensor) -> Propagate:
        """A block per modality and conversation, and the links between modalities as numbers."""
        unit = nodes / (nodes.square().sum(-1, keepdim=True) + 1e-12).sqrt()
        turns = nodes.shape[2]
        eye = torch.eye(turns, dtype=torch.bool)
        cosine = (unit @ unit.transpose(-1, -2)).masked_fill(eye, 1.0)
        within = self.similarity(cosine) * real[:, None, :] * real[:, :, None]
        across = [self.similarity((unit * unit.roll(-k, 0)).sum(-1, keepdim=True)) for k in (1, 2)]
        degree = within.sum(-1, keepdim=True) + across[0] + across[1]
        scale = degree.rsqrt()

        def propagate(h: Tensor) -> Tensor:
            h = h * scale
            out = within @ h
            for k, weights in zip((1, 2), across):
                out = out + h.roll(-k, 0) * weights
            return out * scale

        return propagate

    def whole(self, nodes: Tensor, real: Tensor) -> Propagate:
        """One matrix over all nodes of the batch."""
        x = nodes[:, real]  # [modality, utterance, width]
        n = x.shape[1]
        unit = x / (x.square().sum(-1, keepdim=True) + 1e-12).sqrt()
        adjacency = x.new_zeros(3 * n, 3 * n)
        first = 0
        for length in real.sum(1).tolist():
            part = unit[:, first : first + length]
            eye = torch.eye(length, dtype=torch.bool)
            cosine = (part @ part.transpose(1, 2)).masked_fill(eye, 1.0)
            block = self.similarity(cosine)
            for m in range(3):
                at = m * n + first
                adjacency[at : at + length, at : at + length] = block[m]
            first += length
        rows = torch.arange(n)
        for a in range(3):
            for b in range(3):
                if a != b:
                    across = self.similarity((unit[a] * unit[b]).sum(-1))
                    adjacency[a * n + rows, b * n + rows] = across
        scale = adjacency.sum(1, keepdim=True).rsqrt()
        adjacency = adjacency * scale * scale.T
        return lambda h: adjacency @ h


def make_batch(lengths: list[int]) -> dict[str, Tensor]:
    """Random features and speakers who take turns, padded to the longest conversation."""
    turns = max(lengths)
    real = torch.arange(turns)[None] < torch.tensor(lengths)[:, None]
    batch = {
        name: torch.randn(len(lengths), turns, width) * real.unsqueeze(2)
        for name, width in WIDTHS.items()
    }
    speaker = (torch.arange(turns) % SPEAKERS).expand(len(lengths), -1)
    places = torch.arange(turns)[:, None].expand(-1, len(lengths))
    n = torch.tensor(lengths)[None]
    batch["reverse"] = torch.where(places < n, n - 1 - places, places)
    batch["real"], batch["speaker"] = real, speaker
    batch["who"] = F.one_hot(speaker, SPEAKERS).float() * real.unsqueeze(2)
    return batch


def main() -> None:
    """Answers requests for the model of the command line."""
    parser = worker_parser(__doc__, ("eager", "dense"), batch=32)
    parser.add_argument("--model", choices=("dialoguernn", "mmgcn"), required=True)
    parser.add_argument("--turns", type=int, default=110)
    parser.add_argument("--min-turns", type=int, default=8)
    args = parser.parse_args()
    keep = prepare(args)
    model = DialogueRnn(keep) if args.model == "dialoguernn" else Mmgcn(keep, args.mode == "dense")
    lengths = spread(args.min_turns, args.turns, args.batch)
    batch, one = make_batch(lengths), make_batch([args.turns])
    labels = torch.randint(CLASSES, (sum(lengths),))
    work = steps(
        model,
        lambda: F.cross_entropy(model(batch), labels),
        lambda: model(batch),
        lambda: model(one),
    )
    answer_requests(model, work, utterances=sum(lengths))


if __name__ == "__main__":
    main()
