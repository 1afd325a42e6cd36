#!/usr/bin/env python3
"""One answer of a stored LFMIM (paper preset) by PyTorch, from the start of the process.

    startup_torch.py RUN/seed-1/best.safetensors text.npy audio.npy vision.npy [--threads 2]

Loads the weights that `trimer train` wrote into the peer of `lfmim_torch.py`, pads the features
with zeros to the preset's lengths as Trimer does, and prints the probabilities of every head as
JSON. Only runs that were trained without normalisation are read.
"""
from __future__ import annotations

import argparse
import json
import sys

import numpy as np
import torch
from layers import positions
from lfmim_torch import PRESETS, Lfmim
from safetensors.torch import load_file

HEADS = ("text", "audio", "vision", "multimodal")
TOWERS = {"text": "towers.0", "audio": "towers.1", "vision": "towers.2", "multi": "joint"}
BY_NUMBER = ("towers.0", "towers.1", "towers.2", "joint")
IN_BLOCK = {
    "ln_1": "norms.0",
    "ln_12": "norms.1",
    "ln_2": "norms.2",
    "ln_22": "norms.3",
    "attn": "attention",
    "fc": "wide",
    "proj": "narrow",
}


def peer_name(name: str) -> str:
    """The reference's name of a parameter in the peer's `state_dict`."""
    first, _, rest = name.partition(".")
    if first == "conv":
        return f"project.{rest}"
    if first == "fex":
        return "tokens"
    if first in ("ln_post", "mix", "head"):
        number, _, leaf = rest.partition(".")
        part = {"ln_post": "norm", "mix": "mix", "head": "head"}[first]
        return ".".join(filter(None, (BY_NUMBER[int(number)], part, leaf)))
    block, part, leaf = rest.split(".", 2)
    return f"{TOWERS[first.removeprefix('tower_')]}.blocks.{block}.{IN_BLOCK[part]}.{leaf}"


def load(path: str) -> Lfmim:
    """The peer with the weights of a run."""
    with torch.device("meta"):
        model = Lfmim("paper", {"embed": 0.0, "attn": 0.0, "mlp": 0.0})
    wanted = model.state_dict()
    stored = load_file(path)
    if any(name.startswith("normaliser.") for name in stored):
        sys.exit("the run normalises its features; train one with data.normalise=none")
    # Weights of the own states and of what came from the joint tower, [layer, modality] each.
    state = {"weights": torch.stack([stored.pop("alpha"), stored.pop("alpha_bar")], -1)}
    for name, value in stored.items():
        state[peer_name(name)] = value.reshape(wanted[peer_name(name)].shape)
    model.load_state_dict(state, assign=True)
    # Tables of positions are computed, not stored.
    for i, steps in enumerate([*model.steps, model.n_tokens]):
        setattr(model, f"positions_{i}", positions(steps, PRESETS["paper"][2]))
    return model.eval()


def main() -> None:
    """Prints the answer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights")
    parser.add_argument("features", nargs=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = load(args.weights)
    inputs = []
    for file, dim, steps in zip(args.features, *PRESETS["paper"][:2]):
        frames = torch.from_numpy(np.load(file).astype("float32"))[:steps]
        padded = torch.zeros(1, steps, dim)
        padded[0, : len(frames)] = frames
        inputs.append(padded)
    with torch.inference_mode():
        logits = model(inputs)
    print(json.dumps({head: x[0].softmax(-1).tolist() for head, x in zip(HEADS, logits)}))


if __name__ == "__main__":
    main()
