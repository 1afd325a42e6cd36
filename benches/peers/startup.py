#!/usr/bin/env python3
"""Seconds from the start of a process to its first answer: `trimer predict` beside PyTorch, in alternation.

    startup.py RUN [--rounds 15] [--threads 2] [--trimer PATH] [--out FILE]

RUN is a run of LFMIM in the paper preset on features of the paper's widths without normalisation; README of
benches/runs tells how one is made. The features of one utterance (80 + 100 + 64 frames) are invented. Run it with a
Python that has PyTorch and safetensors. Both systems must agree on the answer. `answer` is the time until the first
byte of the answer, `exit` until the process is gone.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import numpy

HERE = pathlib.Path(__file__).resolve().parent
MODALITIES = {"text": (80, 768), "audio": (100, 768), "vision": (64, 512)}


def run(command):
    """The answer and two times in milliseconds."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    first = process.stdout.read(1)
    answer = time.perf_counter()
    rest = process.stdout.read()
    code = process.wait()
    end = time.perf_counter()
    if code != 0:
        sys.exit(f"{command[0]} failed")
    return json.loads(first + rest), 1e3 * (answer - start), 1e3 * (end - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--trimer", default="target/release/trimer")
    parser.add_argument("--without-torch", action="store_true")
    parser.add_argument("--out")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rng = numpy.random.default_rng(0)
        files = {}
        for modality, shape in MODALITIES.items():
            files[modality] = os.path.join(folder, f"{modality}.npy")
            numpy.save(files[modality], rng.standard_normal(shape).astype("float32"))
        ours = [args.trimer, "predict", args.run, "--json", "--threads", str(args.threads)]
        for modality, file in files.items():
            ours += ["--features", f"{modality}={file}"]
        weights = next(pathlib.Path(args.run).glob("seed-*/best.safetensors"))
        torch = [sys.executable, str(HERE / "startup_torch.py"), str(weights), *files.values()]
        systems = {"trimer": ours}
        if not args.without_torch:
            systems["torch"] = [*torch, "--threads", str(args.threads)]
        answers = {name: run(command)[0] for name, command in systems.items()}
        times = {name: [] for name in systems}
        for _ in range(args.rounds):
            for name, command in systems.items():
                times[name].append(run(command)[1:])
    if "torch" in answers:
        mine = {h: list(x["probabilities"].values()) for h, x in answers["trimer"][0]["heads"].items()}
        worst = max(abs(a - b) for h, p in answers["torch"].items() for a, b in zip(mine[h], p))
        print(f"largest difference between the two answers: {worst:.1e}")
        if worst > 1e-4:
            sys.exit("the two systems do not agree")
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if "model name" in l), platform.machine())
    result = {"cpu": cpu, "threads": args.threads, "rounds": args.rounds}
    for name, pairs in times.items():
        for at, what in enumerate(("answer", "exit")):
            values = [pair[at] for pair in pairs]
            result[f"{name}_{what}_ms"] = {
                "median": round(statistics.median(values), 1),
                "min": round(min(values), 1),
                "max": round(max(values), 1),
            }
    print(json.dumps(result, indent=1))
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
