"""CREMA-D: what the crowd saw in the voice, in the face and in both of each clip.

The label is the class with the most votes, empty where two or more share that place: the same as
`trimer labels aggregate tabulatedVotes.csv --format cremad --rule majority --threshold 0`, which
reads the source itself. There are no splits, and no features: add those of your own before
`trimer corpus import`.
"""
from __future__ import annotations

from pathlib import Path

from folder import ExportError, Utterance
from sources import LAYOUT, read_table, whole

CLASSES = {
    "A": "anger",
    "D": "disgust",
    "F": "fear",
    "H": "happy",
    "N": "neutral",
    "S": "sad",
}
# The first digit of a row's number says what the voters saw and heard.
SHOWN = {"1": "label_audio", "2": "label_vision", "3": "label"}


def read(data: Path, _fold: int) -> list[Utterance]:
    """One utterance per clip, in order of the names; the speaker is the actor's number."""
    path = data / "cremad_votes" / "tabulatedVotes.csv"
    clips: dict[str, Utterance] = {}
    for line, row in enumerate(read_table(path, ("", "fileName", *CLASSES)), start=1):
        number, name = row[""], row["fileName"]
        if len(number) != 6 or number[0] not in SHOWN:
            raise ExportError(
                f"{path}, row {line}: `{number}` in the first column says not what was shown",
                "expected 1xxxxx (voice), 2xxxxx (face) or 3xxxxx (both)",
            )
        if "_" not in name:
            raise ExportError(f"{path}, row {line}: `{name}` has no actor's number", LAYOUT)
        votes = {
            emotion: whole(path, line, column, row[column]) for column, emotion in CLASSES.items()
        }
        clip = clips.setdefault(name, Utterance(id=name, speaker=f"actor{name.split('_')[0]}"))
        setattr(clip, SHOWN[number[0]], leading(votes))
    return [clips[name] for name in sorted(clips)]


def leading(votes: dict[str, int]) -> str | None:
    """The class with more votes than any other."""
    most = max(votes.values())
    first = [emotion for emotion, n in votes.items() if n == most]
    return first[0] if most > 0 and len(first) == 1 else None
