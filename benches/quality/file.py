#!/usr/bin/env python3
"""Files what a script of this folder measured, and writes each model's figures into its page.

    file.py TOPIC OUT FILED [--pages docs/models]

TOPIC    compare, conversations, calibration or labels: the script that made OUT
OUT      the directory that the script was given
FILED    where tables go, benches/runs/<date>-<machine>/TOPIC
--pages  writes the section "What we measured" of every model's page anew, from the tables in FILED
         (compare and conversations)

A table is a pair of files: NAME.json, as the command answered, and NAME.md, as it printed it.
Numbers of compared models are rounded to five digits or a few more, so that files stay small. No
figure on a page is typed.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# What a page calls a table, and the metrics that it shows of it.
Tables = dict[str, tuple[str, Sequence[str]]]
UTTERANCES: Tables = {
    "synth": ("synthetic, a label per modality", ["accuracy", "weighted_f1"]),
    "labels": ("synthetic, 4,000 utterances", ["accuracy", "weighted_f1"]),
    "labels-10000": ("synthetic, 10,000 utterances", ["accuracy", "weighted_f1"]),
    "mosi": ("CMU-MOSI, two classes", ["accuracy", "weighted_f1"]),
    "mosi-score": ("CMU-MOSI, scores", ["mae", "pearson", "acc2_non0"]),
    "ravdess": ("RAVDESS, epoch chosen on valid", ["accuracy", "uar"]),
    "ravdess-refit": ("RAVDESS, refit on train and valid", ["accuracy", "uar"]),
}
CONVERSATIONS: Tables = {
    "mosi": ("CMU-MOSI, a video is a conversation", ["accuracy", "weighted_f1"]),
    "mosi-scores": ("the same, trained on scores", ["acc2_has0", "mae", "pearson"]),
    "mosi-plugins": ("the same, text and audio", ["accuracy", "weighted_f1"]),
    "meld": ("MELD dev, seven classes, text", ["weighted_f1", "accuracy"]),
    "synth": ("synthetic conversations", ["accuracy", "weighted_f1"]),
    "widths": ("synthetic conversations, five widths", ["accuracy", "weighted_f1"]),
}
PAGES = {"compare": UTTERANCES, "conversations": CONVERSATIONS}
# Models whose page tells of the other topic.
ELSEWHERE = {"conversations": {"logistic"}}
START = re.compile(r"^## (What we measured|Measured here)$", re.M)

Row = dict[str, Any]


def rounded(value: Any) -> Any:
    """JSON with five digits per number, or as many more as keep its third decimal."""
    if isinstance(value, float):
        tries = (float(f"{value:.{digits}g}") for digits in range(5, 17))
        return next((x for x in tries if f"{x:.3f}" == f"{value:.3f}"), value)
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return value


def read_json(path: Path) -> Any:
    """The content of a file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_compact(path: Path, value: Any) -> None:
    """Writes JSON on one line."""
    path.write_text(json.dumps(value, separators=(",", ":")) + "\n", encoding="utf-8")


def file_tables(out: Path, filed: Path) -> None:
    """Files every table that `trimer compare` and the other commands left in OUT."""
    for results in sorted(out.glob("*/results.json")):
        table = results.parent
        write_compact(filed / f"{table.name}.json", rounded(read_json(results)))
        shutil.copyfile(table / "results.md", filed / f"{table.name}.md")
        if (table / "pairs.md").exists():
            shutil.copyfile(table / "pairs.md", filed / f"{table.name}-pairs.md")


def file_calibration(out: Path, filed: Path) -> None:
    """Files the answers for all corpora as one."""
    answers = {name: read_json(out / f"{name}.json") for name in ("ravdess", "mosi")}
    text = json.dumps(answers, indent=1) + "\n"
    (filed / "calibration.json").write_text(text, encoding="utf-8")


def file_labels(out: Path, filed: Path) -> None:
    """Files the answers of both rules as one, without the lists of single clips."""
    answers: dict[str, dict[str, Any]] = {}
    for rule in ("lead", "majority"):
        answers[rule] = {name: read_json(out / rule / f"{name}.json") for name in ANSWERS}
        for name, lists in ANSWERS.items():
            for key in lists:
                answers[rule][name].pop(key, None)
    text = json.dumps(answers, indent=1) + "\n"
    (filed / "cremad.json").write_text(text, encoding="utf-8")


# Answers of `trimer labels`, and what in them is about single clips.
ANSWERS = {"aggregate": ("todo", "labels"), "stats": ("conflicts",)}
TOPICS: dict[str, Callable[[Path, Path], None]] = {
    "compare": file_tables,
    "conversations": file_tables,
    "calibration": file_calibration,
    "labels": file_labels,
}


def figures(filed: Path, tables: Tables) -> dict[str, list[tuple[str, str, list[str]]]]:
    """By model: the table, the row and its figures in words."""
    found: dict[str, list[tuple[str, str, list[str]]]] = {}
    for table, (_, metrics) in tables.items():
        path = filed / f"{table}.json"
        if not path.exists():
            continue
        for row in read_json(path)["rows"]:
            cells = [figure(row, m) for m in metrics if m in row["metrics"]]
            found.setdefault(row["model"], []).append((table, row["name"], cells))
    return found


def figure(row: Row, metric: str) -> str:
    """A metric with its interval."""
    value = row["metrics"][metric]
    if value is None:
        return f"{metric} -"  # has no value, as the correlation with a constant
    low, high = row["metrics"][f"{metric}_ci"]
    return f"{metric} {value:.3f} [{low:.3f}, {high:.3f}]"


def section(rows: Sequence[tuple[str, str, list[str]]], link: str, tables: Tables) -> str:
    """The section of a page."""
    text = (
        f"## What we measured\n\nFrom [the filed comparison]({link}), which tells protocol and "
        "recipes; means with 95 % intervals.\n\n| corpus | row | figures |\n|---|---|---|\n"
    )
    for table, row, cells in rows:
        text += f"| {tables[table][0]} | `{row}` | {', '.join(cells)} |\n"
    return text


def write_pages(filed: Path, pages: Path, topic: str) -> None:
    """Writes the section of every model's page anew."""
    tables = PAGES[topic]
    for model, rows in figures(filed, tables).items():
        if model in ELSEWHERE.get(topic, ()):
            continue
        page = pages / f"{model}.md"
        text = page.read_text(encoding="utf-8")
        new = section(rows, os.path.relpath(filed / "README.md", pages), tables)
        start = START.search(text)
        if start is None:
            text = text.rstrip() + "\n\n" + new
        else:
            following = text.find("\n## ", start.end())
            rest = text[following + 1 :] if following >= 0 else ""
            text = text[: start.start()] + new + ("\n" + rest if rest else "")
        page.write_text(text, encoding="utf-8")


def main() -> None:
    """Files a topic."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("topic", choices=TOPICS, metavar="TOPIC")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("filed", type=Path, metavar="FILED")
    parser.add_argument("--pages", type=Path, metavar="DIR")
    args = parser.parse_args()
    if args.pages and args.topic not in PAGES:
        parser.error(f"--pages goes with {' or '.join(PAGES)}")
    args.filed.mkdir(parents=True, exist_ok=True)
    try:
        TOPICS[args.topic](args.out, args.filed)
    except FileNotFoundError as error:
        sys.exit(f"error: {error.filename} is not there\n hint: has the script run to its end?")
    if args.pages:
        write_pages(args.filed, args.pages, args.topic)


if __name__ == "__main__":
    main()
