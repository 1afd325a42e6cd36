#!/usr/bin/env python3
"""Speed of a model of Trimer and of the same maths in PyTorch, in alternation on this machine.

    compare.py [--model lfmim|mult|tfn] [--preset NAME] [--rounds 7] [--batch 24] [--out FILE]
    compare.py --model dialoguernn|mmgcn [--batch 32] [--turns 110] [--min-turns 8] ...

Run it with a Python that has PyTorch. In every round each system trains, infers and answers one
utterance, one system after the other; figures are medians over the rounds, and the spread is the
least and the greatest of the rounds' own ratios. Both PyTorch modes run, eager and compiled;
ratios are to the better one. Models of conversations have the sizes published for IEMOCAP.
"""
from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any, Protocol

from common import DIMS, PEERS, bench, cpu, measuring_parser, write_json

# The first preset of each model; a model needs a worker in ../peers.
PRESETS = {
    "lfmim": "paper",
    "mult": "official",
    "tfn": "mmsa",
    "dialoguernn": "iemocap",
    "mmgcn": "iemocap",
}
CONVERSATIONS = ("dialoguernn", "mmgcn")
# Requests of a round and how many of them one repetition takes.
WORK = {"train": 1, "infer": 1, "one": 3}
HIGHER = ("train_samples_per_s", "infer_samples_per_s")
LOWER = ("infer_batch1_ms", "peak_bytes")

Figures = dict[str, Any]


class System(Protocol):
    """One of the programs that are compared."""

    def warm_up(self) -> None:
        """Work that does not count."""

    def round(self) -> Figures:
        """The figures of one round."""


class Torch:
    """A PyTorch process that waits for work."""

    def __init__(self, args: argparse.Namespace, mode: str, dropout: bool) -> None:
        conversations = args.model in CONVERSATIONS
        if conversations:
            command = [str(PEERS / "conversations_torch.py"), "--model", args.model]
            command += ["--turns", str(args.turns), "--min-turns", str(args.min_turns)]
        else:
            command = [str(PEERS / f"{args.model}_torch.py"), "--preset", args.preset]
        command += ["--mode", mode, "--batch", str(args.batch), "--threads", str(args.threads)]
        if not dropout:
            command.append("--no-dropout")
        self.process = subprocess.Popen(
            [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.repeat: int = args.repeat
        self.batch = self.ask("utterances") if conversations else args.batch
        self.peak = 0

    def ask(self, request: str) -> Any:
        """The worker's answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(request + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the PyTorch worker ended at `{request}`; does {sys.executable} have torch?")
        return json.loads(line)

    def warm_up(self) -> None:
        """Work that does not count; peak memory is that of training."""
        n = min(2, self.repeat)
        self.ask(f"train {n}")
        self.peak = self.ask("peak")
        for request in (f"infer {n}", "one 3"):
            self.ask(request)

    def round(self) -> Figures:
        """The figures of one round."""
        seconds = {
            name: statistics.median(self.ask(f"{name} {n * self.repeat}"))
            for name, n in WORK.items()
        }
        return {
            "train_samples_per_s": self.batch / seconds["train"],
            "infer_samples_per_s": self.batch / seconds["infer"],
            "infer_batch1_ms": 1e3 * seconds["one"],
            "peak_bytes": self.peak,
        }

    def close(self) -> int:
        """Ends the process; the number of the model's parameters."""
        parameters: int = self.ask("parameters")
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        return parameters


class Trimer:
    """`trimer bench`, a process for each round."""

    def __init__(self, args: argparse.Namespace, dropout: bool) -> None:
        self.args = args
        self.flags = ["--preset", args.preset, "--batch", str(args.batch)]
        if args.model in CONVERSATIONS:
            self.flags += ["--dims", DIMS, "--classes", "6", "--speakers", "2"]
            self.flags += ["--turns", str(args.turns), "--min-turns", str(args.min_turns)]
        if not dropout:
            self.flags.append("--no-dropout")
        self.last: Figures = {}

    def warm_up(self) -> None:
        """A round that does not count."""
        self.round()

    def round(self) -> Figures:
        """The figures of one round."""
        self.last = bench(self.args, self.args.model, self.flags)
        return self.last


def compare(args: argparse.Namespace, dropout: bool) -> Figures:
    """Medians, ratios and their range of all rounds."""
    ours = Trimer(args, dropout)
    peers = {f"torch {mode}": Torch(args, mode, dropout) for mode in args.modes.split(",")}
    systems: dict[str, System] = {"trimer": ours, **peers}
    rounds: dict[str, list[Figures]] = {name: [] for name in systems}
    for system in systems.values():
        system.warm_up()
    for i in range(args.rounds):
        for name, system in systems.items():
            time.sleep(0.3)  # idle threads of the system before stop spinning
            rounds[name].append(system.round())
        trained = ", ".join(
            f"{name} {runs[-1]['train_samples_per_s']:.4g}" for name, runs in rounds.items()
        )
        print(f"round {i + 1} of {args.rounds}: training /s {trained}", file=sys.stderr)
    figures = {key: ratio(key, rounds) for key in HIGHER + LOWER}
    for key in ("gemm_limit_gflops", "limit_share"):
        figures[key] = statistics.median(r[key] for r in rounds["trimer"])
    parameters = {"trimer": ours.last["parameters"]}
    for name, peer in peers.items():
        parameters[name] = peer.close()
        if parameters[name] != parameters["trimer"]:
            sys.exit(
                f"{name} has {parameters[name]} parameters, trimer {parameters['trimer']}: "
                "not the same model"
            )
    figures["parameters"] = parameters
    return figures


def ratio(key: str, rounds: dict[str, list[Figures]]) -> Figures:
    """One figure of all systems, and Trimer's ratio to the best of the others."""
    medians = {name: statistics.median(r[key] for r in runs) for name, runs in rounds.items()}
    peers = [name for name in medians if name != "trimer"]
    best = (max if key in HIGHER else min)(peers, key=lambda name: medians[name])
    ratios = [a[key] / b[key] for a, b in zip(rounds["trimer"], rounds[best])]
    return {
        **medians,
        "best_peer": best,
        "ratio": medians["trimer"] / medians[best],
        "ratio_range": [min(ratios), max(ratios)],
    }


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = measuring_parser(__doc__, repeat=3)
    parser.add_argument("--model", choices=PRESETS, default="lfmim")
    presets = ", ".join(PRESETS.values())
    parser.add_argument("--preset", help=f"by default the model's first: {presets}")
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--turns", type=int, default=110, help="of the longest conversation")
    parser.add_argument("--min-turns", type=int, default=8, help="of the shortest conversation")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--modes", help="of PyTorch; eager,compile or, for conversations, eager")
    parser.add_argument("--dropout", default="with,without", help="with, without or both")
    args = parser.parse_args()
    args.preset = args.preset or PRESETS[args.model]
    args.modes = args.modes or ("eager" if args.model in CONVERSATIONS else "eager,compile")
    return args


def show(args: argparse.Namespace, which: str, figures: Figures) -> None:
    """Prints what came of one comparison."""
    print(
        f"\n{args.model}, {args.preset} preset, {which} dropout, batch {args.batch}, "
        f"{args.threads} threads"
    )
    for key in HIGHER + LOWER:
        f = figures[key]
        low, high = f["ratio_range"]
        peers = ", ".join(f"{name} {f[name]:.4g}" for name in f if name.startswith("torch"))
        print(
            f"  {key:20} trimer {f['trimer']:.4g}, {peers}: "
            f"{f['ratio']:.2f}x ({low:.2f} to {high:.2f})"
        )
    limit = figures["gemm_limit_gflops"]
    share = figures["limit_share"]
    print(f"  share of the matrix-product limit ({limit:.0f} GFLOP/s): {share:.2f}")


def main() -> None:
    """Compares, prints and writes the figures."""
    args = arguments()
    import torch

    keys = ("model", "preset", "batch", "threads", "rounds", "repeat")
    result: Figures = {key: getattr(args, key) for key in keys}
    result |= {"torch": torch.__version__, "cpu": cpu()}
    if args.model in CONVERSATIONS:
        result |= {"turns": args.turns, "min_turns": args.min_turns}
    for which in args.dropout.split(","):
        result[f"{which}_dropout"] = compare(args, which == "with")
    for which in args.dropout.split(","):
        show(args, which, result[f"{which}_dropout"])
    write_json(args.out, result)


if __name__ == "__main__":
    main()
