"""CMU-MOSI: utterances of film reviews with a sentiment from -3 to 3.

Two divisions are in use. The standard one has train, valid and test. That of bc-LSTM has no
valid, so the last ten videos of train (in order of their names) serve as that. The 3-D CNN behind
the vision features was trained on the train part of bc-LSTM's division: under the standard one
it would have seen utterances of test, so vision is exported with bc-LSTM's division alone.
"""
from __future__ import annotations

from pathlib import Path

import numpy as np

from folder import ExportError, Utterance
from sources import LAYOUT, read_arrays

STANDARD, BC_LSTM = 1, 0
FOLDS = (STANDARD, BC_LSTM)
VALID_VIDEOS = 10


def read(data: Path, fold: int) -> list[Utterance]:
    """Text as MiniLM's token vectors, [token, 384]; audio as openSMILE values, [1, 73]."""
    return utterances(data, fold, text_per_token=True)


def read_dialogue(data: Path, _fold: int) -> list[Utterance]:
    """One vector per utterance and modality: text [1, 384], audio [1, 73], vision [1, 100]."""
    return utterances(data, BC_LSTM, text_per_token=False)


def utterances(data: Path, fold: int, *, text_per_token: bool) -> list[Utterance]:
    """A video is a conversation of one speaker; turns count as the source does, from 1."""
    path = data / "mosi" / "mosi.npz"
    division = "split_bclstm" if fold == BC_LSTM else "split_standard"
    names = ["id", "video", "utt", "sentence", "value", division, "audio_opensmile73"]
    if fold == BC_LSTM:
        names.append("video_3dcnn100")
    z = read_arrays(path, names, "id")
    text = text_features(data / "mosi" / "mosi_text_tokens.npz", z["id"], text_per_token)
    split = z[division].tolist()
    if fold == BC_LSTM:
        split = with_valid(split, z["video"].tolist())
    found = []
    for i, score in enumerate(z["value"].tolist()):
        features = {"text": text[i], "audio": z["audio_opensmile73"][i][np.newaxis]}
        if fold == BC_LSTM:
            features["vision"] = z["video_3dcnn100"][i][np.newaxis]
        video = str(z["video"][i])
        found.append(
            Utterance(
                id=str(z["id"][i]),
                split=split[i],
                conversation=video,
                turn=int(z["utt"][i]),
                speaker=video,
                transcript=str(z["sentence"][i]),
                label="positive" if score >= 0 else "negative",
                score=score,
                features=features,
            )
        )
    return found


def text_features(path: Path, ids: np.ndarray, per_token: bool) -> list[np.ndarray]:
    """One array per utterance, in the order of `ids`."""
    if not per_token:
        z = read_arrays(path, ("id", "sentence_embedding"), "id")
        same_order(path, z["id"], ids)
        return [vector[np.newaxis] for vector in z["sentence_embedding"]]
    z = read_arrays(path, ("id", "*token_embedding", "*token_offset"), "id")
    same_order(path, z["id"], ids)
    offsets = z["token_offset"].tolist()
    if len(offsets) != len(ids) + 1 or offsets[-1] != len(z["token_embedding"]):
        raise ExportError(
            f"{path}: {len(offsets)} offsets up to {offsets[-1]} do not divide "
            f"{len(z['token_embedding'])} tokens among {len(ids)} utterances",
            "expected one offset more than utterances, the last of them the number of tokens",
        )
    return [z["token_embedding"][a:b] for a, b in zip(offsets, offsets[1:])]


def same_order(path: Path, found: np.ndarray, expected: np.ndarray) -> None:
    """Refuses text that belongs to other utterances."""
    if not np.array_equal(found, expected):
        raise ExportError(f"{path} does not have the ids of mosi.npz, in the same order", LAYOUT)


def with_valid(split: list[str], video: list[str]) -> list[str]:
    """bc-LSTM's division with its last videos of train as valid."""
    train = sorted({v for v, s in zip(video, split) if s == "train"})
    last = set(train[-VALID_VIDEOS:])
    return ["valid" if s == "train" and v in last else s for v, s in zip(video, split)]
