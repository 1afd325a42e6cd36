#!/usr/bin/env python3
"""Files the results of compare.sh or conversations.sh and writes each model's figures into its page.

    file.py OUT FILED [--conversations] [--pages docs/models]

OUT      the directory that compare.sh made, or with --conversations that of conversations.sh
FILED    where the tables go, for instance benches/runs/<date-machine>/compare
--pages  writes the section "What we measured" of every model's page anew, from results.csv in FILED

Numbers of results.json are rounded to five digits, so that the file stays small. No figure on a page is typed.
"""
import argparse
import csv
import json
import os
import pathlib
import re
import shutil

UTTERANCES = {
    "synth": ("synthetic, a label per modality", ["accuracy", "weighted_f1"]),
    "labels": ("synthetic, 4,000 utterances", ["accuracy", "weighted_f1"]),
    "labels-10000": ("synthetic, 10,000 utterances", ["accuracy", "weighted_f1"]),
    "mosi": ("CMU-MOSI, two classes", ["accuracy", "weighted_f1"]),
    "mosi-score": ("CMU-MOSI, scores", ["mae", "pearson", "acc2_non0"]),
    "ravdess": ("RAVDESS, epoch chosen on valid", ["accuracy", "uar"]),
    "ravdess-refit": ("RAVDESS, refit on train and valid", ["accuracy", "uar"]),
}
CONVERSATIONS = {
    "mosi": ("CMU-MOSI, a video is a conversation", ["accuracy", "weighted_f1"]),
    "mosi-scores": ("the same, trained on scores", ["acc2_has0", "mae", "pearson"]),
    "mosi-plugins": ("the same, text and audio", ["accuracy", "weighted_f1"]),
    "meld": ("MELD dev, seven classes, text", ["weighted_f1", "accuracy"]),
    "synth": ("synthetic conversations", ["accuracy", "weighted_f1"]),
    "widths": ("synthetic conversations, five widths", ["accuracy", "weighted_f1"]),
}
START = re.compile(r"^## (What we measured|Measured here)$", re.M)


def rounded(value):
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return value


def file_part(source, target):
    target.mkdir(parents=True, exist_ok=True)
    for name in ("results.md", "results.csv"):
        shutil.copyfile(source / name, target / name)
    if (source / "pairs.md").exists():
        shutil.copyfile(source / "pairs.md", target / "pairs.md")
    all_of_it = rounded(json.loads((source / "results.json").read_text()))
    (target / "results.json").write_text(json.dumps(all_of_it, separators=(",", ":")) + "\n")


def figures(filed, parts):
    """{model: [(part, row, lines of the table)]}."""
    found = {}
    for part, (_, metrics) in parts.items():
        file = filed / part / "results.csv"
        if not file.exists():
            continue
        rows = {}
        for line in csv.DictReader(file.open()):
            if line["metric"] in metrics:
                rows.setdefault((line["model"], line["row"]), {})[line["metric"]] = line
        for (model, row), lines in rows.items():
            found.setdefault(model, []).append((part, row, [lines[m] for m in metrics if m in lines]))
    return found


def figure(line):
    if not line["value"]:
        return f"{line['metric']} -"  # has no value, as the correlation with a constant
    value, low, high = (float(line[key]) for key in ("value", "low", "high"))
    return f"{line['metric']} {value:.3f} [{low:.3f}, {high:.3f}]"


def section(rows, link, parts):
    text = f"## What we measured\n\nFrom [the filed comparison]({link}), which tells protocol and recipes; means with 95 % intervals.\n\n"
    text += "| corpus | row | figures |\n|---|---|---|\n"
    for part, row, lines in rows:
        cells = ", ".join(map(figure, lines))
        text += f"| {parts[part][0]} | `{row}` | {cells} |\n"
    return text


def write_pages(filed, pages, parts):
    for model, rows in figures(filed, parts).items():
        page = pages / f"{model}.md"
        if parts is CONVERSATIONS and model == "logistic":
            continue  # its page tells of utterances
        text = page.read_text()
        link = os.path.relpath(filed / "README.md", pages)
        new = section(rows, link, parts)
        start = START.search(text)
        if start is None:
            text = text.rstrip() + "\n\n" + new
        else:
            following = text.find("\n## ", start.end())
            rest = text[following + 1 :] if following >= 0 else ""
            text = text[: start.start()] + new + ("\n" + rest if rest else "")
        page.write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("filed", type=pathlib.Path)
    parser.add_argument("--conversations", action="store_true")
    parser.add_argument("--pages", type=pathlib.Path)
    args = parser.parse_args()
    parts = CONVERSATIONS if args.conversations else UTTERANCES
    for part in parts:
        if (args.out / part / "results.json").exists():
            file_part(args.out / part, args.filed / part)
    if args.pages:
        write_pages(args.filed, args.pages, parts)


if __name__ == "__main__":
    main()
