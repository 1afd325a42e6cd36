#!/usr/bin/env python3
"""TFN in PyTorch, as a worker for compare.py.

    tfn_torch.py [--preset mmsa|original] [--mode eager|compile] [--no-dropout] [--batch 24]

The maths of [Zadeh2017] in the form of MMSA's code: BatchNorm, dropout and three layers on the
means of audio and vision, the last state of an LSTM over the text, and the outer product of
the three vectors with a one in front.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from worker import CLASSES, PAPER_DIMS, serve

LENGTHS = (100, 512, 512)
# LSTM, text vector, audio, vision, behind the fusion; dropouts of text, audio, vision and fusion
PRESETS = {
    "mmsa": ((128, 32, 32, 128, 64), (0.0, 0.3, 0.3, 0.5)),
    "original": ((128, 64, 4, 16, 32), (0.3, 0.3, 0.3, 0.3)),
}


def subnet(d_in: int, width: int, p: float) -> nn.Sequential:
    """Normalisation, dropout and three layers, as audio and vision have them."""
    layers: list[nn.Module] = [nn.BatchNorm1d(d_in), nn.Dropout(p)]
    for i in (d_in, width, width):
        layers += [nn.Linear(i, width), nn.ReLU()]
    return nn.Sequential(*layers)


class Tfn(nn.Module):
    """Tensor fusion of three vectors."""

    def __init__(self, dims: Sequence[int], sizes: Sequence[int], p: Sequence[float]) -> None:
        super().__init__()
        lstm, text, audio, vision, fusion = sizes
        self.p_text, self.p_fusion = p[0], p[3]
        self.lstm = nn.LSTM(dims[0], lstm, batch_first=True)
        self.text = nn.Linear(lstm, text)
        self.audio = subnet(dims[1], audio, p[1])
        self.vision = subnet(dims[2], vision, p[2])
        fused = (text + 1) * (audio + 1) * (vision + 1)
        self.head = nn.Sequential(
            nn.Linear(fused, fusion),
            nn.ReLU(),
            nn.Linear(fusion, fusion),
            nn.ReLU(),
            nn.Linear(fusion, CLASSES),
        )

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        """Text, audio and vision, [utterance, time, feature] each; the logits of one head."""
        text, audio, vision = inputs
        _, (last, _) = self.lstm(text)
        text = self.text(F.dropout(last[-1], self.p_text, self.training))
        vectors = (self.audio(audio.mean(1)), self.vision(vision.mean(1)), text)
        a, v, t = (F.pad(h, (1, 0), value=1.0) for h in vectors)
        z = torch.einsum("bi,bj->bij", a, v).flatten(1)
        z = torch.einsum("bi,bj->bij", z, t).flatten(1)
        return [self.head(F.dropout(z, self.p_fusion, self.training))]


def build(preset: str, keep: float) -> tuple[nn.Module, Sequence[int], Sequence[int], int]:
    """The model, widths and lengths of its inputs, and its number of heads."""
    sizes, p = PRESETS[preset]
    return Tfn(PAPER_DIMS, sizes, [x * keep for x in p]), PAPER_DIMS, LENGTHS, 1


if __name__ == "__main__":
    serve(__doc__, list(PRESETS), build)
