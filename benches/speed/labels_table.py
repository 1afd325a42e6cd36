#!/usr/bin/env python3
"""Write an invented table of labels, to time `trimer labels stats` on.

    labels_table.py FILE [--rows 1000000] [--seed 0]

Columns `id,label_text,label_audio,label_vision,label`, seven classes. The label of a modality is
the multimodal one with probability 0.6 (text), 0.5 (audio) and 0.55 (vision), otherwise any class.
"""
from __future__ import annotations

import argparse
import random
from pathlib import Path

CLASSES = ("anger", "disgust", "fear", "happy", "neutral", "sad", "surprise")
SAME = (0.6, 0.5, 0.55)


def main() -> None:
    """Writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    args.file.parent.mkdir(parents=True, exist_ok=True)
    with args.file.open("w", encoding="utf-8") as file:
        file.write("id,label_text,label_audio,label_vision,label\n")
        for i in range(args.rows):
            label = rng.choice(CLASSES)
            seen = (label if rng.random() < same else rng.choice(CLASSES) for same in SAME)
            file.write(f"u{i:07d},{','.join(seen)},{label}\n")


if __name__ == "__main__":
    main()
