"""The public sets: one module per source, each with a function that reads it."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from folder import ExportError, Utterance

from . import cremad, emorynlp, meld, mosi, ravdess


@dataclass(frozen=True)
class Set:
    """A set that can be exported."""

    summary: str
    """For `--help`."""
    read: Callable[[Path, int], list[Utterance]]
    """From the folder of sources and the fold."""
    folds: Sequence[int] = ()
    """Values of `--fold`, the default first; empty when there is one division only."""

    def fold(self, name: str, wanted: int | None) -> int:
        """The fold to export; 0 for a set without folds."""
        if wanted is None:
            return self.folds[0] if self.folds else 0
        if wanted not in self.folds:
            known = ", ".join(map(str, self.folds))
            raise ExportError(
                f"`--fold {wanted}` does not suit the set `{name}`",
                f"expected one of {known}" if known else "it has one division: leave `--fold` out",
            )
        return wanted


SETS = {
    "ravdess": Set(
        "acted clips, audio series and face action units, 8 emotions; --fold 1 to 5 (1)",
        ravdess.read,
        ravdess.FOLDS,
    ),
    "ravdess_librosa": Set(
        "the same clips, audio as 193 LibROSA values; --fold 1 to 5 (1)",
        ravdess.read_librosa,
        ravdess.FOLDS,
    ),
    "mosi": Set(
        "film reviews, text and audio, class and score; --fold 1: standard split (1), "
        "--fold 0: bc-LSTM's, with vision",
        mosi.read,
        mosi.FOLDS,
    ),
    "mosi_dialogue": Set(
        "the same as conversations, one vector per utterance; bc-LSTM's split", mosi.read_dialogue
    ),
    "meld": Set("conversations of a series, text, 7 emotions; train and dev", meld.read),
    "emorynlp": Set(
        "conversations of a series, transcripts without features, 7 emotions; train and dev",
        emorynlp.read,
    ),
    "cremad": Set(
        "acted clips without features: the class that most voters gave to voice, face and both",
        cremad.read,
    ),
}
