#!/usr/bin/env python3
"""Make every filed figure again and file it under a new date.

    benches/refile.py DATA OUT FILED [--only TOPIC,...] [--pages] [--dry-run]

DATA   the sources of the public sets, laid out as benches/data/README.md describes
OUT    a folder for corpora and runs; the same command with the same folder continues
FILED  benches/runs/<date>-<machine>

Steps that are done are listed in OUT/done and not run again; a step that was stopped continues
where its command can. Run it from the root of a clone after `cargo build --release`, with a Python
that has NumPy and, for the topics speed and startup, PyTorch and safetensors. A README per topic is
yours to write: it says what came out.
"""
from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Step:
    """One command, and the tables that it makes."""

    topic: str
    tables: str
    command: str
    """For a shell; DATA, OUT, FILED, PYTHON and TRIMER are replaced."""

    def name(self) -> str:
        """How the step is listed in OUT/done: by what it does."""
        return f"{self.topic}: {self.command}"


def quality(topic: str, part: str, environment: str = "") -> Step:
    """A part of a script in benches/quality, which is named as its topic is."""
    script = f"benches/quality/{topic}.sh DATA OUT/{topic}"
    tables = f"{topic}/{part}"
    return Step(topic, tables, f"{environment} {script} {part}".strip())


def filing(topic: str) -> Step:
    """Puts what a script made where it is kept."""
    command = f"PYTHON benches/quality/file.py {topic} OUT/{topic} FILED/{topic}"
    return Step(topic, f"{topic}/*", command)


def speed(script: str, table: str, flags: str = "", topic: str = "speed") -> Step:
    """A script in benches/speed that writes its own table."""
    out = f"FILED/{topic}/{table}.json"
    command = f"PYTHON benches/speed/{script}.py --trimer TRIMER {flags}".strip()
    return Step(topic, f"{topic}/{table}", f"{command} --out {out}")


FIFTEEN = 'FLAGS="--set train.epochs=15"'
STEPS = [
    quality("compare", "synth", "SYNTH=750"),
    quality("compare", "labels"),
    Step(
        "compare",
        "compare/labels-10000",
        "LABELS=10000 benches/quality/compare.sh DATA OUT/compare labels",
    ),
    quality("compare", "mosi"),
    quality("compare", "mosi-score"),
    quality("compare", "ravdess"),
    quality("compare", "ravdess-refit"),
    quality("compare", "missing"),
    filing("compare"),
    quality("conversations", "mosi"),
    quality("conversations", "mosi-scores"),
    quality("conversations", "mosi-plugins"),
    quality("conversations", "meld"),
    quality("conversations", "synth-0", f"MODELS=utterance_mlp,bc_lstm,mmgcn {FIFTEEN}"),
    quality("conversations", "synth", f"MODELS=utterance_mlp,cmath,mm_dfn {FIFTEEN}"),
    quality("conversations", "widths", f"SEEDS=2 {FIFTEEN}"),
    quality("conversations", "losses"),
    filing("conversations"),
    quality("labels", "lead"),
    quality("labels", "majority"),
    filing("labels"),
    Step("labels", "", "PYTHON benches/speed/labels_table.py OUT/labels/million.csv"),
    Step(
        "labels",
        "labels/stats-time",
        "for i in 1 2 3 4 5; do /usr/bin/time -a -o FILED/labels/stats-time.md -f '%e s %M KiB' "
        "TRIMER labels stats OUT/labels/million.csv >/dev/null; done",
    ),
    quality("calibration", "ravdess"),
    quality("calibration", "mosi"),
    filing("calibration"),
    speed("compare", "lfmim-paper-with-dropout", "--rounds 7 --dropout with"),
    speed("compare", "lfmim-paper-without-dropout", "--rounds 7 --dropout without"),
    speed(
        "compare",
        "lfmim-released",
        "--rounds 3 --preset released --modes eager --repeat 1 --dropout with",
    ),
    speed(
        "compare", "mult", "--model mult --rounds 3 --repeat 1 --modes eager --dropout with"
    ),
    speed("compare", "tfn", "--model tfn --rounds 5"),
    speed("compare", "dialoguernn", "--model dialoguernn --batch 32 --rounds 3 --repeat 1"),
    speed("compare", "mmgcn", "--model mmgcn --batch 32 --rounds 5 --repeat 1"),
    speed("scaling", "scaling", "--repeat 1 --tables length,batch,layers"),
    speed("scaling", "padding", "--repeat 2 --tables padding"),
    speed("plugins", "plugins", "--plugin fagm"),
    Step(
        "speed",
        "speed/every-model",
        "TRIMER bench --all --repeat 1 --threads 2 --json >FILED/speed/every-model.json",
    ),
    speed("conversation_length", "conversation-length", "--repeat 2", "conversation-length"),
    Step(
        "startup",
        "",
        "rm -rf OUT/startup "
        "&& TRIMER corpus synth --preset cherma --utterances 40 OUT/startup/corpus "
        "&& TRIMER train --corpus OUT/startup/corpus --model lfmim --set train.epochs=0 "
        "--out OUT/startup/run",
    ),
    speed("startup", "startup", "OUT/startup/run --rounds 15 --without-torch", "startup"),
    speed("startup", "startup-torch", "OUT/startup/run --rounds 11", "startup"),
]
TOPICS = list(dict.fromkeys(step.topic for step in STEPS))


def topic_list(text: str) -> list[str]:
    """A list with commas of topics that exist."""
    names = text.split(",")
    for name in names:
        if name not in TOPICS:
            raise argparse.ArgumentTypeError(
                f"`{name}` is not a topic; expected some of {', '.join(TOPICS)}"
            )
    return names


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"topics: {', '.join(TOPICS)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("filed", type=Path, metavar="FILED")
    parser.add_argument("--only", type=topic_list, default=TOPICS, metavar="TOPIC,...")
    parser.add_argument(
        "--pages", action="store_true", help="also write the figures into docs/models"
    )
    parser.add_argument("--trimer", default="target/release/trimer", help="the program")
    parser.add_argument(
        "--dry-run", action="store_true", help="print the commands that would be run"
    )
    return parser


def command(step: Step, args: argparse.Namespace) -> str:
    """The step's command with its paths."""
    paths = {
        "DATA": args.data,
        "OUT": args.out,
        "FILED": args.filed,
        "PYTHON": sys.executable,
        "TRIMER": args.trimer,
    }
    words = []
    for word in step.command.split(" "):
        head, slash, rest = word.partition("/")
        redirect = ">" if head.startswith(">") else ""
        key = head.removeprefix(">")
        if key in paths:
            word = redirect + shlex.quote(str(paths[key])) + slash + rest
        words.append(word)
    line = " ".join(words)
    if args.pages and "quality/file.py" in line and step.topic in ("compare", "conversations"):
        line += " --pages docs/models"
    return line


def steps(args: argparse.Namespace) -> Iterator[Step]:
    """The steps of the wanted topics that are not done."""
    done = args.out / "done"
    names = set(done.read_text(encoding="utf-8").splitlines()) if done.exists() else set()
    for step in STEPS:
        if step.topic in args.only and step.name() not in names:
            yield step


def main() -> int:
    """Runs or prints the steps; the exit code of the first that fails."""
    args = arguments().parse_args()
    if args.dry_run:
        for step in steps(args):
            print(f"# {step.tables or 'for the next one'}\n{command(step, args)}")
        return 0
    if not args.data.is_dir():
        print(
            f"error: {args.data} is not a folder\n hint: benches/data/README.md says what it has",
            file=sys.stderr,
        )
        return 2
    args.data, args.out, args.filed = (p.resolve() for p in (args.data, args.out, args.filed))
    environment = os.environ | {"TRIMER": args.trimer, "PYTHON": sys.executable}
    for step in steps(args):
        for folder in (args.out, args.filed / step.topic):
            folder.mkdir(parents=True, exist_ok=True)
        line = command(step, args)
        print(f"== {line}", file=sys.stderr, flush=True)
        code = subprocess.run(
            ["bash", "-c", line], cwd=ROOT, env=environment, check=False
        ).returncode
        if code != 0:
            print(f"error: exit code {code}; the same command continues here", file=sys.stderr)
            return code
        with (args.out / "done").open("a", encoding="utf-8") as done:
            done.write(step.name() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
