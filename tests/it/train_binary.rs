//! Several independent yes/no labels, as in MulT's IEMOCAP: from the corpus to the predictions.

use crate::cli::trimer;
use std::path::Path;
use trimer::corpus::{Corpus, CorpusInfo, CorpusWriter, Frames, Split, Utterance};
use trimer::{LabelSpace, ModalityMap};

/// 160 utterances; `happy` is the sign of the text's first feature, `sad` that of the audio's, so
/// that all four combinations occur.
fn corpus(folder: &Path) -> Corpus {
    let info = CorpusInfo {
        name: "yes-no".into(),
        label_space: LabelSpace {
            binary: vec!["happy".into(), "sad".into()],
            ..LabelSpace::default()
        },
        ..CorpusInfo::default()
    };
    let mut writer = CorpusWriter::create(folder, info).unwrap();
    for i in 0..160_usize {
        let (happy, sad) = (i % 2 == 0, i / 2 % 2 == 0);
        let sign = |yes: bool| if yes { 1.0 } else { -1.0 };
        let noise = |k: usize| ((i * 7 + k * 13) % 11) as f32 / 11.0 - 0.5;
        let frames = |yes: bool, salt: usize| {
            let values = (0..3).flat_map(|t| {
                let at = salt + 2 * t;
                [sign(yes) + 0.5 * noise(at), noise(at + 1)]
            });
            Some(Frames {
                values: values.collect(),
                dim: 2,
            })
        };
        let split = match i / 4 % 4 {
            0 | 1 => Split::Train,
            2 => Split::Valid,
            _ => Split::Test,
        };
        let utterance = Utterance {
            id: format!("u{i:03}"),
            split: Some(split),
            binary: vec![happy, sad],
            ..Utterance::default()
        };
        let features = ModalityMap {
            text: frames(happy, 0),
            audio: frames(sad, 50),
            vision: None,
        };
        writer.push(utterance, features).unwrap();
    }
    Corpus::open(writer.finish().unwrap()).unwrap()
}

#[test]
fn a_model_learns_every_label_and_predicts_them_apart() {
    let dir = tempfile::tempdir().unwrap();
    corpus(&dir.path().join("data"));
    let result = trimer(
        dir.path(),
        "train --model mult --corpus data --out run --json --set model.preset=paper \
         --set model.d_model=8 --set model.n_heads=2 --set model.n_layers=1 \
         --set model.mask_padding=true --set model.p_text=0 --set model.p_embed=0 \
         --set train.epochs=12 --set train.batch_size=16 --set train.lr=5e-3",
    )
    .json();
    let head = &result["heads"]["multimodal"];
    for label in ["happy", "sad"] {
        let accuracy = head["label_accuracy"][label].as_f64().unwrap();
        assert!(accuracy > 0.9, "{label}: {accuracy}");
    }
    let mean = ["happy", "sad"]
        .map(|l| head["label_accuracy"][l].as_f64().unwrap())
        .iter()
        .sum::<f64>()
        / 2.0;
    assert!((head["accuracy"].as_f64().unwrap() - mean).abs() < 1e-9);

    // Evaluated again from the files, and from the model: the same.
    let again = trimer(dir.path(), "eval run --corpus data --json").json();
    assert_eq!(
        again["heads"]["multimodal"]["label_weighted_f1"],
        head["label_weighted_f1"]
    );
    trimer(
        dir.path(),
        "train --model majority --corpus data --out other",
    )
    .refused(&["`majority`", "yes/no labels"]);
    let said = trimer(dir.path(), "predict run --corpus data --id u000 --json").json();
    let said = &said[0]["heads"]["multimodal"];
    assert_eq!(said["yes"], serde_json::json!(["happy", "sad"]));
    assert!(said["probabilities"]["happy"].as_f64().unwrap() > 0.5);
}

#[test]
fn yes_and_no_are_calibrated_together_and_decided_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    corpus(&at.join("data"));
    trimer(
        at,
        "train --model mult --corpus data --out run --set model.preset=paper \
         --set model.d_model=8 --set model.n_heads=2 --set model.n_layers=1 \
         --set model.p_text=0 --set model.p_embed=0 \
         --set train.epochs=3 --set train.batch_size=16 --set train.lr=5e-3",
    )
    .ok();
    let said = trimer(at, "predict run --corpus data --split test --json").json();
    let raw = trimer(at, "predict run --corpus data --split test --raw --json").json();
    let shown = trimer(at, "calibrate run --json").json();
    let head = &shown["heads"]["multimodal"];
    assert_eq!(head["n"], 40, "utterances, not labels");
    let temperature = head["temperature"]["1"].as_f64().unwrap();
    let mut brier = [0.0; 2];
    for (said, raw) in said.as_array().unwrap().iter().zip(raw.as_array().unwrap()) {
        let (id, said, raw) = (
            &said["id"],
            &said["heads"]["multimodal"],
            &raw["heads"]["multimodal"],
        );
        assert_eq!(said["yes"], raw["yes"]);
        let i: usize = id.as_str().unwrap()[1..].parse().unwrap();
        for (label, truth) in [
            ("happy", i.is_multiple_of(2)),
            ("sad", (i / 2).is_multiple_of(2)),
        ] {
            let [p, q] = [raw, said].map(|s| s["probabilities"][label].as_f64().unwrap());
            // The log odds are divided by the temperature.
            let odds = |p: f64| (p / (1.0 - p)).ln();
            assert!(
                (odds(p) / temperature - odds(q)).abs() < 1e-6,
                "{p} {q} {temperature}"
            );
            let truth = f64::from(u8::from(truth));
            for (sum, p) in brier.iter_mut().zip([p, q]) {
                // Of both classes, as Brier defined it.
                *sum += 2.0 * (p - truth).powi(2) / 80.0;
            }
        }
    }
    for (name, expected) in [("brier_before", brier[0]), ("brier_after", brier[1])] {
        assert!(
            (head[name].as_f64().unwrap() - expected).abs() < 1e-9,
            "{name}"
        );
    }
    let held_back = trimer(at, "predict run --corpus data --abstain-at 0.95 --json").json();
    assert!(held_back[0]["heads"]["multimodal"]["abstains"].is_array());
    let eval = trimer(at, "eval run --json").json();
    assert!(eval["heads"]["multimodal"]["label_ece"]["happy"].is_f64());
    let thresholds = &eval["calibration"]["multimodal"]["class_thresholds"]["1"];
    assert!(thresholds["sad"].as_f64().unwrap() > 0.0, "{thresholds}");

    // Contributions of yes for every label, each of which depends on one modality alone.
    let why = trimer(
        at,
        "predict run --corpus data --split test --explain --json",
    )
    .json();
    for one in why.as_array().unwrap() {
        let targets = &one["explanation"]["targets"];
        for label in ["happy", "sad"] {
            let of = |name: &str| targets[label][name].as_f64().unwrap();
            let parts = targets[label]["contributions"].as_object().unwrap();
            let sum: f64 = parts.values().map(|v| v.as_f64().unwrap()).sum();
            assert!((sum - (of("with_all") - of("with_none"))).abs() < 1e-6);
            assert_eq!(
                one["heads"]["multimodal"]["probabilities"][label],
                of("with_all")
            );
        }
    }
}
