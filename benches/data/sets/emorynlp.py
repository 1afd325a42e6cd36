"""EmoryNLP: scenes of a series with transcripts and seven emotions, without features.

The manifest is what the source knows. Add text/<id>.npy from an encoder of your own before
`trimer corpus import`, which refuses a folder without features.
"""
from __future__ import annotations

import ast
from pathlib import Path

from folder import ExportError, Utterance
from sources import LAYOUT, read_table, whole

PARTS = {"train": "train", "valid": "dev"}
COLUMNS = ("Utterance", "Speaker", "Emotion", "Scene_ID", "Utterance_ID", "Season", "Episode")


def read(data: Path, _fold: int) -> list[Utterance]:
    """A scene is a conversation; its turns are numbered anew in the order of the source.

    The source numbers utterances of the whole scene, those without a label included; several
    speakers at once become one, named by all of them.
    """
    found = []
    for split, part in PARTS.items():
        path = data / "emorynlp" / f"emorynlp_{part}_final.csv"
        turns: dict[str, int] = {}
        for line, row in enumerate(read_table(path, COLUMNS), start=1):
            numbers = (
                whole(path, line, column, row[column])
                for column in ("Season", "Episode", "Scene_ID", "Utterance_ID")
            )
            season, episode, scene, number = numbers
            conversation = f"{split}_s{season:02d}e{episode:02d}_{scene}"
            turn = turns.get(conversation, 0)
            turns[conversation] = turn + 1
            found.append(
                Utterance(
                    id=f"{conversation}_{number}",
                    split=split,
                    conversation=conversation,
                    turn=turn,
                    speaker=speaker(path, line, row["Speaker"]),
                    transcript=row["Utterance"],
                    label=row["Emotion"],
                )
            )
    return found


def speaker(path: Path, line: int, cell: str) -> str:
    """`['A']` is A; `['A', 'B']` is `A & B`."""
    try:
        names = ast.literal_eval(cell)
    except (SyntaxError, ValueError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ExportError(f"{path}, row {line}: `{cell}` in `Speaker` is not a list", LAYOUT)
    return " & ".join(names)
