#!/usr/bin/env python3
"""Every term of a run's loss, epoch by epoch, from its log.

    losses.py RUN [--seed 1] [--out FILE]

Means over the epoch; terms of the model's own are weighted as they enter the sum.
"""
from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HEADS = ("text", "audio", "vision", "multimodal")


def terms(epoch: dict[str, Any]) -> dict[str, float]:
    """The total, the heads' losses, the model's own terms, and accuracy on valid."""
    found = {"total": epoch["train_loss"]}
    found |= {h: x for h in HEADS if (x := epoch["train_losses"].get(h)) is not None}
    found |= epoch.get("aux_losses", {})
    valid = epoch["valid"].get("multimodal") or {}
    if "accuracy" in valid:
        found["accuracy on valid"] = valid["accuracy"]
    return found


def main() -> None:
    """Prints the table and writes it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, metavar="FILE", help="a file for the table, as JSON")
    args = parser.parse_args()
    log = args.run / f"seed-{args.seed}" / "log.jsonl"
    if not log.exists():
        sys.exit(f"error: {log} is not there\n hint: is {args.run} a run of `trimer train`?")
    epochs = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    if not epochs:
        sys.exit(f"error: {log} has no epoch yet")
    columns = list(dict.fromkeys(name for epoch in epochs for name in terms(epoch)))
    print(f"| epoch | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|")
    rows = []
    for epoch in epochs:
        row = terms(epoch)
        rows.append({"epoch": epoch["epoch"], **row})
        cells = [f"{row[c]:.4f}" if c in row else "" for c in columns]
        print(f"| {epoch['epoch']} | {' | '.join(cells)} |")
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
