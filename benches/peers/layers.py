"""Layers that several PyTorch peers have."""
from __future__ import annotations

import math

import torch
from torch import Tensor


def positions(time_steps: int, width: int) -> Tensor:
    """Sines, then cosines, of the positions from 1 on: [time_steps, width]."""
    half = width // 2
    frequency = torch.exp(-math.log(10000) / (half - 1) * torch.arange(half))
    angle = torch.outer(torch.arange(1, time_steps + 1).float(), frequency)
    return torch.hstack([angle.sin(), angle.cos()])
