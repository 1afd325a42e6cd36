//! Making corpora through the command line when something goes wrong half-way.

use crate::cli::{Folder, TINY, command, entries, trimer};
use std::{
    fs,
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};
use trimer::{
    LabelSpace, Modality, ModalityMap,
    corpus::{Corpus, CorpusInfo, CorpusWriter, Frames, Split, Utterance},
    store::npy,
};

#[test]
fn a_killed_import_leaves_no_half_made_corpus_and_the_next_one_tidies_up() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    trimer(at, "corpus synth c --utterances 300").ok();
    trimer(at, "corpus export c source").ok();
    let start = Instant::now();
    trimer(at, "corpus import source whole").ok();
    let whole = start.elapsed();
    let (mut killed, mut leftovers) = (0, 0);
    for part in 0..8_u32 {
        let args = ["corpus", "import", "source", "out/d"];
        let mut child = command(at, &args).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(whole * part / 8 + Duration::from_micros(700 * u64::from(part)));
        child.kill().unwrap();
        let done = child.wait().unwrap().success();
        let corpus = at.join("out/d");
        assert!(
            done || !corpus.exists() || Corpus::open(&corpus).is_ok(),
            "half-made"
        );
        if corpus.exists() {
            fs::remove_dir_all(&corpus).unwrap();
        } else {
            killed += 1;
            leftovers +=
                usize::from(at.join("out").exists() && !entries(&at.join("out")).is_empty());
        }
    }
    assert!(
        killed > 0 && leftovers > 0,
        "{killed} killed, {leftovers} leftovers"
    );
    trimer(at, "corpus import source out/d").ok();
    assert_eq!(entries(&at.join("out")), ["d"]);
    trimer(at, "corpus check out/d").ok();
    let (a, b) = (
        Corpus::open(at.join("whole")).unwrap(),
        Corpus::open(at.join("out/d")).unwrap(),
    );
    assert_eq!(a.utterances(), b.utterances());
}

#[test]
fn features_that_are_not_numbers_are_refused_by_place_or_zeroed_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let source = at.join("source");
    let mut folder = Folder::new(&source, "split,label");
    folder.add("train,a");
    let id = folder.add("valid,b");
    let mut values = vec![0.5; 15];
    values[7] = f32::NAN;
    npy::write_f32(&folder.file(Modality::Vision, &id), &[5, 3], &values).unwrap();
    folder.finish();
    trimer(at, "corpus import source c").refused(&[
        &format!("{id}.npy"),
        "NaN",
        "frame 2",
        "feature 1",
        "hint: ",
        "--non-finite zero",
    ]);
    assert_eq!(entries(at), ["source"]);
    trimer(at, "corpus import source c --non-finite zero")
        .ok()
        .says(&["warning: 1 value"]);
    let corpus = Corpus::open(at.join("c")).unwrap();
    let frames = corpus.frames(1, Modality::Vision).unwrap().to_vec();
    assert_eq!((frames[6], frames[7]), (0.5, 0.0));
}

#[test]
fn arrays_of_length_zero_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    let mut folder = Folder::new(&source, "split,label");
    let id = folder.add("train,a");
    npy::write_f32(&folder.file(Modality::Text, &id), &[0, 3], &[]).unwrap();
    folder.finish();
    trimer(dir.path(), "corpus import source c").refused(&["empty", "[0, 3]", "remove the file"]);
}

/// Writes a corpus by the library, which accepts more than the importers do.
fn write(path: &Path, utterances: usize, frames: impl Fn(usize, Modality) -> Option<Vec<f32>>) {
    let info = CorpusInfo {
        name: "made".into(),
        label_space: LabelSpace::of_classes(["a", "b"]),
        ..CorpusInfo::default()
    };
    let mut writer = CorpusWriter::create(path, info).unwrap();
    for i in 0..utterances {
        let mut utterance = Utterance {
            id: format!("u{i}"),
            split: Some(Split::ALL[i % 3]),
            ..Utterance::default()
        };
        utterance.labels.multimodal = Some((i / 3 % 2) as u32);
        let features = ModalityMap::from_fn(|m| {
            frames(i, m).map(|values| Frames {
                values: values.into(),
                dim: 2,
            })
        });
        writer.push(utterance, features).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn a_corpus_with_nan_fails_its_check_and_its_training() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    write(&at.join("c"), 12, |i, m| {
        let nan = i == 6 && m == Modality::Audio;
        Some(vec![if nan { f32::NAN } else { i as f32 / 12.0 }; 8])
    });
    let check = trimer(at, "corpus check c");
    assert_eq!(check.code, Some(1), "{check}");
    assert!(
        check.out.contains("problem: ") && check.out.contains("u6"),
        "{check}"
    );
    let json = trimer(at, "corpus check c --json");
    assert_eq!(json.code, Some(1), "{json}");
    let report: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(report["problems"].as_array().unwrap().len(), 1, "{json}");
    trimer(
        at,
        &format!("train --corpus c {TINY} --set train.epochs=1 --out r"),
    )
    .refused(&[
        "the training loss became NaN in epoch 1",
        "hint: ",
        "corpus check",
    ]);
}

#[test]
fn a_corpus_without_utterances_is_no_reason_to_panic() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    write(&at.join("c"), 0, |_, _| None);
    trimer(at, "corpus stats c").ok();
    let check = trimer(at, "corpus check c");
    assert!(matches!(check.code, Some(0 | 1)), "{check}");
    trimer(at, "corpus export c d");
    trimer(at, &format!("train --corpus c {TINY} --out r")).refused(&["no train split", "hint: "]);
}

#[test]
fn missing_modalities_and_empty_sequences_can_be_trained_on() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    // Every third utterance lacks audio, one has a text of length zero, one has nothing at all.
    write(&at.join("c"), 24, |i, m| match (i, m) {
        (7, _) => None,
        (4, Modality::Text) => Some(Vec::new()),
        (i, Modality::Audio) if i % 3 == 0 => None,
        _ => Some((0..2 * (1 + i % 5)).map(|k| ((i + k) % 7) as f32).collect()),
    });
    trimer(at, "corpus stats c").ok();
    for (name, sets) in [
        ("plain", ""),
        ("masked", "--set model.mask_padding=true"),
        (
            "standard",
            "--set data.normalise=standard --set model.mask_padding=true",
        ),
        (
            "released",
            "--set model.preset=released --set model.mask_padding=true",
        ),
        ("first", "--set model.pooling=first"),
    ] {
        let line = format!("train --corpus c {sets} {TINY} --set train.epochs=2 --out {name}");
        trimer(at, &line).ok();
        let eval = trimer(at, &format!("eval {name} --json")).json();
        assert!(eval["heads"]["multimodal"]["log_loss"].is_f64(), "{eval}");
    }
}
