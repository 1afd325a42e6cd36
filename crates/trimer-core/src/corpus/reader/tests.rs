use super::*;
use crate::{
    Hint, LabelSpace,
    corpus::{CheckOptions, CorpusWriter, Frames, check, shard},
};
use proptest::prelude::*;
use std::{fs, sync::OnceLock};
use tempfile::TempDir;

fn write(dir: &Path) -> PathBuf {
    let info = CorpusInfo {
        name: "test".into(),
        label_space: LabelSpace {
            classes: vec!["anger".into(), "joy".into()],
            score: Some([-1.0, 1.0]),
            binary: vec!["loud".into()],
        },
        ..CorpusInfo::default()
    };
    let mut writer = CorpusWriter::create(&dir.join("c"), info).unwrap();
    for k in 0..9_u8 {
        let mut utterance = Utterance {
            id: format!("u{k}"),
            split: Some(Split::ALL[usize::from(k / 3)]),
            transcript: Some("words".into()),
            binary: vec![k % 2 == 0],
            ..Utterance::default()
        };
        utterance.labels.multimodal = Some(u32::from(k % 2));
        utterance.scores.text = Some(0.1 * f32::from(k));
        let features = ModalityMap {
            text: Some(Frames {
                values: vec![f32::from(k); 6].into(),
                dim: 3,
            }),
            audio: (k % 3 > 0).then(|| Frames {
                values: vec![f32::from(k); usize::from(k)].into(),
                dim: 1,
            }),
            vision: None,
        };
        writer.push(utterance, features).unwrap();
    }
    writer.finish().unwrap()
}

/// Reads everything there is, so that nothing broken stays hidden.
fn exercise(path: &Path) -> Result<(), CorpusError> {
    let corpus = Corpus::open(path)?;
    let _ = check(&corpus, &CheckOptions::default());
    let _ = (corpus.stats(), corpus.fingerprint());
    for idx in 0..corpus.len() {
        for modality in Modality::ALL {
            if let Some(frames) = corpus.frames(idx, modality) {
                assert_eq!(frames.to_vec().len(), frames.time() * frames.dim());
            }
        }
    }
    Ok(())
}

/// Replaces a file and, where asked, also its size and checksum, as a forger would.
fn replace(path: &Path, name: &str, bytes: &[u8], forge: bool) {
    fs::write(path.join(name), bytes).unwrap();
    if forge {
        let toml = path.join(descriptor::FILE);
        let mut descriptor = Descriptor::read(&toml).unwrap();
        let (bytes, sha256) = shard::digest(&path.join(name)).unwrap();
        descriptor
            .files
            .insert(name.to_owned(), descriptor::FileEntry { bytes, sha256 });
        fs::write(toml, descriptor.to_toml().unwrap()).unwrap();
    }
}

/// A sound corpus that all cases copy, since writing flushes to disk.
fn original() -> &'static Path {
    static DIR: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = DIR.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path());
        (dir, path)
    });
    path
}

fn copy() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("c");
    fs::create_dir_all(to.join("features")).unwrap();
    for name in FILES {
        fs::copy(original().join(name), to.join(name)).unwrap();
    }
    (dir, to)
}

const FILES: [&str; 4] = [
    "corpus.toml",
    "utterances.parquet",
    "features/text-00000.safetensors",
    "features/audio-00000.safetensors",
];

#[test]
fn the_files_of_a_corpus_are_those_the_layout_names() {
    let corpus = Corpus::open(original()).unwrap();
    let mut listed: Vec<_> = corpus.descriptor.files.keys().map(String::as_str).collect();
    listed.push("corpus.toml");
    listed.sort_unstable();
    let mut expected = FILES;
    expected.sort_unstable();
    assert_eq!(listed, expected);
}

/// Batches are made by several threads from one corpus.
#[test]
fn threads_may_share_a_corpus() {
    fn shared<T: Send + Sync>(_: &T) {}
    let corpus = Corpus::open(original()).unwrap();
    shared(&corpus);
    shared(&corpus.frames(0, Modality::Text));
}

#[test]
fn reading_much_more_than_the_budget_gives_the_same_values() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = CorpusWriter::create(&dir.path().join("c"), CorpusInfo::default()).unwrap();
    let expected: Vec<f32> = (0..1 << 22).map(|k| k as f32).collect();
    let features = ModalityMap {
        text: Some(Frames {
            values: expected.as_slice().into(),
            dim: 1 << 10,
        }),
        ..ModalityMap::default()
    };
    let utterance = Utterance {
        id: "a".into(),
        ..Utterance::default()
    };
    writer.push(utterance, features).unwrap();
    let corpus = Corpus::open(writer.finish().unwrap()).unwrap();
    let frames = corpus.frames(0, Modality::Text).unwrap();
    // 16 MiB each time: the maps are given back after 16 rounds.
    let mut values = vec![0.0; 1 << 22];
    for _ in 0..40 {
        values.fill(0.0);
        frames.copy_rows(0..1 << 12, &mut values);
        assert!(values == expected);
    }
}

#[test]
fn a_wrong_path_is_told_from_a_wrong_directory() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let error = Corpus::open(&missing).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("there is no directory `{}`", missing.display())
    );
    assert!(error.hint().unwrap().contains("corpus.toml"));
    let error = Corpus::open(dir.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "`{}` is not a corpus: it has no `corpus.toml`",
            dir.path().display()
        )
    );
    fs::write(dir.path().join("manifest.csv"), "id\n").unwrap();
    assert!(
        Corpus::open(dir.path())
            .unwrap_err()
            .hint()
            .unwrap()
            .contains("import")
    );
}

#[test]
fn a_changed_table_is_refused() {
    let (_dir, path) = copy();
    let mut bytes = fs::read(path.join("utterances.parquet")).unwrap();
    bytes[40] ^= 1;
    replace(&path, "utterances.parquet", &bytes, false);
    assert!(matches!(
        Corpus::open(&path),
        Err(CorpusError::Checksum { .. })
    ));
}

#[test]
fn a_table_that_points_outside_a_shard_is_refused() {
    let (_dir, path) = copy();
    // The text shard of the original holds 18 frames; this one holds 17 and is otherwise sound.
    let mut writer =
        shard::ShardWriter::create(path.join("s"), Modality::Text, FeatureDtype::F32, 3).unwrap();
    writer.push(&[0; 17 * 3 * 4]).unwrap();
    writer.finish().unwrap();
    let bytes = fs::read(path.join("s")).unwrap();
    replace(&path, "features/text-00000.safetensors", &bytes, true);
    let error = Corpus::open(&path).unwrap_err().to_string();
    assert!(
        error.contains("`u8` has 2 text frames from 16 in shard 0, which holds 17"),
        "{error}"
    );
}

#[test]
fn a_descriptor_must_not_name_files_outside_the_corpus() {
    let (_dir, path) = copy();
    let text = fs::read_to_string(path.join("corpus.toml")).unwrap();
    let text = text.replace("features/audio-00000", "../audio-00000");
    fs::write(path.join("corpus.toml"), text).unwrap();
    let error = Corpus::open(&path).unwrap_err().to_string();
    assert!(error.contains("not a path inside the corpus"), "{error}");
}

#[test]
fn the_fingerprint_follows_the_data_and_not_the_description() {
    let before = Corpus::open(original()).unwrap().fingerprint();
    let (_dir, path) = copy();
    let toml = path.join("corpus.toml");
    let text = fs::read_to_string(&toml).unwrap();
    fs::write(&toml, text.replace("name = \"test\"", "name = \"renamed\"")).unwrap();
    let corpus = Corpus::open(&path).unwrap();
    assert_eq!(corpus.info().name, "renamed");
    assert_eq!(corpus.fingerprint(), before);
    fs::write(
        &toml,
        text.replace("\"anger\", \"joy\"", "\"joy\", \"anger\""),
    )
    .unwrap();
    assert_ne!(Corpus::open(&path).unwrap().fingerprint(), before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn damage_ends_in_an_error_or_a_corpus(
        file in prop::sample::select(FILES.to_vec()),
        cut in prop::option::of(any::<prop::sample::Index>()),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        forge in any::<bool>(),
    ) {
        let (_dir, path) = copy();
        let mut bytes = fs::read(path.join(file)).unwrap();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        replace(&path, file, &bytes, forge && file != "corpus.toml");
        let _ = exercise(&path);
    }
}
