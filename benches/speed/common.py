"""What the scripts that measure speed have in common."""
from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PEERS = Path(__file__).resolve().parent.parent / "peers"
DIMS = "text=100,audio=1582,vision=342"
"""Widths of the features published for conversations of IEMOCAP."""


def measuring_parser(doc: str | None, repeat: int | None = None) -> argparse.ArgumentParser:
    """The flags that every script has; `--repeat` where it has a default."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trimer", default="target/release/trimer", help="the program")
    parser.add_argument("--threads", type=int, default=2)
    if repeat is not None:
        parser.add_argument(
            "--repeat", type=int, default=repeat, help="repetitions; their median counts"
        )
    parser.add_argument("--out", type=Path, help="a file for the figures, as JSON")
    return parser


def bench(args: argparse.Namespace, model: str, flags: Iterable[object]) -> dict[str, Any]:
    """What `trimer bench MODEL --json` says, in a process of its own."""
    command = [args.trimer, "bench", model, "--json", *map(str, flags)]
    command += ["--repeat", str(args.repeat), "--threads", str(args.threads)]
    return answer(command)


def answer(command: list[str]) -> dict[str, Any]:
    """The JSON that a command prints; ends the script when the command fails."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    except FileNotFoundError:
        sys.exit(f"{command[0]} does not exist\n hint: `cargo build --release`, or `--trimer PATH`")
    except subprocess.CalledProcessError as error:
        sys.exit(f"`{' '.join(command)}` failed with exit code {error.returncode}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def cpu() -> str:
    """The processor's name, or its architecture where the system has no name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def write_json(path: Path | None, figures: object) -> None:
    """Writes figures to the file of `--out`, if there is one."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
