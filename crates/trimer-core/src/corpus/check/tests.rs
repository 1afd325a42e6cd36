use super::*;
use crate::{
    LabelSpace, ModalityMap,
    corpus::{CorpusInfo, CorpusWriter, Frames, synth},
};
use std::path::PathBuf;
use tempfile::TempDir;

/// A sound corpus of six utterances, two per split, that a test then spoils.
fn rows() -> Vec<(Utterance, ModalityMap<Option<Vec<f32>>>)> {
    (0..6)
        .map(|k| {
            let mut utterance = Utterance {
                id: format!("u{k}"),
                split: Some(Split::ALL[k / 2]),
                speaker: Some(format!("s{}", k / 2)),
                conversation: Some(format!("c{}", k / 2)),
                ..Utterance::default()
            };
            utterance.labels.multimodal = Some(k as u32 % 2);
            let features = ModalityMap {
                text: Some(vec![k as f32, 1.0, 2.0, 3.0]),
                ..ModalityMap::default()
            };
            (utterance, features)
        })
        .collect()
}

fn write(rows: Vec<(Utterance, ModalityMap<Option<Vec<f32>>>)>) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let info = CorpusInfo {
        label_space: LabelSpace::of_classes(["anger", "joy"]),
        ..CorpusInfo::default()
    };
    let mut writer = CorpusWriter::create(&dir.path().join("c"), info).unwrap();
    for (utterance, features) in rows {
        let features = features.map(|_, values| {
            values.map(|v| Frames {
                values: v.into(),
                dim: 2,
            })
        });
        writer.push(utterance, features).unwrap();
    }
    let path = writer.finish().unwrap();
    (dir, path)
}

fn report(rows: Vec<(Utterance, ModalityMap<Option<Vec<f32>>>)>) -> CheckReport {
    let (_dir, path) = write(rows);
    check_dir(&path, &CheckOptions::default()).unwrap()
}

fn kinds(findings: &[Finding]) -> Vec<FindingKind> {
    findings.iter().map(|f| f.kind).collect()
}

#[test]
fn a_sound_corpus_has_no_findings() {
    let report = report(rows());
    assert!(report.is_sound());
    assert_eq!(report.warnings, []);
    assert_eq!(report.lengths[&Modality::Text].median, 2);
    assert_eq!(report.classes[&Head::Multimodal][1].splits.valid, 1);
}

#[test]
fn values_that_are_not_finite_are_counted_and_placed() {
    let mut rows = rows();
    rows[1].1.text = Some(vec![0.0, 1.0, f32::NAN, f32::INFINITY]);
    rows[4].1.text = Some(vec![f32::NAN, 1.0]);
    let report = report(rows);
    assert_eq!(kinds(&report.problems), [FindingKind::NonFinite]);
    let finding = &report.problems[0];
    assert_eq!(finding.count, 3);
    assert_eq!(finding.examples, ["u1", "u4"]);
    assert_eq!(
        finding.message,
        "3 text values in 2 utterances are NaN or infinite; the first is NaN in `u1`, frame 1, feature 0"
    );
}

#[test]
fn what_spoils_an_evaluation_is_a_problem() {
    for (kind, spoil) in [
        (
            FindingKind::SharedSpeaker,
            (|r| r[2].0.speaker = r[0].0.speaker.clone()) as fn(&mut Vec<(Utterance, _)>),
        ),
        (FindingKind::SharedConversation, |r| {
            r[2].0.conversation = r[0].0.conversation.clone();
        }),
        (FindingKind::EmptySplit, |r| r.truncate(4)),
        (FindingKind::NoSplit, |r| {
            for row in r {
                row.0.split = None;
            }
        }),
        (FindingKind::UntrainedClass, |r| {
            r[0].0.labels.multimodal = Some(0);
            r[1].0.labels.multimodal = Some(0);
        }),
        (FindingKind::NoLabels, |r| {
            r[4].0.labels.multimodal = None;
            r[5].0.labels.multimodal = None;
        }),
        (FindingKind::EmptySequence, |r| {
            r[0].1 = ModalityMap {
                text: Some(Vec::new()),
                ..ModalityMap::default()
            };
        }),
        (FindingKind::NoFeatures, |r| r[0].1 = ModalityMap::default()),
        (FindingKind::LongSequence, |r| {
            r[0].1 = ModalityMap {
                text: Some((0..20_002).map(|k| k as f32).collect()),
                ..ModalityMap::default()
            };
        }),
    ] {
        let mut rows = rows();
        spoil(&mut rows);
        let report = report(rows);
        assert!(
            kinds(&report.problems).contains(&kind),
            "{kind:?}: {report:?}"
        );
        assert!(!report.is_sound());
    }
}

#[test]
fn what_should_be_known_is_a_warning() {
    for (kind, note) in [
        (
            FindingKind::UnevaluatedClass,
            (|r| r[3].0.labels.multimodal = Some(0)) as fn(&mut Vec<(Utterance, _)>),
        ),
        (FindingKind::MissingLabel, |r| r[0].0.labels.text = Some(0)),
        (FindingKind::NoSplit, |r| {
            let mut extra = r[0].clone();
            extra.0.id = "extra".into();
            extra.0.split = None;
            r.push(extra);
        }),
        (FindingKind::ConstantFeatures, |r| {
            r[0].1 = ModalityMap {
                text: Some(vec![0.0; 4]),
                ..ModalityMap::default()
            };
        }),
        (FindingKind::MissingModality, |r| {
            r[0].1 = ModalityMap {
                audio: r[0].1.text.take(),
                ..ModalityMap::default()
            };
        }),
        (FindingKind::UnusedClass, |r| {
            for row in r {
                row.0.labels.multimodal = Some(0);
            }
        }),
    ] {
        let mut rows = rows();
        note(&mut rows);
        let report = report(rows);
        assert!(
            kinds(&report.warnings).contains(&kind),
            "{kind:?}: {report:?}"
        );
        assert!(report.is_sound(), "{:?}", report.problems);
    }
}

#[test]
fn a_changed_file_is_found() {
    let (_dir, path) = write(rows());
    let shard = path.join("features/text-00000.safetensors");
    let mut bytes = std::fs::read(&shard).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&shard, &bytes).unwrap();
    let report = check_dir(&path, &CheckOptions::default()).unwrap();
    assert_eq!(kinds(&report.problems), [FindingKind::Checksum]);

    std::fs::write(&shard, &bytes[..bytes.len() - 4]).unwrap();
    let report = check_dir(&path, &CheckOptions::default()).unwrap();
    assert_eq!(kinds(&report.problems), [FindingKind::Damaged]);

    std::fs::remove_file(&shard).unwrap();
    let report = check_dir(&path, &CheckOptions::default()).unwrap();
    assert_eq!(kinds(&report.problems), [FindingKind::Damaged]);
}

#[test]
fn there_must_be_something_to_examine() {
    let dir = tempfile::tempdir().unwrap();
    let check = |p: &Path| check_dir(p, &CheckOptions::default());
    assert!(matches!(
        check(dir.path()),
        Err(CorpusError::NotACorpus { .. })
    ));
    let missing = dir.path().join("missing");
    assert!(matches!(check(&missing), Err(CorpusError::NotFound { .. })));
}

#[test]
fn disagreement_is_the_share_of_pairs_that_differ() {
    let mut rows = rows();
    for (k, row) in rows.iter_mut().enumerate().take(4) {
        row.0.labels.text = Some(u32::from(k == 0)); // 1 0 0 0 against 0 1 0 1
    }
    let report = report(rows);
    let expected = Disagreement {
        a: Head::Text,
        b: Head::Multimodal,
        count: 4,
        rate: 0.75,
    };
    assert_eq!(report.disagreement, [expected]);
}

#[test]
fn a_synthetic_corpus_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    let spec = synth::SynthSpec::preset("small").unwrap();
    let path = synth::write(&spec, &dir.path().join("c"), &mut |_, _| {}).unwrap();
    let report = check_dir(&path, &CheckOptions::default()).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(report.warnings, []);
    assert_eq!(report.disagreement.len(), 6);
    assert!(
        serde_json::to_string(&report)
            .unwrap()
            .contains("\"disagreement\"")
    );
}
