//! A corpus handed on as plain files.

use super::{
    Corpus, CorpusError, Descriptor, descriptor, file_stem, label_column, partial::PartialDir,
    score_column,
};
use crate::{
    Head, Modality,
    store::npy::{self, NpyError},
};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

/// Writes `manifest.csv`, `corpus.toml` and `<modality>/<id>.npy`, which the `folder` importer reads
/// back into the same corpus (values become `f32`). Returns `out`.
///
/// Files are named by [`file_stem`], which escapes what file names cannot have. A text cell that
/// holds nothing but spaces comes back as absent.
///
/// # Errors
/// [`CorpusError::FileName`] for an id that makes no file name or the same one as another id on this
/// file system, [`CorpusError::Exists`], [`CorpusError::Io`].
pub fn export_folder(
    corpus: &Corpus,
    out: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<PathBuf, CorpusError> {
    let partial = PartialDir::create(out)?;
    let root = partial.path();
    for (modality, dim) in corpus.dims().iter() {
        if dim.is_some() {
            let dir = root.join(modality.as_str());
            fs::create_dir(&dir).map_err(|e| CorpusError::io("create", &dir, e))?;
        }
    }
    let total = corpus.len() as u64;
    for (idx, utterance) in corpus.utterances().iter().enumerate() {
        for modality in Modality::ALL {
            let Some(frames) = corpus.frames(idx, modality) else {
                continue;
            };
            let name = format!("{}.npy", file_stem(&utterance.id)?);
            let path = root.join(modality.as_str()).join(name);
            if path.exists() {
                return Err(CorpusError::FileName {
                    id: utterance.id.clone(),
                    reason: "this file system takes it for the name of another utterance",
                });
            }
            npy::write_f32(&path, &[frames.time(), frames.dim()], &frames.to_vec())
                .map_err(|e| CorpusError::io("write", &path, cause_of(e)))?;
        }
        progress(idx as u64 + 1, total);
    }
    write_file(&root.join("manifest.csv"), &manifest(corpus)?)?;
    let mut about = Descriptor::new(corpus.info(), &corpus.dims());
    about.format = None;
    about.ceiling = corpus.ceiling().cloned();
    let path = root.join(descriptor::FILE);
    let text = about.to_toml().map_err(|e| CorpusError::Descriptor {
        path: path.clone(),
        message: e.to_string(),
    })?;
    write_file(&path, text.as_bytes())?;
    partial.publish()
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), CorpusError> {
    fs::File::create_new(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(|e| CorpusError::io("write", path, e))
}

fn manifest(corpus: &Corpus) -> Result<Vec<u8>, CorpusError> {
    let space = &corpus.info().label_space;
    let mut columns: Vec<String> = [
        "id",
        "split",
        "conversation",
        "turn",
        "speaker",
        "transcript",
    ]
    .map(str::to_owned)
    .to_vec();
    if !space.classes.is_empty() {
        columns.extend(Head::ALL.map(|h| label_column(h).to_owned()));
    }
    if space.score.is_some() {
        columns.extend(Head::ALL.map(|h| score_column(h).to_owned()));
    }
    columns.extend(space.binary.iter().map(|name| format!("binary_{name}")));

    let mut writer = csv::Writer::from_writer(Vec::new());
    let fail = |e: csv::Error| CorpusError::io("write", "manifest.csv", std::io::Error::other(e));
    writer.write_record(&columns).map_err(fail)?;
    for utterance in corpus.utterances() {
        let mut cells = vec![
            utterance.id.clone(),
            utterance.split.map(|s| s.to_string()).unwrap_or_default(),
            utterance.conversation.clone().unwrap_or_default(),
            utterance.turn.map(|t| t.to_string()).unwrap_or_default(),
            utterance.speaker.clone().unwrap_or_default(),
            utterance.transcript.clone().unwrap_or_default(),
        ];
        if !space.classes.is_empty() {
            cells.extend(Head::ALL.map(|head| {
                let label = *utterance.labels.get(head);
                let name = label.and_then(|index| space.class_name(index));
                name.unwrap_or_default().to_owned()
            }));
        }
        if space.score.is_some() {
            // The shortest decimal that reads back to the same number.
            cells.extend(Head::ALL.map(|head| {
                let score = *utterance.scores.get(head);
                score.map(|s| s.to_string()).unwrap_or_default()
            }));
        }
        cells.extend(
            (0..space.binary.len()).map(|k| match utterance.binary.get(k) {
                Some(true) => "1".to_owned(),
                Some(false) => "0".to_owned(),
                None => String::new(),
            }),
        );
        writer.write_record(&cells).map_err(fail)?;
    }
    writer
        .into_inner()
        .map_err(|e| CorpusError::io("write", "manifest.csv", e.into_error()))
}

/// What the system said, without the file's name, which the caller tells.
fn cause_of(error: NpyError) -> std::io::Error {
    match error {
        NpyError::InFile { fault, .. } => cause_of(*fault),
        NpyError::Io(error) => error,
        other => std::io::Error::other(other),
    }
}
