#!/usr/bin/env python3
"""Speed of a model of Trimer beside a PyTorch version of the same maths, measured in alternation on this machine.

    compare.py [--model lfmim|mult|tfn] [--preset NAME] [--rounds 7] [--threads 2] [--batch 24] [--trimer PATH] [--out FILE]
    compare.py --model dialoguernn|mmgcn [--batch 32] [--turns 110] [--min-turns 8] ...

The model is LFMIM unless said otherwise; models of conversations have the sizes published for IEMOCAP.
Run it with a Python that has PyTorch. In every round each system trains, infers and answers one utterance, one
system after the other; figures are medians over the rounds, and the spread is the least and the greatest of
the rounds' own ratios. Both PyTorch modes run, eager and compiled; ratios are to the better one.
"""
import argparse
import json
import pathlib
import platform
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent


class Torch:
    """A PyTorch process that waits for work."""

    def __init__(self, args, mode, dropout):
        if args.model in CONVERSATIONS:
            command = [sys.executable, str(HERE / "conversations_torch.py"), "--model", args.model]
            command += ["--turns", str(args.turns), "--min-turns", str(args.min_turns)]
        else:
            command = [sys.executable, str(HERE / f"{args.model}_torch.py"), "--preset", args.preset]
        command += ["--mode", mode, "--batch", str(args.batch), "--threads", str(args.threads)]
        if not dropout:
            command.append("--no-dropout")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.repeat = args.repeat
        self.batch = self.ask("utterances") if args.model in CONVERSATIONS else args.batch

    def ask(self, request):
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def warm_up(self):
        n = min(2, self.repeat)
        for request in (f"train {n}", "peak"):
            peak = self.ask(request)
        self.peak = peak
        for request in (f"infer {n}", "one 3"):
            self.ask(request)

    def round(self):
        seconds = {name: statistics.median(self.ask(f"{name} {n * self.repeat}")) for name, n in WORK.items()}
        return {
            "train_samples_per_s": self.batch / seconds["train"],
            "infer_samples_per_s": self.batch / seconds["infer"],
            "infer_batch1_ms": 1e3 * seconds["one"],
            "peak_bytes": self.peak,
        }


class Trimer:
    def __init__(self, args, dropout):
        self.command = [args.trimer, "bench", args.model, "--json", "--preset", args.preset]
        self.command += ["--repeat", str(args.repeat)]
        if args.model in CONVERSATIONS:
            self.command += ["--dims", "text=100,audio=1582,vision=342", "--classes", "6"]
            self.command += ["--speakers", "2", "--turns", str(args.turns), "--min-turns", str(args.min_turns)]
        self.command += ["--threads", str(args.threads), "--batch", str(args.batch)]
        if not dropout:
            self.command.append("--no-dropout")

    def warm_up(self):
        self.last = self.round()

    def round(self):
        self.last = json.loads(subprocess.run(self.command, capture_output=True, text=True, check=True).stdout)
        return self.last


# A model needs a worker `<model>_torch.py` beside this file.
PRESETS = {"lfmim": "paper", "mult": "official", "tfn": "mmsa", "dialoguernn": "iemocap", "mmgcn": "iemocap"}
CONVERSATIONS = ("dialoguernn", "mmgcn")
WORK = {"train": 1, "infer": 1, "one": 3}
HIGHER = ("train_samples_per_s", "infer_samples_per_s")
LOWER = ("infer_batch1_ms", "peak_bytes")


def compare(args, dropout):
    systems = {"trimer": Trimer(args, dropout)}
    for mode in args.modes.split(","):
        systems[f"torch {mode}"] = Torch(args, mode, dropout)
    rounds = {name: [] for name in systems}
    for system in systems.values():
        system.warm_up()
    for i in range(args.rounds):
        for name, system in systems.items():
            time.sleep(0.3)  # idle threads of the system before stop spinning
            rounds[name].append(system.round())
        trained = ", ".join(f"{name} {runs[-1]['train_samples_per_s']:.4g}" for name, runs in rounds.items())
        print(f"round {i + 1} of {args.rounds}: training /s {trained}", file=sys.stderr)
    figures = {}
    for key in HIGHER + LOWER:
        better = max if key in HIGHER else min
        medians = {name: statistics.median(r[key] for r in runs) for name, runs in rounds.items()}
        peers = [name for name in systems if name != "trimer"]
        best = better(peers, key=medians.get)
        ratios = [a[key] / b[key] for a, b in zip(rounds["trimer"], rounds[best])]
        figures[key] = {
            **medians,
            "best_peer": best,
            "ratio": medians["trimer"] / medians[best],
            "ratio_range": [min(ratios), max(ratios)],
        }
    ours = systems["trimer"].last
    for key in ("gemm_limit_gflops", "limit_share"):
        figures[key] = statistics.median(r[key] for r in rounds["trimer"])
    figures["parameters"] = {"trimer": ours["parameters"]}
    for name, system in systems.items():
        if name != "trimer":
            figures["parameters"][name] = system.ask("parameters")
            if figures["parameters"][name] != ours["parameters"]:
                sys.exit(f"{name} has {figures['parameters'][name]} parameters, trimer {ours['parameters']}: not the same model")
            system.process.stdin.close()
            system.process.wait()
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=PRESETS, default="lfmim")
    parser.add_argument("--preset", help="by default the model's first: " + ", ".join(PRESETS.values()))
    parser.add_argument("--turns", type=int, default=110, help="utterances of the longest conversation")
    parser.add_argument("--min-turns", type=int, default=8, help="utterances of the shortest conversation")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeat", type=int, default=3, help="repetitions within a round; their median counts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--modes", help="of PyTorch; by default eager,compile, for models of conversations eager")
    parser.add_argument("--dropout", default="with,without", help="with, without, or both with a comma")
    parser.add_argument("--trimer", default="target/release/trimer")
    parser.add_argument("--out")
    args = parser.parse_args()
    args.preset = args.preset or PRESETS[args.model]
    args.modes = args.modes or ("eager" if args.model in CONVERSATIONS else "eager,compile")
    import torch

    result = {
        "model": args.model,
        "preset": args.preset,
        "batch": args.batch,
        "threads": args.threads,
        "rounds": args.rounds,
        "repeat": args.repeat,
        "torch": torch.__version__,
        "cpu": next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if "model name" in l), platform.machine()),
    }
    if args.model != "lfmim":
        result |= {"turns": args.turns, "min_turns": args.min_turns}
    for which in args.dropout.split(","):
        result[f"{which}_dropout"] = compare(args, which == "with")
    for which in args.dropout.split(","):
        figures = result[f"{which}_dropout"]
        print(f"\n{args.model}, {args.preset} preset, {which} dropout, batch {args.batch}, {args.threads} threads")
        for key in HIGHER + LOWER:
            f = figures[key]
            low, high = f["ratio_range"]
            peers = ", ".join(f"{name} {f[name]:.4g}" for name in f if name.startswith("torch"))
            print(f"  {key:20} trimer {f['trimer']:.4g}, {peers}: {f['ratio']:.2f}x ({low:.2f} to {high:.2f})")
        print(f"  share of the matrix-product limit ({figures['gemm_limit_gflops']:.0f} GFLOP/s): {figures['limit_share']:.2f}")
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
