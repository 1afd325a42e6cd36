#!/usr/bin/env python3
"""Time from the start of a process to its answer: `trimer predict` and PyTorch, in alternation.

    startup.py RUN [--rounds 15] [--threads 2] [--without-torch] [--out FILE]

RUN is a run of LFMIM in the paper preset, on features of the paper's widths and without
normalisation: `trimer corpus synth --preset cherma --utterances 40 CORPUS`, then `trimer train
--corpus CORPUS --model lfmim --set train.epochs=0 --out RUN`. The features
of the one utterance (80 + 100 + 64 frames) are invented. Run it with a Python that has NumPy,
PyTorch and safetensors. Both systems must agree on the answer. `answer` is the time until the first
byte of the answer, `exit` until the process is gone.
"""
from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import PEERS, cpu, measuring_parser, write_json

MODALITIES = {"text": (80, 768), "audio": (100, 768), "vision": (64, 512)}
LARGEST_DIFFERENCE = 1e-4

Times = list[tuple[float, float]]


def run(command: list[str]) -> tuple[dict[str, Any], float, float]:
    """The answer, and milliseconds to its first byte and to the end of the process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    first = process.stdout.read(1)
    answer = time.perf_counter()
    rest = process.stdout.read()
    code = process.wait()
    end = time.perf_counter()
    if code != 0:
        sys.exit(f"`{' '.join(command)}` failed with exit code {code}")
    return json.loads(first + rest), 1e3 * (answer - start), 1e3 * (end - start)


def commands(args: argparse.Namespace, folder: Path) -> dict[str, list[str]]:
    """Each system's command for one utterance, whose features go to `folder`."""
    rng = np.random.default_rng(0)
    files = {modality: folder / f"{modality}.npy" for modality in MODALITIES}
    for modality, shape in MODALITIES.items():
        np.save(files[modality], rng.standard_normal(shape).astype("float32"))
    # PyTorch knows the weights and not the run's temperatures.
    ours = [args.trimer, "predict", str(args.run), "--raw", "--json"]
    ours += ["--threads", str(args.threads)]
    for modality, file in files.items():
        ours += ["--features", f"{modality}={file}"]
    found = {"trimer": ours}
    if not args.without_torch:
        weights = next(args.run.glob("seed-*/best.safetensors"), None)
        if weights is None:
            sys.exit(f"{args.run} has no seed-*/best.safetensors; is it a run of `trimer train`?")
        torch = [sys.executable, str(PEERS / "startup_torch.py"), str(weights)]
        torch += [*map(str, files.values()), "--threads", str(args.threads)]
        found["torch"] = torch
    return found


def check_answers(ours: dict[str, Any], torch: dict[str, list[float]]) -> None:
    """Ends the script when the two systems give different probabilities."""
    mine = {head: list(x["probabilities"].values()) for head, x in ours["heads"].items()}
    worst = max(abs(a - b) for head, p in torch.items() for a, b in zip(mine[head], p))
    print(f"largest difference between the two answers: {worst:.1e}")
    if worst > LARGEST_DIFFERENCE:
        sys.exit("the two systems do not agree")


def main() -> None:
    """Measures in alternation, prints and writes medians and extremes."""
    parser = measuring_parser(__doc__)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--without-torch", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        systems = commands(args, Path(folder))
        answers = {name: run(command)[0] for name, command in systems.items()}
        times: dict[str, Times] = {name: [] for name in systems}
        for _ in range(args.rounds):
            for name, command in systems.items():
                times[name].append(run(command)[1:])
    if "torch" in answers:
        check_answers(answers["trimer"][0], answers["torch"])  # type: ignore[index, arg-type]
    result: dict[str, Any] = {"cpu": cpu(), "threads": args.threads, "rounds": args.rounds}
    for name, pairs in times.items():
        for what, values in zip(("answer", "exit"), zip(*pairs)):
            result[f"{name}_{what}_ms"] = {
                "median": round(statistics.median(values), 1),
                "min": round(min(values), 1),
                "max": round(max(values), 1),
            }
    print(json.dumps(result, indent=1))
    write_json(args.out, result)


if __name__ == "__main__":
    main()
