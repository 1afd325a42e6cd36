//! Several independent yes/no labels, as in MulT's IEMOCAP: from the corpus to the predictions.

use crate::cli::trimer;
use std::path::Path;
use trimer::core::corpus::{Corpus, CorpusInfo, CorpusWriter, Frames, Split, Utterance};
use trimer::core::{LabelSpace, ModalityMap};

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

    // Judged again from the files, and from the model: the same.
    let again = trimer(dir.path(), "eval run --corpus data --json").json();
    assert_eq!(
        again["heads"]["multimodal"]["label_weighted_f1"],
        head["label_weighted_f1"]
    );
    let said = trimer(dir.path(), "predict run --corpus data --id u000 --json").json();
    let said = &said[0]["heads"]["multimodal"];
    assert_eq!(said["yes"], serde_json::json!(["happy", "sad"]));
    assert!(said["probabilities"]["happy"].as_f64().unwrap() > 0.5);
}
