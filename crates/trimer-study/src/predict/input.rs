//! What is answered about: utterances of a corpus by id, or the features of one utterance.

use crate::error::{Result, StudyError};
use std::path::Path;
use trimer_core::corpus::{Corpus, Frames, Split, Utterance};
use trimer_core::error::nearest;
use trimer_core::import::{NonFinite, resolve_non_finite};
use trimer_core::store::npy;
use trimer_core::{Modality, ModalityMap};
use trimer_train::RunDir;

/// Rows of the utterances with these ids, in their order.
///
/// # Errors
/// Names the id that no utterance has, with the nearest that one has.
pub fn rows_of_ids(corpus: &Corpus, ids: &[String]) -> Result<Vec<usize>> {
    let utterances = corpus.utterances();
    let find = |id: &String| {
        let found = utterances.iter().position(|u| u.id == *id);
        found.ok_or_else(|| {
            let near = nearest(id, utterances.iter().map(|u| u.id.as_str()));
            let hint = near.map_or_else(
                || "ids are in `utterances.parquet`".to_owned(),
                |n| format!("did you mean `{n}`?"),
            );
            StudyError::refused(format!("the corpus has no utterance `{id}`"), hint)
        })
    };
    ids.iter().map(find).collect()
}

/// A corpus of one utterance, which never touches the disk, from NumPy files of its features:
/// `[time, feature]` or `[feature]`.
///
/// # Errors
/// When a file cannot be read, holds values that are not finite, or is not as wide as the run reads.
pub fn corpus_of_features<P: AsRef<Path>>(run: &RunDir, files: &[(Modality, P)]) -> Result<Corpus> {
    let mut arrays: ModalityMap<Option<(Vec<f32>, usize)>> = ModalityMap::default();
    for (modality, file) in files {
        *arrays.get_mut(*modality) = Some(read_features(file.as_ref(), *modality)?);
    }
    for (modality, wanted) in run.config.input.dims.iter() {
        if let (Some(w), Some((_, dim))) = (wanted, arrays.get(modality))
            && w != dim
        {
            return Err(StudyError::refused(
                format!("the model reads {modality} features {w} wide, the file has {dim}"),
                "use features from the same extractor that the model was trained on",
            ));
        }
    }
    let utterance = Utterance {
        id: "utterance".into(),
        split: Some(Split::Test),
        ..Utterance::default()
    };
    let frames = arrays.map(|_, array| {
        array.map(|(values, dim)| Frames {
            values: values.into(),
            dim,
        })
    });
    Ok(Corpus::of_one(utterance, frames)?)
}

/// Values, row-major `[time, feature]`, and their width.
fn read_features(file: &Path, modality: Modality) -> Result<(Vec<f32>, usize)> {
    let array = npy::read(file)?;
    let dim = match *array.shape() {
        [dim] | [_, dim] if !array.is_empty() => dim,
        ref other => {
            return Err(StudyError::refused(
                format!("`{}` has the shape {other:?}", file.display()),
                "expected [time, feature] or [feature], with one value at least",
            ));
        }
    };
    let mut values = array.to_f32();
    resolve_non_finite(
        NonFinite::Refuse,
        &mut values,
        dim,
        file,
        "utterance",
        modality,
    )?;
    Ok((values, dim))
}
