//! Both pickle importers on files written here, so that they are tested without the fixtures.

use crate::{
    Modality,
    corpus::{Corpus, Split},
    import::{ImportError, ImportOptions, ImportSummary, NonFinite, importer},
};
use std::{collections::BTreeMap, fs, path::Path};

/// A Python value, as a test describes it.
#[derive(Clone)]
enum Py {
    Text(&'static str),
    Bytes(&'static [u8]),
    Int(i32),
    List(Vec<Self>),
    Dict(Vec<(&'static str, Self)>),
    Array(Vec<usize>, Vec<f64>),
}

impl Py {
    fn texts(texts: &[&'static str]) -> Self {
        Self::List(texts.iter().map(|text| Self::Text(text)).collect())
    }

    fn numbers(values: &[f64]) -> Self {
        Self::Array(vec![values.len()], values.to_vec())
    }

    /// Protocol 2 with the bytes type of protocol 3.
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => {
                out.push(b'X');
                out.extend((text.len() as u32).to_le_bytes());
                out.extend(text.as_bytes());
            }
            Self::Bytes(bytes) => {
                out.push(b'B');
                out.extend((bytes.len() as u32).to_le_bytes());
                out.extend(*bytes);
            }
            Self::Int(value) => {
                out.push(b'J');
                out.extend(value.to_le_bytes());
            }
            Self::List(items) => {
                out.extend(b"](");
                for item in items {
                    item.write(out);
                }
                out.push(b'e');
            }
            Self::Dict(entries) => {
                out.extend(b"}(");
                for (key, value) in entries {
                    Self::Text(key).write(out);
                    value.write(out);
                }
                out.push(b'u');
            }
            Self::Array(shape, values) => {
                assert_eq!(shape.iter().product::<usize>(), values.len());
                out.extend(b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85");
                out.extend(b"C\x01btR(K\x01(");
                for n in shape {
                    Self::Int(*n as i32).write(out);
                }
                out.extend(b"tcnumpy\ndtype\nX\x02\0\0\0f8\x89\x88\x87R(K\x03X\x01\0\0\0<NNN");
                out.extend(b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89B");
                out.extend((values.len() as u32 * 8).to_le_bytes());
                for v in values {
                    out.extend(v.to_le_bytes());
                }
                out.extend(b"tb");
            }
        }
    }
}

/// A split by key, to be changed by a test.
type Fields = BTreeMap<&'static str, Py>;

/// Two utterances of three frames each; the second has one frame of padding.
fn mmsa(prefix: &'static str) -> Fields {
    let ids: &[&str] = match prefix {
        "train" => &["a$_$2", "a$_$1"],
        "valid" => &["b$_$0", "c$_$x"],
        _ => &["a$_$0", "d"],
    };
    let text = vec![1., 1., 2., 2., 3., 3., 4., 4., 5., 5., 0., 0.];
    let side = vec![1., 2., 3., 4., 5., 0.];
    let mask = [
        9., 9., 9., 1., 1., 1., 0., 0., 0., 9., 9., 0., 1., 1., 0., 0., 0., 0.,
    ];
    BTreeMap::from([
        ("id", Py::texts(ids)),
        ("raw_text", Py::texts(&["one", "two"])),
        ("text", Py::Array(vec![2, 3, 2], text)),
        ("text_bert", Py::Array(vec![2, 3, 3], mask.to_vec())),
        ("audio", Py::Array(vec![2, 3, 1], side.clone())),
        ("vision", Py::Array(vec![2, 3, 1], side)),
        ("regression_labels", Py::numbers(&[-0.5, 3.0])),
        ("classification_labels", Py::numbers(&[0.0, 2.0])),
    ])
}

fn mult(prefix: &'static str) -> Fields {
    let id = match prefix {
        "train" => ["v", "1.5", "2.5"],
        "valid" => ["w", "0.0", "1.0"],
        _ => ["x", "0.0", "1.0"],
    };
    let mut fields = mmsa(prefix);
    fields.retain(|key, _| ["text", "audio", "vision"].contains(key));
    let second = Py::List(vec![Py::Bytes(b"z"), Py::Bytes(b"0"), Py::Bytes(b"1")]);
    fields.insert("id", Py::List(vec![Py::texts(&id), second]));
    fields.insert("labels", Py::Array(vec![2, 1, 1], vec![0.5, -3.0]));
    fields
}

/// Writes the three splits, imports them, and hands back what came of it; on an error nothing may
/// be left.
fn import(
    format: &str,
    fields: fn(&'static str) -> Fields,
    change: impl Fn(&str, &mut Fields),
    adjust: impl Fn(&mut ImportOptions),
) -> Result<(Corpus, ImportSummary, tempfile::TempDir), ImportError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("source.pkl");
    let splits = Split::ALL.map(|split| {
        let mut fields = fields(split.as_str());
        change(split.as_str(), &mut fields);
        (split.as_str(), Py::Dict(fields.into_iter().collect()))
    });
    let mut bytes = b"\x80\x03".to_vec();
    Py::Dict(splits.to_vec()).write(&mut bytes);
    bytes.push(b'.');
    fs::write(&path, bytes).unwrap();
    let mut options = ImportOptions::new(&path, dir.path().join("out"));
    adjust(&mut options);
    let result = importer(format).unwrap().import(&options, &mut |_, _| ());
    match result {
        Ok(summary) => Ok((Corpus::open(&summary.path).unwrap(), summary, dir)),
        Err(error) => {
            let named = error.to_string().contains("source.pkl");
            assert!(
                named || matches!(error, ImportError::Option { .. }),
                "{error}"
            );
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{error}");
            Err(error)
        }
    }
}

fn refused(
    format: &str,
    fields: fn(&'static str) -> Fields,
    change: impl Fn(&str, &mut Fields),
) -> String {
    match import(format, fields, change, |_| ()) {
        Ok(_) => panic!("the file should be refused"),
        Err(error) => error.to_string(),
    }
}

fn frames(corpus: &Corpus, idx: usize) -> [Vec<f32>; 3] {
    Modality::ALL.map(|m| {
        corpus
            .frames(idx, m)
            .map(|f| f.to_vec())
            .unwrap_or_default()
    })
}

#[test]
fn aligned_frames_are_cut_together_by_the_attention_mask() {
    let (corpus, summary, _dir) = import("mmsa", mmsa, |_, _| (), |_| ()).unwrap();
    assert!(summary.warnings.is_empty(), "{:?}", summary.warnings);
    assert_eq!((summary.splits.train, summary.splits.test), (2, 2));
    assert_eq!(
        frames(&corpus, 0),
        [
            vec![1., 1., 2., 2., 3., 3.],
            vec![1., 2., 3.],
            vec![1., 2., 3.]
        ]
    );
    assert_eq!(
        frames(&corpus, 1),
        [vec![4., 4., 5., 5.], vec![4., 5.], vec![4., 5.]]
    );
    assert_eq!(corpus.utterances()[1].scores.multimodal, Some(3.0));
    assert_eq!(corpus.utterances()[1].transcript.as_deref(), Some("two"));
    // Clips 2 and 1 of video a in train, 0 in test; `x` is no number and `d` no clip.
    let turns: Vec<_> = corpus.utterances().iter().map(|u| u.turn).collect();
    assert_eq!(turns, [Some(2), Some(1), Some(0), None, Some(0), None]);
    let videos: Vec<_> = corpus
        .utterances()
        .iter()
        .map(|u| u.conversation.as_deref())
        .collect();
    assert_eq!(
        videos,
        [Some("a"), Some("a"), Some("b"), Some("c"), Some("a"), None]
    );
}

#[test]
fn frames_behind_the_last_word_keep_an_aligned_utterance_whole() {
    let change = |_: &str, fields: &mut Fields| {
        fields.insert(
            "vision",
            Py::Array(vec![2, 3, 1], vec![1., 2., 3., 4., 5., 6.]),
        );
    };
    let (corpus, summary, _dir) = import("mmsa", mmsa, change, |_| ()).unwrap();
    assert_eq!(Modality::ALL.map(|m| corpus.frame_count(1, m)), [3, 3, 3]);
    assert_eq!(summary.warnings.len(), 1, "{:?}", summary.warnings);
}

#[test]
fn lengths_cut_either_side_and_contradictions_keep_all() {
    let change = |split: &str, fields: &mut Fields| {
        fields.insert(
            "audio",
            Py::Array(vec![2, 3, 1], vec![0., 0., 7., 0., 8., 9.]),
        );
        let lengths = if split == "train" { [1, 1] } else { [1, 2] };
        fields.insert("audio_lengths", Py::List(lengths.map(Py::Int).to_vec()));
    };
    let (corpus, summary, _dir) = import("mmsa", mmsa, change, |_| ()).unwrap();
    // Audio is cut at the left; the second utterance of train has two frames, not one.
    let audio: Vec<_> = (0..4).map(|idx| frames(&corpus, idx)[1].clone()).collect();
    assert_eq!(audio, [vec![7.], vec![0., 8., 9.], vec![7.], vec![8., 9.]]);
    // Text is cut by its mask, vision has no lengths.
    assert_eq!(corpus.frame_count(1, Modality::Text), 2);
    assert_eq!(corpus.frame_count(1, Modality::Vision), 3);
    assert_eq!(summary.warnings.len(), 1, "{:?}", summary.warnings);
}

#[test]
fn silence_becomes_zero_and_other_infinities_are_refused_with_their_place() {
    let with = |key: &'static str, value: f64| {
        move |split: &str, fields: &mut Fields| {
            if split == "valid"
                && let Some(Py::Array(_, values)) = fields.get_mut(key)
            {
                values[1] = value;
            }
        }
    };
    let (corpus, summary, _dir) =
        import("mmsa", mmsa, with("audio", f64::NEG_INFINITY), |_| ()).unwrap();
    assert_eq!(frames(&corpus, 2)[1], [1., 0., 3.]);
    assert!(
        summary.warnings[0].contains("-inf"),
        "{:?}",
        summary.warnings
    );
    for (format, fields) in [("mmsa", mmsa as fn(&'static str) -> Fields), ("mult", mult)] {
        for (key, value) in [
            ("audio", f64::NAN),
            ("audio", f64::INFINITY),
            ("vision", f64::NEG_INFINITY),
            ("text", f64::NAN),
            // Too large for 32 bits.
            ("vision", 1e300),
        ] {
            let error = import(format, fields, with(key, value), |_| ())
                .err()
                .unwrap();
            let ImportError::NonFinite {
                id,
                frame,
                feature,
                modality,
                ..
            } = error
            else {
                panic!("{error}");
            };
            assert!(
                id.starts_with(if format == "mmsa" { "b$_$0" } else { "w_0.0" }),
                "{id}"
            );
            let place = if key == "text" { (0, 1) } else { (1, 0) };
            assert_eq!(((frame, feature), modality.as_str()), (place, key));
            let zero = |options: &mut ImportOptions| options.non_finite = NonFinite::Zero;
            let (corpus, summary, _dir) = import(format, fields, with(key, value), zero).unwrap();
            assert_eq!(corpus.frames(2, modality).unwrap().to_vec()[1], 0.0);
            assert!(summary.warnings.iter().any(|w| w.starts_with("1 values")));
        }
    }
}

#[test]
fn contradictions_in_an_mmsa_file_are_refused_by_name() {
    let cases: &[(&str, Option<Py>, &[&str])] = &[
        ("vision", None, &["valid.vision", "missing"]),
        ("id", None, &["valid.id"]),
        (
            "id",
            Some(Py::texts(&["b$_$0"])),
            &["valid.text", "2 values for 1"],
        ),
        (
            "id",
            Some(Py::texts(&["b$_$0", "b$_$0"])),
            &["valid.id", "`b$_$0`", "already"],
        ),
        (
            "id",
            Some(Py::texts(&["b$_$0", "a$_$1"])),
            &["valid.id", "`a$_$1`", "`train`"],
        ),
        (
            "id",
            Some(Py::texts(&["b$_$0", ""])),
            &["valid.id", "empty"],
        ),
        (
            "id",
            Some(Py::texts(&["b$_$0", "x\ny"])),
            &["valid.id", "control"],
        ),
        (
            "id",
            Some(Py::List(vec![Py::Text("b"), Py::Bytes(b"\xff")])),
            &["not UTF-8"],
        ),
        ("raw_text", Some(Py::texts(&["one"])), &["valid.raw_text"]),
        (
            "text",
            Some(Py::Array(vec![2, 2, 2], vec![1.; 8])),
            &["valid.text"],
        ),
        (
            "audio",
            Some(Py::Array(vec![2, 3], vec![1.; 6])),
            &["valid.audio", "[2, 3]"],
        ),
        (
            "audio",
            Some(Py::Array(vec![2, 3, 0], vec![])),
            &["valid.audio"],
        ),
        (
            "audio",
            Some(Py::Array(vec![0, 3, 1], vec![])),
            &["valid.audio", "no utterances"],
        ),
        ("audio", Some(Py::List(vec![])), &["valid.audio", "list"]),
        (
            "audio",
            Some(Py::Array(vec![2, 3, 2], vec![1.; 12])),
            &["valid.audio", "`train`"],
        ),
        (
            "audio_lengths",
            Some(Py::numbers(&[1.0, 4.0])),
            &["`c$_$x`", "4, expected 0 to 3"],
        ),
        (
            "audio_lengths",
            Some(Py::numbers(&[-1.0, 1.0])),
            &["`b$_$0`", "-1"],
        ),
        (
            "audio_lengths",
            Some(Py::numbers(&[1.5, 1.0])),
            &["`b$_$0`", "1.5"],
        ),
        (
            "audio_lengths",
            Some(Py::numbers(&[f64::NAN, 1.0])),
            &["`b$_$0`", "NaN"],
        ),
        (
            "regression_labels",
            Some(Py::numbers(&[0.0, 3.5])),
            &["`c$_$x`", "3.5"],
        ),
        (
            "regression_labels",
            Some(Py::numbers(&[f64::NAN, 0.0])),
            &["`b$_$0`", "NaN"],
        ),
        (
            "regression_labels",
            Some(Py::numbers(&[0.0])),
            &["valid.regression_labels"],
        ),
        (
            "classification_labels",
            Some(Py::numbers(&[0.0, 3.0])),
            &["`c$_$x`", "0, 1 or 2"],
        ),
        (
            "regression_labels_T",
            Some(Py::numbers(&[0.0, 0.0])),
            &["other splits"],
        ),
        (
            "text_bert",
            Some(Py::Array(vec![2, 3, 2], vec![1.; 12])),
            &["valid.text_bert"],
        ),
    ];
    for (key, value, words) in cases {
        let message = refused("mmsa", mmsa, |split, fields| {
            if split == "valid" {
                match value {
                    Some(value) => drop(fields.insert(key, value.clone())),
                    None => drop(fields.remove(key)),
                }
            }
        });
        if *key == "regression_labels_T" {
            // The split that lacks the key is named, which is not the changed one.
            assert!(message.contains("train.regression_labels_T"), "{message}");
        }
        for word in *words {
            assert!(message.contains(word), "{key}: {word}: {message}");
        }
    }
}

#[test]
fn scores_of_single_modalities_mean_the_narrow_range() {
    let change = |_: &str, fields: &mut Fields| {
        fields.insert("regression_labels", Py::numbers(&[-0.2, 1.0]));
        fields.insert("regression_labels_A", Py::numbers(&[-1.0, 0.8]));
    };
    let (corpus, _, _dir) = import("mmsa", mmsa, change, |o| o.classes = Some(5)).unwrap();
    assert_eq!(corpus.info().label_space.score, Some([-1.0, 1.0]));
    let second = &corpus.utterances()[1];
    assert_eq!((second.scores.audio, second.scores.text), (Some(0.8), None));
    assert_eq!(
        (second.labels.audio, second.labels.multimodal),
        (Some(4), Some(4))
    );
    // 3 is a score of CMU-MOSI, not of CH-SIMS.
    let wide = |_: &str, fields: &mut Fields| {
        fields.insert("regression_labels_A", Py::numbers(&[-1.0, 0.8]));
    };
    assert!(refused("mmsa", mmsa, wide).contains("3, expected a score from -1 to 1"));
}

#[test]
fn mult_files_keep_all_rows_and_join_their_ids() {
    let (corpus, summary, _dir) = import("mult", mult, |_, _| (), |_| ()).unwrap();
    let ids: Vec<_> = corpus.utterances().iter().map(|u| u.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "v_1.5_2.5",
            "z_0_1",
            "w_0.0_1.0",
            "z_0_1@valid",
            "x_0.0_1.0",
            "z_0_1@test"
        ]
    );
    assert_eq!(summary.warnings.len(), 2, "{:?}", summary.warnings);
    assert_eq!(Modality::ALL.map(|m| corpus.frame_count(1, m)), [3, 3, 3]);
    assert_eq!(
        corpus.utterances()[3].conversation.as_deref(),
        Some("z@valid")
    );
    assert_eq!(corpus.utterances()[1].scores.multimodal, Some(-3.0));
}

#[test]
fn one_hot_labels_become_four_yes_no_labels() {
    let change = |_: &str, fields: &mut Fields| {
        let rows = vec![
            1., 0., 0., 1., 1., 0., 1., 0., 0., 1., 1., 0., 1., 0., 0., 1.,
        ];
        fields.insert("labels", Py::Array(vec![2, 4, 2], rows));
        fields.remove("id");
    };
    let (corpus, _, _dir) = import("mult", mult, change, |_| ()).unwrap();
    assert_eq!(
        corpus.info().label_space.binary,
        ["neutral", "happy", "sad", "angry"]
    );
    assert_eq!(corpus.utterances()[0].id, "train-00000");
    assert_eq!(corpus.utterances()[0].binary, [false, true, false, false]);
    assert_eq!(corpus.utterances()[1].binary, [true, false, false, true]);
    let classes = import("mult", mult, change, |o| o.classes = Some(3));
    assert!(matches!(
        classes,
        Err(ImportError::Option {
            option: "classes",
            ..
        })
    ));
}

#[test]
fn contradictions_in_a_mult_file_are_refused_by_name() {
    let triple = |video: &'static str| Py::texts(&[video, "0", "1"]);
    let cases: &[(&str, Option<Py>, &[&str])] = &[
        ("labels", None, &["valid.labels", "missing"]),
        (
            "labels",
            Some(Py::Array(vec![2, 1, 1], vec![0., 9.])),
            &["`z_0_1`", "9"],
        ),
        (
            "labels",
            Some(Py::Array(vec![1, 1, 1], vec![0.])),
            &["valid.labels", "[1, 1, 1]"],
        ),
        (
            "labels",
            Some(Py::Array(vec![2, 4, 2], vec![1.; 16])),
            &["`w_0.0_1.0`", "one-hot"],
        ),
        (
            "id",
            Some(Py::List(vec![triple("w"), triple("w")])),
            &["`w_0_1`", "already"],
        ),
        (
            "id",
            Some(Py::List(vec![triple("w")])),
            &["valid.id", "1 ids"],
        ),
        (
            "id",
            Some(Py::texts(&["w", "z"])),
            &["valid.id", "str at 0"],
        ),
        (
            "audio",
            Some(Py::Array(vec![1, 3, 1], vec![1.; 3])),
            &["valid.audio", "1 values for 2"],
        ),
    ];
    for (key, value, words) in cases {
        let message = refused("mult", mult, |split, fields| {
            if split == "valid" {
                match value {
                    Some(value) => drop(fields.insert(key, value.clone())),
                    None => drop(fields.remove(key)),
                }
            }
        });
        for word in *words {
            assert!(message.contains(word), "{key}: {word}: {message}");
        }
    }
}

#[test]
fn sources_that_are_no_pickle_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    for format in ["mmsa", "mult"] {
        for source in [dir.path(), Path::new("does-not-exist")] {
            let error = importer(format)
                .unwrap()
                .import(&ImportOptions::new(source, &out), &mut |_, _| ())
                .unwrap_err();
            assert!(
                error.to_string().contains(source.to_str().unwrap()),
                "{error}"
            );
        }
    }
    let large = dir.path().join("large.pkl");
    fs::write(&large, [0; 100]).unwrap();
    let mut options = ImportOptions::new(&large, &out);
    options.limits.max_file_bytes = 99;
    let error = importer("mmsa")
        .unwrap()
        .import(&options, &mut |_, _| ())
        .unwrap_err();
    assert!(
        error.to_string().contains("100 bytes, at most 99"),
        "{error}"
    );
    assert!(!out.exists());
}
