//! The released features of CHERMA.
//!
//! ```text
//! CHERMA0723/
//!   train.json dev.json test.json     lists of objects
//!   text/<split>/<name>.npy           [time, feature]
//!   audio/<split>/<name>.npy          [time, feature]
//!   visual/<split>/<name>.mp4.npy     [time, feature]
//! ```
//!
//! An object has `audio_file` (`<name>.wav`), `txt_label`, `audio_label`, `visual_label`,
//! `video_label` (seen with everything: the multimodal label), and sometimes `text`. Labels are
//! Chinese words. All frames are kept; a model that wants fewer cuts them itself.

use super::{
    ImportError, ImportOptions, ImportSummary, Importer, ImporterInfo, Refusal, SplitCounts,
    resolve_non_finite,
};
use crate::{
    HeadMap, Hint, LabelSpace, Modality, ModalityMap,
    corpus::{CorpusInfo, CorpusWriter, Frames, Split, Utterance},
    store::{ByteView, npy},
};
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Reads the released features of CHERMA.
#[derive(Debug, Clone, Copy)]
pub struct Cherma;

/// Classes in the order of the release, each with its word.
const CLASSES: [(&str, &str); 7] = [
    ("anger", "愤怒"),
    ("disgust", "厌恶"),
    ("fear", "恐惧"),
    ("happy", "高兴"),
    ("neutral", "平静"),
    ("sad", "悲伤"),
    ("surprise", "惊奇"),
];

/// The folder in the released archive.
const ROOT: &str = "CHERMA0723";
/// Largest index file; the released ones have some megabytes.
const MAX_INDEX: u64 = 1 << 30;

const CITATION: &str = "Sun et al. 2023, Layer-wise Fusion with Modality Independence Modeling for Multi-modal Emotion Recognition, ACL";

impl Importer for Cherma {
    fn info(&self) -> &ImporterInfo {
        &ImporterInfo {
            id: "cherma",
            title: "CHERMA, released features",
            citation: CITATION,
            licence: "research use; ask the authors for the data",
            source: "the directory `CHERMA0723`, or the one that holds it: `train.json`, `dev.json`, `test.json`, `text/`, `audio/`, `visual/`",
        }
    }

    fn import(
        &self,
        options: &ImportOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<ImportSummary, ImportError> {
        let root = find_root(&options.source)?;
        let mut warnings = Vec::new();
        let samples = read_indices(&root, options, &mut warnings)?;
        let info = CorpusInfo {
            name: options.corpus_name("cherma"),
            citation: CITATION.to_owned(),
            label_space: LabelSpace::of_classes(CLASSES.map(|(class, _)| class)),
            dtype: options.dtype.unwrap_or_default(),
            ..CorpusInfo::default()
        };
        let mut writer = CorpusWriter::create(&options.out, info)?;
        let mut splits = SplitCounts::default();
        let mut replaced = 0;
        let total = samples.len() as u64;
        for sample in samples {
            let frames = ModalityMap::try_from_fn(|modality| {
                let (frames, count) = read_frames(&root, &sample, modality, options)?;
                replaced += count;
                Ok::<_, ImportError>(Some(frames))
            })?;
            splits.add(Some(sample.split));
            writer.push(sample.into_utterance(), frames)?;
            progress(writer.len() as u64, total);
        }
        if replaced > 0 {
            warnings.push(format!(
                "{replaced} values that were NaN or infinite became 0"
            ));
        }
        let utterances = writer.len();
        Ok(ImportSummary {
            path: writer.finish()?,
            utterances,
            splits,
            warnings,
        })
    }
}

/// The name of a split in files of the release.
const fn stage(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Valid => "dev",
        Split::Test => "test",
    }
}

/// The directory that holds the index files.
fn find_root(source: &Path) -> Result<PathBuf, ImportError> {
    let inner = source.join(ROOT);
    let holds_index = |dir: &Path| {
        Split::ALL
            .iter()
            .any(|split| dir.join(format!("{}.json", stage(*split))).is_file())
    };
    if holds_index(source) {
        Ok(source.to_owned())
    } else if holds_index(&inner) {
        Ok(inner)
    } else if source.is_dir() {
        Err(ImportError::Missing {
            path: source.join("train.json"),
            expected: format!("an index of CHERMA here or in `{ROOT}`"),
        })
    } else if source.exists() {
        Err(Refusal::new(
            source,
            "not a directory; expected the directory that holds `train.json`, `dev.json` and `test.json`",
        )
        .into())
    } else {
        Err(ImportError::Missing {
            path: source.to_owned(),
            expected: format!("the directory `{ROOT}`"),
        })
    }
}

/// One object of an index.
struct Sample {
    split: Split,
    name: String,
    labels: HeadMap<Option<u32>>,
    transcript: Option<String>,
}

impl Sample {
    fn into_utterance(self) -> Utterance {
        Utterance {
            id: self.name,
            split: Some(self.split),
            transcript: self.transcript,
            labels: self.labels,
            ..Utterance::default()
        }
    }
}

fn read_indices(
    root: &Path,
    options: &ImportOptions,
    warnings: &mut Vec<String>,
) -> Result<Vec<Sample>, ImportError> {
    let mut samples = Vec::new();
    let mut first: BTreeMap<String, Split> = BTreeMap::new();
    for split in Split::ALL {
        let path = root.join(format!("{}.json", stage(split)));
        if !path.exists() {
            warnings.push(format!(
                "`{}` does not exist, so split `{split}` has no utterances",
                path.display()
            ));
            continue;
        }
        let objects = read_list(&path)?;
        if objects.is_empty() {
            return Err(Refusal::new(&path, "the list has no objects").into());
        }
        if samples.len() + objects.len() > options.limits.max_utterances {
            return Err(Refusal::new(
                &path,
                format!("more than {} utterances", options.limits.max_utterances),
            )
            .into());
        }
        for (place, object) in objects.iter().enumerate() {
            let object = Object {
                path: &path,
                place,
                fields: object.as_object().ok_or_else(|| {
                    Refusal::new(&path, "expected an object").key(format!("[{place}]"))
                })?,
            };
            let sample = object.sample(split)?;
            if let Some(other) = first.insert(sample.name.clone(), split) {
                let message = format!("the name is already in split `{other}`");
                return Err(object.refuse("audio_file", message).id(sample.name).into());
            }
            samples.push(sample);
        }
    }
    Ok(samples)
}

fn read_list(path: &Path) -> Result<Vec<Value>, ImportError> {
    let bytes = ByteView::open(path).map_err(|source| ImportError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    if bytes.len() as u64 > MAX_INDEX {
        return Err(Refusal::new(
            path,
            format!("{} bytes, at most {MAX_INDEX} are accepted", bytes.len()),
        )
        .into());
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|e| Refusal::new(path, "not UTF-8").offset(e.valid_up_to() as u64))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match serde_json::from_str(text) {
        Ok(Value::Array(list)) => Ok(list),
        Ok(other) => {
            let found = match other {
                Value::Object(_) => "an object",
                Value::String(_) => "a string",
                Value::Number(_) => "a number",
                Value::Bool(_) => "a boolean",
                Value::Null | Value::Array(_) => "null",
            };
            Err(
                Refusal::new(path, format!("expected a list of objects, found {found}"))
                    .offset(0)
                    .into(),
            )
        }
        Err(e) => Err(Refusal::new(path, "not JSON")
            .row(e.line() as u64)
            .source(e)
            .into()),
    }
}

/// An object with its place in a file.
struct Object<'a> {
    path: &'a Path,
    place: usize,
    fields: &'a Map<String, Value>,
}

impl Object<'_> {
    fn refuse(&self, key: &str, message: impl Into<String>) -> Refusal {
        let refusal = Refusal::new(self.path, message).key(format!("[{}].{key}", self.place));
        match self.fields.get("audio_file").and_then(Value::as_str) {
            Some(file) => refusal.id(file.chars().take(80).collect::<String>()),
            None => refusal,
        }
    }

    fn text(&self, key: &str) -> Result<&str, ImportError> {
        match self.fields.get(key) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(self.refuse(key, "expected a string").into()),
            None => Err(self.refuse(key, "the key is missing").into()),
        }
    }

    fn label(&self, key: &str) -> Result<u32, ImportError> {
        let word = self.text(key)?;
        (0..)
            .zip(CLASSES)
            .find(|(_, (_, known))| *known == word)
            .map(|(index, _)| index)
            .ok_or_else(|| {
                let shown: String = word.chars().take(40).collect();
                let known = CLASSES.map(|(_, word)| word).join("`, `");
                self.refuse(
                    key,
                    format!("`{shown}` is no label; expected one of `{known}`"),
                )
                .into()
            })
    }

    fn sample(&self, split: Split) -> Result<Sample, ImportError> {
        let file = self.text("audio_file")?;
        let name = file.strip_suffix(".wav").unwrap_or(file);
        if !is_file_name(name) {
            return Err(self
                .refuse(
                    "audio_file",
                    "the name must be that of a file, without directories",
                )
                .into());
        }
        Ok(Sample {
            split,
            name: name.to_owned(),
            labels: HeadMap {
                text: Some(self.label("txt_label")?),
                audio: Some(self.label("audio_label")?),
                vision: Some(self.label("visual_label")?),
                multimodal: Some(self.label("video_label")?),
            },
            transcript: match self.fields.get("text") {
                None | Some(Value::Null) => None,
                Some(_) => Some(self.text("text")?.to_owned()),
            },
        })
    }
}

/// Whether a name stays in the directory it is joined to, on any system.
fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 200
        && name != "."
        && name != ".."
        && !name
            .chars()
            .any(|c| matches!(c, '/' | '\\' | ':') || c.is_control())
}

fn read_frames(
    root: &Path,
    sample: &Sample,
    modality: Modality,
    options: &ImportOptions,
) -> Result<(Frames<'static>, u64), ImportError> {
    let stage = stage(sample.split);
    let name = &sample.name;
    let path = root.join(match modality {
        Modality::Text => format!("text/{stage}/{name}.npy"),
        Modality::Audio => format!("audio/{stage}/{name}.npy"),
        Modality::Vision => format!("visual/{stage}/{name}.mp4.npy"),
    });
    let refuse = |message: String| Refusal::new(&path, message).id(name);
    let bytes = match ByteView::open(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(refuse(format!("the {modality} features are missing")).into());
        }
        Err(source) => {
            return Err(ImportError::Io {
                action: "read",
                path,
                source,
            });
        }
    };
    if bytes.len() as u64 > options.limits.max_file_bytes {
        return Err(refuse(format!(
            "{} bytes, at most {} are accepted",
            bytes.len(),
            options.limits.max_file_bytes
        ))
        .into());
    }
    let array = npy::parse_view(bytes).map_err(|e| {
        let refusal = refuse(e.to_string());
        match e.hint() {
            Some(hint) => refusal.hint(hint),
            None => refusal,
        }
    })?;
    let &[time, dim] = array.shape() else {
        return Err(refuse(format!(
            "expected an array [time, feature], found shape {:?}",
            array.shape()
        ))
        .into());
    };
    if time == 0 || dim == 0 || time > options.limits.max_frames || dim > options.limits.max_dim {
        return Err(refuse(format!(
            "shape [{time}, {dim}]; expected 1 to {} frames of 1 to {} features",
            options.limits.max_frames, options.limits.max_dim
        ))
        .into());
    }
    let mut values = array.to_f32();
    let replaced = resolve_non_finite(options.non_finite, &mut values, dim, &path, name, modality)?;
    Ok((
        Frames {
            values: values.into(),
            dim,
        },
        replaced,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Head;
    use proptest::prelude::*;

    fn sample(json: &str) -> Result<Sample, ImportError> {
        let value: Value = serde_json::from_str(json).unwrap();
        Object {
            path: Path::new("train.json"),
            place: 3,
            fields: value.as_object().unwrap(),
        }
        .sample(Split::Train)
    }

    const GOOD: &str = r#"{"audio_file": "a.wav", "txt_label": "愤怒", "audio_label": "厌恶",
        "visual_label": "\u6050\u60e7", "video_label": "惊奇", "text": "好"}"#;

    #[test]
    fn the_multimodal_label_is_that_of_the_video() {
        let sample = sample(GOOD).unwrap();
        assert_eq!(sample.name, "a");
        assert_eq!(
            [Head::Text, Head::Audio, Head::Vision, Head::Multimodal]
                .map(|head| *sample.labels.get(head)),
            [Some(0), Some(1), Some(2), Some(6)]
        );
        assert_eq!(sample.transcript.as_deref(), Some("好"));
    }

    #[test]
    fn refusals_name_file_place_and_key() {
        for (from, to, key) in [
            ("愤怒", "快乐", "[3].txt_label"),
            ("video_label", "other", "[3].video_label"),
            ("\"好\"", "7", "[3].text"),
            ("a.wav", "../a.wav", "[3].audio_file"),
        ] {
            let message = sample(&GOOD.replace(from, to)).err().unwrap().to_string();
            assert!(
                message.contains("train.json") && message.contains(key),
                "{message}"
            );
        }
    }

    #[test]
    fn names_stay_in_their_directory() {
        for name in ["a", "a.b", "..a", "女_1"] {
            assert!(is_file_name(name), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "../a",
            "a\\b",
            "c:a",
            "a\0",
            "/etc/passwd",
        ] {
            assert!(!is_file_name(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_indices_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("train.json");
            std::fs::write(&path, bytes).unwrap();
            let options = ImportOptions::new(dir.path(), dir.path().join("out"));
            prop_assert!(Cherma.import(&options, &mut |_, _| ()).is_err());
        }
    }
}
