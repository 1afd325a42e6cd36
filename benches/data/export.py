#!/usr/bin/env python3
"""Write one of the public data sets in the `folder` layout, which `trimer corpus import` reads.

    benches/data/export.py SET DATA OUT [--fold K] [--learn-from-valid]

SET   one of the sets listed below
DATA  the folder with the sources, laid out as benches/data/README.md describes
OUT   the folder to make: manifest.csv and <modality>/<id>.npy; it must be new or empty

Nothing is downloaded. NumPy is needed, and nothing else.
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

from folder import ExportError, write_folder
from sets import SETS


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    width = max(map(len, SETS))
    known = "\n".join(f"  {name:{width}}  {one.summary}" for name, one in SETS.items())
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"sets:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("set", choices=SETS, metavar="SET")
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--fold", type=int, metavar="K", help="which division into splits")
    parser.add_argument(
        "--learn-from-valid",
        action="store_true",
        help="put the utterances of valid into train, for a last training without selection",
    )
    return parser


def export(name: str, data: Path, out: Path, fold: int | None, learn_from_valid: bool) -> str:
    """Exports one set and describes what was written in a line."""
    chosen = SETS[name]
    utterances = chosen.read(data, chosen.fold(name, fold))
    if learn_from_valid:
        for utterance in utterances:
            if utterance.split == "valid":
                utterance.split = "train"
    write_folder(out, utterances)
    modalities = sorted({m for utterance in utterances for m in utterance.features})
    return f"{out}: {len(utterances)} utterances, {', '.join(modalities) or 'no features'}"


def main() -> int:
    """Exports what the command line asks for; 1 when that cannot be done."""
    args = arguments().parse_args()
    try:
        print(export(args.set, args.data, args.out, args.fold, args.learn_from_valid))
    except ExportError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
