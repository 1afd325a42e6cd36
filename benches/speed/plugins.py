#!/usr/bin/env python3
"""What a plug-in costs: training of each model with it and without it, in alternation.

    plugins.py [--plugin fagm] [--models dialoguernn,...] [--rounds 3] [--repeat 3] [--out FILE]

Conversations of 50 turns, 16 at a time, three modalities of the widths published for IEMOCAP.
"""
from __future__ import annotations

import statistics
from typing import Any

from common import DIMS, bench, measuring_parser, write_json

MODELS = "dialoguernn,dialoguegcn,biddin,mmgcn,mm_dfn,cmath,bc_lstm"


def main() -> None:
    """Prints a table in Markdown and writes the rounds."""
    parser = measuring_parser(__doc__, repeat=3)
    parser.add_argument("--plugin", default="fagm", metavar="ID")
    parser.add_argument("--models", default=MODELS, metavar="LIST")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(f"| model | plain, utterances/s | with {args.plugin} | factor |\n|---|---|---|---|")
    found: dict[str, Any] = {"plugin": args.plugin, "models": {}}
    common = ["--batch", 16, "--turns", 50, "--dims", DIMS, "--only", "training"]
    for model in args.models.split(","):
        rounds: dict[str, list[float]] = {"plain": [], "plugin": []}
        for _ in range(args.rounds):
            for name, flags in (("plain", []), ("plugin", ["--plugin", args.plugin])):
                answer = bench(args, model, [*common, *flags])
                rounds[name].append(answer["train_samples_per_s"])
        found["models"][model] = rounds
        plain, with_plugin = (statistics.median(values) for values in rounds.values())
        factor = plain / with_plugin
        print(f"| {model} | {plain:.0f} | {with_plugin:.0f} | {factor:.2f} |", flush=True)
        write_json(args.out, found)


if __name__ == "__main__":
    main()
