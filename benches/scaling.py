#!/usr/bin/env python3
"""How cost grows with sequence length, batch size, layers and real length: LFMIM's paper preset on this machine.

    scaling.py [--trimer PATH] [--threads 2] [--repeat 3] [--tables length,batch,layers,padding] [--out FILE]

Every row is two processes of its own, one that trains and one that infers, so that peak memory is that of the row.
Lengths are frames per modality: the multimodal tower reads three times as many and one token.
"""
import argparse
import json
import pathlib
import subprocess
import sys

# Utterances per step: long sequences with few, so that a row takes seconds.
LENGTHS = [(64, 8), (128, 8), (256, 8), (512, 4), (1024, 2), (2048, 1), (4096, 1)]
BATCHES = [1, 2, 4, 8, 16, 24, 48, 96]
LAYERS = [1, 2, 4, 8, 16]
REAL = [1.0, 0.75, 0.5, 0.25, 0.1]


def measure(args, half, flags):
    command = [args.trimer, "bench", "lfmim", "--preset", "paper", "--json", "--only", half]
    command += ["--repeat", str(args.repeat), "--threads", str(args.threads), *map(str, flags)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def row(args, batch, flags):
    flags = [*flags, "--batch", batch]
    training, inference = (measure(args, half, flags) for half in ("training", "inference"))
    return {
        "batch": batch,
        "train_ms_per_utterance": 1e3 / training["train_samples_per_s"],
        "infer_ms_per_utterance": 1e3 / inference["infer_samples_per_s"],
        "train_peak_bytes": training["peak_bytes"],
        "infer_peak_bytes": inference["peak_bytes"],
    }


def tables(args):
    wanted = args.tables.split(",")
    # What the process holds without any work to speak of, to be subtracted from peaks.
    base = row(args, 1, ["--length", 1])
    yield "base", "frames", [(1, base)]
    if "length" in wanted:
        yield "length", "frames", ((n, row(args, b, ["--length", n])) for n, b in LENGTHS)
    if "batch" in wanted:
        yield "batch", "utterances", ((b, row(args, b, [])) for b in BATCHES)
    if "layers" in wanted:
        yield "layers", "layers", ((n, row(args, 8, ["--set", f"model.n_layers={n}"])) for n in LAYERS)
    if "padding" in wanted:
        mask = ["--set", "model.mask_padding=true", "--real"]
        yield "padding", "real share", ((x, row(args, 24, [*mask, x])) for x in REAL)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trimer", default="target/release/trimer")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--tables", default="length,batch,layers,padding")
    parser.add_argument("--out")
    args = parser.parse_args()
    result = {}
    for name, axis, rows in tables(args):
        print(f"\n| {axis} | batch | training, ms per utterance | inference, ms per utterance "
              "| peak training, MiB per utterance | peak inference, MiB per utterance |")
        print("|---|---|---|---|---|---|", flush=True)
        result[name] = []
        for x, r in rows:
            result[name].append({axis: x, **r})
            base = result["base"][0]
            memory = [(r[k] - (name != "base") * base[k]) / 2**20 / r["batch"]
                      for k in ("train_peak_bytes", "infer_peak_bytes")]
            print(f"| {x} | {r['batch']} | {r['train_ms_per_utterance']:.2f} | {r['infer_ms_per_utterance']:.2f} "
                  f"| {memory[0]:.1f} | {memory[1]:.1f} |", flush=True)
        if args.out:
            pathlib.Path(args.out).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
