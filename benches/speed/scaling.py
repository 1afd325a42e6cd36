#!/usr/bin/env python3
"""How cost grows with sequence length, batch size, layers and the share of frames that are real.

    scaling.py [--tables length,batch,layers,padding] [--threads 2] [--repeat 3] [--out FILE]

LFMIM's paper preset on this machine. Every row is two processes of its own, one that trains and one
that infers, so that peak memory is that of the row. Lengths are frames per modality: the multimodal
tower reads three times as many and one token.
"""
from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import Any

from common import bench, measuring_parser, write_json

# Utterances per step: long sequences with few, so that a row takes seconds.
LENGTHS = [(64, 8), (128, 8), (256, 8), (512, 4), (1024, 2), (2048, 1), (4096, 1)]
BATCHES = [1, 2, 4, 8, 16, 24, 48, 96]
LAYERS = [1, 2, 4, 8, 16]
REAL = [1.0, 0.75, 0.5, 0.25, 0.1]
TABLES = ("length", "batch", "layers", "padding")

Row = dict[str, Any]


def row(args: argparse.Namespace, batch: int, flags: list[object]) -> Row:
    """Times and peak memory of one setting."""
    common = ["--preset", "paper", *flags, "--batch", batch]
    training, inference = (
        bench(args, "lfmim", ["--only", half, *common]) for half in ("training", "inference")
    )
    return {
        "batch": batch,
        "train_ms_per_utterance": 1e3 / training["train_samples_per_s"],
        "infer_ms_per_utterance": 1e3 / inference["infer_samples_per_s"],
        "train_peak_bytes": training["peak_bytes"],
        "infer_peak_bytes": inference["peak_bytes"],
    }


def tables(args: argparse.Namespace) -> Iterator[tuple[str, str, Iterable[tuple[float, Row]]]]:
    """Name, axis and rows of each table; rows are measured as they are read."""
    # What the process holds without any work to speak of, to be subtracted from peaks.
    yield "base", "frames", [(1, row(args, 1, ["--length", 1]))]
    if "length" in args.tables:
        yield "length", "frames", ((n, row(args, b, ["--length", n])) for n, b in LENGTHS)
    if "batch" in args.tables:
        yield "batch", "utterances", ((b, row(args, b, [])) for b in BATCHES)
    if "layers" in args.tables:
        rows = ((n, row(args, 8, ["--set", f"model.n_layers={n}"])) for n in LAYERS)
        yield "layers", "layers", rows
    if "padding" in args.tables:
        mask: list[object] = ["--set", "model.mask_padding=true", "--real"]
        yield "padding", "real share", ((x, row(args, 24, [*mask, x])) for x in REAL)


def table_names(text: str) -> list[str]:
    """A list with commas of tables that exist."""
    names = text.split(",")
    for name in names:
        if name not in TABLES:
            raise argparse.ArgumentTypeError(
                f"`{name}` is not a table; expected some of {', '.join(TABLES)}"
            )
    return names


def main() -> None:
    """Prints tables in Markdown and writes the figures."""
    parser = measuring_parser(__doc__, repeat=3)
    parser.add_argument("--tables", type=table_names, default=list(TABLES), metavar="LIST")
    args = parser.parse_args()
    result: dict[str, list[Row]] = {}
    for name, axis, rows in tables(args):
        print(
            f"\n| {axis} | batch | training, ms per utterance | inference, ms per utterance "
            "| peak training, MiB per utterance | peak inference, MiB per utterance |"
        )
        print("|---|---|---|---|---|---|", flush=True)
        result[name] = []
        for x, found in rows:
            result[name].append({axis: x, **found})
            base = result["base"][0]
            memory = [
                (found[key] - (name != "base") * base[key]) / 2**20 / found["batch"]
                for key in ("train_peak_bytes", "infer_peak_bytes")
            ]
            times = f"{found['train_ms_per_utterance']:.2f} | {found['infer_ms_per_utterance']:.2f}"
            print(
                f"| {x} | {found['batch']} | {times} | {memory[0]:.1f} | {memory[1]:.1f} |",
                flush=True,
            )
        write_json(args.out, result)


if __name__ == "__main__":
    main()
