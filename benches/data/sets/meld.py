"""MELD: conversations among several speakers; text as one MiniLM sentence vector, [1, 384]."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from folder import Utterance
from sources import read_arrays

# The source's name of each split that is exported. Its test part is left alone.
PARTS = {"train": "train", "valid": "dev"}


def read(data: Path, _fold: int) -> list[Utterance]:
    """Numbers of conversations begin anew in each part, so ids begin with the split."""
    found = []
    for split, part in PARTS.items():
        names = ("dialogue", "utterance", "speaker", "emotion", "sentence_embedding")
        z = read_arrays(data / "meld" / f"meld_{part}.npz", names, "dialogue")
        for i, (dialogue, turn) in enumerate(zip(z["dialogue"].tolist(), z["utterance"].tolist())):
            conversation = f"{split}_{dialogue}"
            found.append(
                Utterance(
                    id=f"{conversation}_{turn}",
                    split=split,
                    conversation=conversation,
                    turn=turn,
                    speaker=str(z["speaker"][i]),
                    label=str(z["emotion"][i]),
                    features={"text": z["sentence_embedding"][i][np.newaxis]},
                )
            )
    return found
