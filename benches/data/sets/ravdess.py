"""RAVDESS: 8 acted emotions; face action units and audio features of 20 of its 24 actors.

Folds divide by actor. The actors, in order of their numbers, form groups of four; fold K tests
on the K-th group and selects on the next one (the first follows the last), so that no split
shares a speaker with another.
"""
from __future__ import annotations

from pathlib import Path

import numpy as np

from folder import ExportError, Utterance
from sources import LAYOUT, read_arrays

FOLDS = (1, 2, 3, 4, 5)
ACTORS_PER_GROUP = 4

# The series has one value per step; a frame of ours is four steps, and 64 frames are kept.
STEPS_PER_FRAME = 4
FRAMES = 64

# Of the 193 LibROSA values (40 MFCC, 12 chroma, 128 mel, 7 contrast, 6 tonnetz) those of the mel
# spectrogram are powers; their logarithm is of the others' order of magnitude.
LIBROSA_MEL = slice(40 + 12, 40 + 12 + 128)
SMALLEST_POWER = 1e-8


def read(data: Path, fold: int) -> list[Utterance]:
    """Clips with the audio series, [frame, 4], and action units, [1, 35]."""
    path = data / "ravdess_av" / "ravdess_av.npz"
    names = ("id", "actor", "emotion", "*emotion_names", "audio_series", "audio_len", "visual_au")
    z = read_arrays(path, names, "id")
    if z["audio_series"].ndim != 2 or z["audio_series"].shape[1] < FRAMES * STEPS_PER_FRAME:
        raise ExportError(
            f"{path}: `audio_series` has the shape {z['audio_series'].shape}",
            f"expected [clip, step] with {FRAMES * STEPS_PER_FRAME} steps or more",
        )
    test, valid = held_out_actors(z["actor"], fold)
    clips = []
    for i, (id_, actor) in enumerate(zip(z["id"].tolist(), z["actor"].tolist())):
        clips.append(
            Utterance(
                id=id_,
                split="test" if actor in test else "valid" if actor in valid else "train",
                conversation=id_,
                turn=0,
                speaker=f"actor{actor:02d}",
                label=str(z["emotion_names"][z["emotion"][i]]),
                features={
                    "audio": frames(z["audio_series"][i], int(z["audio_len"][i])),
                    "vision": z["visual_au"][i][np.newaxis],
                },
            )
        )
    return clips


def read_librosa(data: Path, fold: int) -> list[Utterance]:
    """The same clips; audio is one frame of 193 values, [1, 193]."""
    clips = read(data, fold)
    path = data / "ravdess_av" / "ravdess_librosa193.npz"
    z = read_arrays(path, ("id", "audio_librosa193"), "id")
    row = {id_: i for i, id_ in enumerate(z["id"].tolist())}
    for clip in clips:
        if clip.id not in row:
            raise ExportError(f"{path} has no values of the clip `{clip.id}`", LAYOUT)
        values = z["audio_librosa193"][row[clip.id]].astype(np.float32)
        values[LIBROSA_MEL] = np.log(np.abs(values[LIBROSA_MEL]) + SMALLEST_POWER)
        clip.features["audio"] = values[np.newaxis]
    return clips


def held_out_actors(actor: np.ndarray, fold: int) -> tuple[set[int], set[int]]:
    """The actors of test and those of valid in a fold counted from 1."""
    actors = sorted(set(actor.tolist()))
    starts = range(0, len(actors), ACTORS_PER_GROUP)
    groups = [set(actors[i : i + ACTORS_PER_GROUP]) for i in starts]
    return groups[(fold - 1) % len(groups)], groups[fold % len(groups)]


def frames(series: np.ndarray, steps: int) -> np.ndarray:
    """The first frames of a series of which `steps` values are real: [frame, 4], one or more."""
    cut = series[: FRAMES * STEPS_PER_FRAME].reshape(FRAMES, STEPS_PER_FRAME)
    real = (steps + STEPS_PER_FRAME - 1) // STEPS_PER_FRAME
    return cut[: min(max(real, 1), FRAMES)]
