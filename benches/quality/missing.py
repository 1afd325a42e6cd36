#!/usr/bin/env python3
"""What runs lose without some modalities, with frame dropout and in noise, as one table.

    missing.py RUN... [--trimer PATH] [--out FILE]

Evaluates each run by `trimer eval RUN --missing --json`, at its default rates of frame dropout and
noise, and prints the accuracy of the multimodal head in Markdown. Runs that did not learn from all
three modalities are left out.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

MODALITIES = ("text", "audio", "vision")


def evaluate(trimer: str, run: Path) -> list[dict[str, Any]]:
    """The cases of one run."""
    command = [trimer, "eval", str(run), "--missing", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"`{' '.join(command)}` failed with exit code {done.returncode}")
    cases: list[dict[str, Any]] = json.loads(done.stdout)["cases"]
    return cases


def column(case: dict[str, Any]) -> str:
    """What was taken away or added, in words."""
    if case["frame_loss"] > 0:
        return f"{100 * case['frame_loss']:.0f} % of frames lost"
    if case["snr_db"] is not None:
        return f"noise {case['snr_db']:.0f} dB"
    kept = [m for m in MODALITIES if m in case["keep"]]
    return "all" if len(kept) == len(MODALITIES) else "+".join(kept)


def main() -> None:
    """Prints the table and writes every case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--trimer", default="target/release/trimer", help="the program")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a file for all cases, as JSON")
    args = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    answers: dict[str, list[dict[str, Any]]] = {}
    for run in args.runs:
        cases = evaluate(args.trimer, run)
        if not any(set(case["keep"]) == set(MODALITIES) for case in cases):
            continue
        answers[run.name] = cases
        found[run.name] = {
            column(case): case["heads"]["multimodal"]["accuracy"] for case in cases
        }
    if not found:
        sys.exit("error: none of these runs learned from text, audio and vision")
    columns = list(dict.fromkeys(name for row in found.values() for name in row))
    print(f"| model | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|")
    for name, row in found.items():
        cells = [f"{row[c]:.3f}" if c in row else "" for c in columns]
        print(f"| {name} | {' | '.join(cells)} |")
    if args.out:
        args.out.write_text(json.dumps(answers) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
