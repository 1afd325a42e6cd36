"""The `folder` layout: a table of utterances and one array per utterance and modality."""
from __future__ import annotations

import csv
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

COLUMNS = ("id", "split", "conversation", "turn", "speaker", "transcript", "label", "score")
# Only in the header where an utterance has them.
UNIMODAL_COLUMNS = ("label_text", "label_audio", "label_vision")
# What may stand in a file name as it is; `trimer corpus import` reads other characters as %XX.
PLAIN_ID = re.compile(r"[A-Za-z0-9._-]+")


class ExportError(Exception):
    """What is wrong with the sources or the target, and what to do about it."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(f"error: {problem}\n hint: {hint}")


@dataclass
class Utterance:
    """One row of the table. `None` is "not known", an empty cell."""

    id: str
    split: str | None = None
    conversation: str | None = None
    turn: int | None = None
    speaker: str | None = None
    transcript: str | None = None
    label: str | None = None
    score: float | None = None
    label_text: str | None = None
    label_audio: str | None = None
    label_vision: str | None = None
    features: dict[str, np.ndarray] = field(default_factory=dict)
    """By modality; each is [time, feature]."""

    def cells(self) -> dict[str, object]:
        """Known values by column."""
        cells = {column: getattr(self, column) for column in COLUMNS + UNIMODAL_COLUMNS}
        return {column: value for column, value in cells.items() if value is not None}


def write_folder(out: Path, utterances: Sequence[Utterance]) -> None:
    """Writes `manifest.csv` and the arrays (float32) to `out`, which appears when it is whole."""
    check(utterances)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"{out} exists and is not empty", "name a new folder, or remove this one")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        part = Path(scratch) / "part"
        part.mkdir()
        write_manifest(part / "manifest.csv", utterances)
        for utterance in utterances:
            for modality, values in utterance.features.items():
                (part / modality).mkdir(exist_ok=True)
                array = np.ascontiguousarray(values, dtype=np.float32)
                np.save(part / modality / f"{utterance.id}.npy", array)
        if out.exists():
            out.rmdir()
        shutil.move(part, out)


def write_manifest(path: Path, utterances: Sequence[Utterance]) -> None:
    """Writes the table; the columns of one modality's labels only where there are such labels."""
    rows = [utterance.cells() for utterance in utterances]
    used = {column for row in rows for column in row}
    columns = COLUMNS + tuple(column for column in UNIMODAL_COLUMNS if column in used)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def check(utterances: Sequence[Utterance]) -> None:
    """Refuses what `trimer corpus import` would refuse or read otherwise than it was meant."""
    if not utterances:
        raise ExportError("the set has no utterances", "are the source files whole?")
    seen: set[str] = set()
    for utterance in utterances:
        if not PLAIN_ID.fullmatch(utterance.id):
            raise ExportError(
                f"the id `{utterance.id}` cannot be a file name",
                "expected letters, digits, `.`, `_` and `-` alone; are the source files whole?",
            )
        if utterance.id in seen:
            raise ExportError(f"the id `{utterance.id}` stands twice", "ids must be unique")
        seen.add(utterance.id)
        for modality, values in utterance.features.items():
            if values.ndim != 2 or values.size == 0:
                raise ExportError(
                    f"{modality} of `{utterance.id}` has the shape {values.shape}",
                    "expected [time, feature], neither of them zero",
                )
