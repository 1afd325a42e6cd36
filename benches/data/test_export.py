#!/usr/bin/env python3
"""Every set from tiny made-up sources: `python -m pytest benches`, or this file by itself."""
from __future__ import annotations

import csv
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import numpy.typing as npt

from folder import ExportError, Utterance, write_folder
from sets import SETS
from sets.mosi import with_valid
from sets.ravdess import held_out_actors

EXPORT = Path(__file__).with_name("export.py")
# The sources themselves, where a machine has them.
SOURCES = Path(os.environ.get("TRIMER_SHARED", "/nonexistent")) / "data"
# By set and fold, the start of SHA-256 over the names and bytes of all files, in order of the
# names: what the filed figures were made from.
DIGESTS = {
    ("ravdess", 1): "74433d0ad5dbbc1f",
    ("ravdess", 5): "11a85bd437235da4",
    ("ravdess_librosa", 2): "5ade2547a74975d3",
    ("mosi", 1): "1ac43d5c37e57e7a",
    ("mosi", 0): "137473c1197e2eb5",
    ("mosi_dialogue", None): "e0b7d131b5fb26b4",
    ("meld", None): "ba56c07a6b785023",
    ("emorynlp", None): "8b56cfc073a72a01",
    ("cremad", None): "ba287a801893f972",
}
RNG = np.random.default_rng(0)


def values(*shape: int) -> np.ndarray:
    """Random features."""
    return RNG.standard_normal(shape).astype(np.float32)


def save(path: Path, **arrays: npt.ArrayLike) -> None:
    """Writes an .npz archive, its folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, allow_pickle=False, **{k: np.asarray(array) for k, array in arrays.items()})


def text(path: Path, content: str) -> None:
    """Writes a text file, its folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


class Case(unittest.TestCase):
    """A folder of sources and one for exports."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.data, self.out = Path(scratch.name) / "data", Path(scratch.name) / "out"

    def export(self, *args: str) -> list[dict[str, str]]:
        """Runs the program; the rows of the table."""
        done = self.run_export(*args)
        self.assertEqual(done.returncode, 0, done.stderr)
        with (self.out / "manifest.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def refused(self, *args: str) -> str:
        """Runs the program, which must refuse with a hint and leave nothing behind."""
        done = self.run_export(*args)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr, r"^error: .+\n hint: .+\n$")
        self.assertFalse(self.out.exists())
        return done.stderr

    def run_export(self, *args: str) -> subprocess.CompletedProcess[str]:
        """`export.py SET DATA OUT FLAGS`."""
        name, *flags = args
        command = [sys.executable, str(EXPORT), name, str(self.data), str(self.out), *flags]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def array(self, modality: str, id_: str) -> np.ndarray:
        """One utterance's features."""
        loaded: np.ndarray = np.load(self.out / modality / f"{id_}.npy")
        return loaded


class Ravdess(Case):
    """Five groups of four actors, one clip each."""

    def setUp(self) -> None:
        super().setUp()
        self.ids = [f"clip-{actor:02d}" for actor in range(1, 21)]
        self.series, self.units = values(20, 259), values(20, 35)
        self.lengths = [5, 0, 259] + [8] * 17
        actors, emotions = list(range(1, 21)), [0, 1] * 10
        save(
            self.data / "ravdess_av/ravdess_av.npz",
            id=self.ids,
            actor=actors,
            emotion=emotions,
            emotion_names=["calm", "happy"],
            audio_series=self.series,
            audio_len=self.lengths,
            visual_au=self.units,
        )

    def test_splits_never_share_an_actor(self) -> None:
        rows = self.export("ravdess", "--fold", "5")
        splits = ("test", "valid", "train")
        of = {s: {r["speaker"] for r in rows if r["split"] == s} for s in splits}
        # The last group tests; the next one, from the front again, selects.
        self.assertEqual(of["test"], {f"actor{a}" for a in (17, 18, 19, 20)})
        self.assertEqual(of["valid"], {f"actor{a:02d}" for a in (1, 2, 3, 4)})
        self.assertEqual(len(of["train"]), 12)

    def test_folds_test_every_actor_once(self) -> None:
        tests = [held_out_actors(np.arange(20), fold)[0] for fold in range(1, 6)]
        tested = [actor for actors in tests for actor in actors]
        self.assertEqual(sorted(tested), list(range(20)))

    def test_a_frame_is_four_steps(self) -> None:
        rows = self.export("ravdess")
        self.assertEqual([r["label"] for r in rows[:2]], ["calm", "happy"])
        audio = [self.array("audio", id_) for id_ in self.ids[:3]]
        # 5 steps fill two frames; none at all give one; 259 are cut at 64 frames.
        self.assertEqual([a.shape for a in audio], [(2, 4), (1, 4), (64, 4)])
        np.testing.assert_array_equal(audio[0].ravel(), self.series[0, :8])
        np.testing.assert_array_equal(self.array("vision", self.ids[0])[0], self.units[0])

    def test_mel_values_are_logarithms(self) -> None:
        librosa = np.abs(values(20, 193))
        path = self.data / "ravdess_av/ravdess_librosa193.npz"
        # Other order than the clips: ids decide.
        save(path, id=self.ids[::-1], audio_librosa193=librosa)
        self.export("ravdess_librosa")
        found = self.array("audio", self.ids[-1])
        self.assertEqual(found.shape, (1, 193))
        np.testing.assert_array_equal(found[0, :52], librosa[0, :52])
        np.testing.assert_allclose(found[0, 52:180], np.log(librosa[0, 52:180] + 1e-8), rtol=1e-5)
        np.testing.assert_array_equal(found[0, 180:], librosa[0, 180:])

    def test_learning_from_valid_leaves_test_alone(self) -> None:
        rows = self.export("ravdess", "--learn-from-valid")
        counts = {s: sum(r["split"] == s for r in rows) for s in ("train", "valid", "test")}
        self.assertEqual(counts, {"train": 16, "valid": 0, "test": 4})

    def test_an_unknown_fold_is_refused(self) -> None:
        self.assertIn("expected one of 1, 2, 3, 4, 5", self.refused("ravdess", "--fold", "6"))


class Mosi(Case):
    """Two videos of train and one of test, two utterances each."""

    def setUp(self) -> None:
        super().setUp()
        video = ["a", "a", "b", "b", "c", "c"]
        ids = [f"{v}_{n}" for v, n in zip(video, [1, 2] * 3)]
        self.tokens, self.sentences = values(9, 384), values(6, 384)
        save(
            self.data / "mosi/mosi.npz",
            id=ids,
            video=video,
            utt=[1, 2] * 3,
            sentence=["GOOD, VERY", "x", "y", "z", "u", "v"],
            value=np.array([2.4, -0.5, 0.0, 1.0, -3.0, 3.0], dtype=np.float32),
            split_standard=["train", "train", "valid", "valid", "test", "test"],
            split_bclstm=["train"] * 4 + ["test"] * 2,
            audio_opensmile73=values(6, 73),
            video_3dcnn100=values(6, 100),
        )
        self.text = self.data / "mosi/mosi_text_tokens.npz"
        self.arrays: dict[str, npt.ArrayLike] = {
            "id": list(ids),
            "sentence_embedding": self.sentences,
            "token_embedding": self.tokens,
            "token_offset": [0, 1, 3, 4, 5, 8, 9],
        }
        save(self.text, **self.arrays)

    def test_standard_split_has_tokens_and_no_vision(self) -> None:
        rows = self.export("mosi")
        self.assertEqual([r["split"] for r in rows[::2]], ["train", "valid", "test"])
        self.assertEqual([r["label"] for r in rows[:3]], ["positive", "negative", "positive"])
        self.assertEqual(rows[0]["transcript"], "GOOD, VERY")
        self.assertEqual(float(rows[1]["score"]), -0.5)
        np.testing.assert_array_equal(self.array("text", "a_2"), self.tokens[1:3])
        self.assertFalse((self.out / "vision").exists())

    def test_conversations_have_one_vector_per_utterance(self) -> None:
        rows = self.export("mosi_dialogue")
        self.assertEqual([r["conversation"] for r in rows[::2]], ["a", "b", "c"])
        np.testing.assert_array_equal(self.array("text", "b_1")[0], self.sentences[2])
        self.assertEqual(self.array("vision", "c_2").shape, (1, 100))

    def test_the_last_ten_videos_of_train_select(self) -> None:
        video = [f"v{i:02d}" for i in range(12)]
        split = with_valid(["train"] * 11 + ["test"], video)
        self.assertEqual(split, ["train"] + ["valid"] * 10 + ["test"])

    def test_text_of_other_utterances_is_refused(self) -> None:
        save(self.text, **(self.arrays | {"id": ["a_1"] * 6}))
        self.assertIn("in the same order", self.refused("mosi"))

    def test_offsets_that_do_not_fit_are_refused(self) -> None:
        save(self.text, **(self.arrays | {"token_offset": [0, 1, 3, 4, 5, 8, 8]}))
        self.assertIn("do not divide 9 tokens", self.refused("mosi"))

    def test_a_lost_array_is_refused(self) -> None:
        del self.arrays["token_offset"]
        save(self.text, **self.arrays)
        self.assertIn("has no array `token_offset`; it has id,", self.refused("mosi"))


class Others(Case):
    """MELD, EmoryNLP, CREMA-D, and the layout itself."""

    def test_meld_numbers_begin_anew_in_dev(self) -> None:
        for part in ("train", "dev"):
            save(
                self.data / f"meld/meld_{part}.npz",
                dialogue=[0, 0],
                utterance=[0, 1],
                speaker=["Ross", "Monica"],
                emotion=["joy", "neutral"],
                sentence_embedding=values(2, 384).astype(np.float16),
            )
        rows = self.export("meld")
        self.assertEqual([r["id"] for r in rows[1:3]], ["train_0_1", "valid_0_0"])
        self.assertEqual(self.array("text", "valid_0_1").dtype, np.float32)

    def test_meld_arrays_of_two_lengths_are_refused(self) -> None:
        save(
            self.data / "meld/meld_train.npz",
            dialogue=[0, 0],
            utterance=[0, 1],
            speaker=["Ross"],
            emotion=["joy", "neutral"],
            sentence_embedding=values(2, 384),
        )
        self.assertIn("`speaker` has 1 entries", self.refused("meld"))

    def test_emorynlp_scenes_are_conversations(self) -> None:
        header = "Utterance,Speaker,Emotion,Scene_ID,Utterance_ID,Season,Episode,Start,End\n"
        train = "\"Oh, yeah!\",['A B'],Joyful,1,1,1,2,,\nNo.,\"['A B', 'C']\",Mad,1,4,1,2,,\n"
        text(self.data / "emorynlp/emorynlp_train_final.csv", header + train)
        text(self.data / "emorynlp/emorynlp_dev_final.csv", header + "Hm.,['C'],Sad,1,1,1,2,,\n")
        rows = self.export("emorynlp")
        self.assertEqual([r["id"] for r in rows[1:]], ["train_s01e02_1_4", "valid_s01e02_1_1"])
        self.assertEqual([r["turn"] for r in rows], ["0", "1", "0"])
        self.assertEqual(rows[1]["speaker"], "A B & C")
        self.assertEqual(rows[0]["transcript"], "Oh, yeah!")

    def test_cremad_ties_have_no_label(self) -> None:
        path = self.data / "cremad_votes/tabulatedVotes.csv"
        header = '"","A","D","F","H","N","S","fileName","numResponses"\n'
        rows = '"100001",5,0,0,0,2,0,"1001_X",7\n"200001",3,0,3,0,0,0,"1001_X",6\n'
        more = '"300001",0,0,0,0,0,9,"1001_X",9\n"200002",0,0,1,0,0,0,"1002_X",1\n'
        text(path, header + rows + more)
        row, other = self.export("cremad")
        self.assertEqual((row["label_audio"], row["label_vision"]), ("anger", ""))
        self.assertEqual((row["label"], row["speaker"]), ("sad", "actor1001"))
        self.assertEqual((other["label"], other["label_vision"]), ("", "fear"))
        self.assertNotIn("label_text", row)

    def test_cremad_rows_without_a_number_are_refused(self) -> None:
        text(
            self.data / "cremad_votes/tabulatedVotes.csv",
            '"","A","D","F","H","N","S","fileName"\n"400001",5,0,0,0,2,0,"1001_X"\n',
        )
        self.assertIn("row 1: `400001`", self.refused("cremad"))

    def test_every_set_says_which_file_is_not_there(self) -> None:
        for name in SETS:
            with self.subTest(name):
                self.assertIn("does not exist", self.refused(name))

    def test_a_full_folder_is_not_written_to(self) -> None:
        text(self.out / "mine.txt", "kept")
        with self.assertRaises(ExportError):
            write_folder(self.out, [Utterance("a")])
        self.assertEqual([p.name for p in self.out.iterdir()], ["mine.txt"])

    def test_ids_that_are_no_file_names_or_stand_twice_are_refused(self) -> None:
        for utterances in ([Utterance("a/b")], [Utterance("a"), Utterance("a")], []):
            with self.subTest(utterances), self.assertRaises(ExportError):
                write_folder(self.out, utterances)


@unittest.skipUnless(SOURCES.is_dir(), "TRIMER_SHARED does not name a folder with data/")
class Sources(Case):
    """The published sets, byte for byte as they were when figures were filed."""

    def setUp(self) -> None:
        super().setUp()
        self.data = SOURCES

    def test_exports_are_those_of_the_filed_figures(self) -> None:
        for (name, fold), expected in DIGESTS.items():
            with self.subTest(name, fold=fold):
                self.export(name, *([] if fold is None else ["--fold", str(fold)]))
                digest = hashlib.sha256()
                for path in sorted(path for path in self.out.rglob("*") if path.is_file()):
                    digest.update(path.relative_to(self.out).as_posix().encode())
                    digest.update(path.read_bytes())
                shutil.rmtree(self.out)
                self.assertTrue(digest.hexdigest().startswith(expected))


if __name__ == "__main__":
    unittest.main()
