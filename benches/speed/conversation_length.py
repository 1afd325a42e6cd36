#!/usr/bin/env python3
"""Time of a training step against the length of a conversation.

    conversation_length.py [--models mmgcn,...] [--turns 50,100,...] [--repeat 2] [--out FILE]

One conversation per step, the preset `iemocap` and its widths, two speakers, six classes, dropout.
"""
from __future__ import annotations

from typing import Any

from common import DIMS, bench, measuring_parser, write_json

MODELS = "mmgcn,dialoguegcn,mm_dfn,cmath"
TURNS = "50,100,200,400,800"


def main() -> None:
    """Prints a table in Markdown and writes every answer of `trimer bench`."""
    parser = measuring_parser(__doc__, repeat=2)
    parser.add_argument("--models", default=MODELS, metavar="LIST")
    parser.add_argument("--turns", default=TURNS, metavar="LIST", help="utterances")
    args = parser.parse_args()
    models = args.models.split(",")
    found: list[dict[str, Any]] = []
    print("| turns |" + "".join(f" `{model}` |" for model in models))
    print("|---|" + "---|" * len(models))
    for turns in map(int, args.turns.split(",")):
        cells = []
        for model in models:
            flags = ["--preset", "iemocap", "--batch", 1, "--turns", turns]
            answer = bench(args, model, [*flags, "--dims", DIMS, "--classes", 6])
            found.append({"model": model, "turns": turns, **answer})
            per_utterance = 1e3 / answer["train_samples_per_s"]
            cells.append(f" {turns * per_utterance:.0f} ({per_utterance:.2f}) |")
            write_json(args.out, found)
        print(f"| {turns} |" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
