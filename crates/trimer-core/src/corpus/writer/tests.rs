use super::*;
use crate::{Head, HeadMap, LabelSpace, corpus::Corpus, corpus::Split};
use proptest::prelude::*;

type Row = (Utterance, ModalityMap<Option<Vec<f32>>>);

const DIMS: ModalityMap<usize> = ModalityMap {
    text: 3,
    audio: 1,
    vision: 5,
};

fn space() -> LabelSpace {
    LabelSpace {
        classes: vec!["anger".into(), "joy".into(), "neutral".into()],
        score: Some([-1.0, 1.0]),
        binary: vec!["sarcastic".into(), "loud".into()],
    }
}

fn info(dtype: FeatureDtype) -> CorpusInfo {
    CorpusInfo {
        name: "test".into(),
        description: "several\nlines, \"quotes\" and π".into(),
        label_space: space(),
        dtype,
        extractors: ModalityMap {
            text: Some("bert".into()),
            ..ModalityMap::default()
        },
        rates_hz: ModalityMap {
            audio: Some(50.0),
            ..ModalityMap::default()
        },
        ..CorpusInfo::default()
    }
}

fn utterance(id: &str) -> Utterance {
    Utterance {
        id: id.into(),
        ..Utterance::default()
    }
}

fn text(values: Vec<f32>, dim: usize) -> ModalityMap<Option<Frames<'static>>> {
    ModalityMap {
        text: Some(Frames {
            values: values.into(),
            dim,
        }),
        ..ModalityMap::default()
    }
}

fn write(out: &Path, dtype: FeatureDtype, rows: &[Row], shard_bytes: u64) -> PathBuf {
    let mut writer = CorpusWriter::create(out, info(dtype))
        .unwrap()
        .with_shard_bytes(shard_bytes);
    for (utterance, values) in rows {
        let features = ModalityMap::from_fn(|m| {
            values.get(m).as_ref().map(|v| Frames {
                values: v.as_slice().into(),
                dim: *DIMS.get(m),
            })
        });
        writer.push(utterance.clone(), features).unwrap();
    }
    writer.finish().unwrap()
}

prop_compose! {
    fn any_utterance()(
        id in "[^\u{0}]{1,12}",
        split in prop::option::of(prop::sample::select(Split::ALL.to_vec())),
        conversation in prop::option::of(any::<String>()),
        turn in prop::option::of(any::<i64>()),
        speaker in prop::option::of("[a-z]{0,3}"),
        transcript in prop::option::of(any::<String>()),
        labels in prop::array::uniform4(prop::option::of(0_u32..3)),
        scores in prop::array::uniform4(prop::option::of(-1.0_f32..=1.0)),
        binary in prop::option::of(prop::array::uniform2(any::<bool>())),
    ) -> Utterance {
        let at = |h: Head| Head::ALL.iter().position(|x| *x == h).unwrap();
        Utterance {
            id, split, conversation, turn, speaker, transcript,
            labels: HeadMap::from_fn(|h| labels[at(h)]),
            scores: HeadMap::from_fn(|h| scores[at(h)]),
            binary: binary.map(|b| b.to_vec()).unwrap_or_default(),
        }
    }
}

fn any_frames(dim: usize) -> impl Strategy<Value = Option<Vec<f32>>> {
    // Small integers are exact in every storage type.
    let frames = prop::collection::vec((-128_i16..=128).prop_map(f32::from), 0..6 * dim);
    prop::option::weighted(
        0.8,
        frames.prop_map(move |mut v| {
            v.truncate(v.len() / dim * dim);
            v
        }),
    )
}

prop_compose! {
    fn any_row()(
        utterance in any_utterance(),
        text in any_frames(DIMS.text),
        audio in any_frames(DIMS.audio),
        vision in any_frames(DIMS.vision),
    ) -> Row {
        (utterance, ModalityMap { text, audio, vision })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_is_written_is_read(
        mut rows in prop::collection::vec(any_row(), 0..24),
        dtype in prop::sample::select(vec![FeatureDtype::F32, FeatureDtype::F16, FeatureDtype::Bf16]),
        shard_bytes in 1_u64..200,
    ) {
        let mut seen = BTreeSet::new();
        rows.retain(|(u, _)| seen.insert(u.id.clone()));
        let dir = tempfile::tempdir().unwrap();
        let corpus = Corpus::open(write(&dir.path().join("c"), dtype, &rows, shard_bytes)).unwrap();
        prop_assert_eq!(corpus.info(), &info(dtype).only_present(&corpus));
        prop_assert_eq!(corpus.len(), rows.len());
        prop_assert!(corpus.verify().unwrap().is_empty());
        for (idx, (utterance, features)) in rows.iter().enumerate() {
            prop_assert_eq!(&corpus.utterances()[idx], utterance);
            for (modality, values) in features.iter() {
                let read = corpus.frames(idx, modality).map(|f| f.to_vec());
                prop_assert_eq!(&read, values);
                let time = values.as_ref().map_or(0, |v| v.len() / DIMS.get(modality));
                prop_assert_eq!(corpus.frame_count(idx, modality), time);
            }
        }
    }
}

impl CorpusInfo {
    /// Nothing is recorded about a modality that no utterance has.
    fn only_present(mut self, corpus: &Corpus) -> Self {
        for (modality, dim) in corpus.dims().iter() {
            if dim.is_none() {
                *self.extractors.get_mut(modality) = None;
                *self.rates_hz.get_mut(modality) = None;
            }
        }
        self
    }
}

#[test]
fn part_of_the_frames_can_be_copied() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = CorpusWriter::create(&dir.path().join("c"), info(FeatureDtype::F16)).unwrap();
    writer
        .push(utterance("first"), text(vec![9.0; 4], 2))
        .unwrap();
    let values: Vec<f32> = (0..12).map(|k| k as f32).collect();
    writer.push(utterance("a"), text(values, 2)).unwrap();
    let corpus = Corpus::open(writer.finish().unwrap()).unwrap();
    let frames = corpus.frames(1, Modality::Text).unwrap();
    let mut out = [0.0; 4];
    frames.copy_rows(2..4, &mut out);
    assert_eq!(out, [4.0, 5.0, 6.0, 7.0]);
}

#[test]
fn an_error_names_the_utterance_and_leaves_the_writer_usable() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = CorpusWriter::create(&dir.path().join("c"), info(FeatureDtype::F16)).unwrap();
    w.push(utterance("a"), text(vec![0.0; 6], 3)).unwrap();

    let error = w.push(utterance("a"), text(vec![0.0; 6], 3)).unwrap_err();
    assert!(matches!(&error, CorpusError::DuplicateId { id } if id == "a"));
    let error = w.push(utterance("b"), text(vec![0.0; 6], 2)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "utterance `b`: text frames have 2 values, those before it have 3"
    );
    let error = w.push(utterance("b"), text(vec![0.0; 5], 3)).unwrap_err();
    assert!(matches!(
        error,
        CorpusError::Ragged {
            values: 5,
            dim: 3,
            ..
        }
    ));
    let error = w
        .push(utterance("b"), text(vec![0.0, 0.0, 0.0, 0.0, 1e6, 0.0], 3))
        .unwrap_err();
    assert!(matches!(
        error,
        CorpusError::Overflow {
            frame: 1,
            feature: 1,
            ..
        }
    ));
    assert!(matches!(
        w.push(utterance(""), ModalityMap::default()),
        Err(CorpusError::EmptyId { position: 2 })
    ));

    let mut labelled = utterance("b");
    labelled.labels.audio = Some(3);
    let error = w.push(labelled, ModalityMap::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "utterance `b`: class index 3 in column `label_audio`, expected 0 to 2"
    );
    let mut scored = utterance("b");
    scored.scores.multimodal = Some(1.5);
    let error = w.push(scored, ModalityMap::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "utterance `b`: score 1.5 in column `score`, expected -1 to 1"
    );
    let mut binary = utterance("b");
    binary.binary = vec![true];
    assert!(matches!(
        w.push(binary, ModalityMap::default()),
        Err(CorpusError::BinaryCount {
            found: 1,
            expected: 2,
            ..
        })
    ));

    w.push(utterance("b"), text(vec![1.0; 3], 3)).unwrap();
    let corpus = Corpus::open(w.finish().unwrap()).unwrap();
    assert_eq!(corpus.len(), 2);
    assert_eq!(corpus.frames(1, Modality::Text).unwrap().to_vec(), [1.0; 3]);
}

#[test]
fn an_abandoned_writer_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = CorpusWriter::create(&dir.path().join("c"), info(FeatureDtype::F32)).unwrap();
    w.push(utterance("a"), text(vec![0.0; 6], 3)).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    drop(w);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn shards_are_closed_when_full_and_an_utterance_is_never_cut() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("c");
    let rows: Vec<Row> = (0..5)
        .map(|k| {
            let features = ModalityMap {
                audio: Some(vec![k as f32; 10]),
                ..ModalityMap::default()
            };
            (utterance(&k.to_string()), features)
        })
        .collect();
    // 10 frames of 4 bytes each; two fit into 100 bytes.
    write(&out, FeatureDtype::F32, &rows, 100);
    assert_eq!(std::fs::read_dir(out.join("features")).unwrap().count(), 3);
}

#[test]
fn other_tools_can_read_a_shard() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("c");
    let features = ModalityMap {
        audio: Some(vec![1.0, 2.0]),
        ..ModalityMap::default()
    };
    write(&out, FeatureDtype::F32, &[(utterance("a"), features)], 1000);
    let bytes = std::fs::read(out.join("features/audio-00000.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = tensors.tensor("audio").unwrap();
    assert_eq!(tensor.shape(), [2, 1]);
    assert_eq!(
        tensor.data(),
        [1.0_f32.to_le_bytes(), 2.0_f32.to_le_bytes()].concat()
    );
}
