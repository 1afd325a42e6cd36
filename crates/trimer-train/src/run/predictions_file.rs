//! Predictions as a Parquet table that pandas and polars read as it is.
//!
//! | column | content |
//! |---|---|
//! | `id` | the utterance |
//! | `truth_<head>_<label>`, `pred_<head>_<label>` | yes/no labels: the decision, instead of the two below |
//! | `truth_<head>` | class name or score; null where not labelled |
//! | `pred_<head>` | most likely class, or the score |
//! | `prob_<head>_<class>` | probability of the class, or of yes |

use crate::error::{Result, TrainError};
use crate::predict::Predictions;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use trimer_core::corpus::{Corpus, MAX_UTTERANCES};
use trimer_core::io::write_atomic_with;
use trimer_core::store::columns::{Column, read_columns, write_columns};
use trimer_core::{Head, HeadMap};
use trimer_nn::error::NnError;

/// Writes the table to a sibling file, which then takes the name.
///
/// # Errors
/// When the file cannot be written.
pub fn write(
    path: &Path,
    predictions: &Predictions,
    corpus: &Corpus,
    columns: &HeadMap<Head>,
    classes: &[String],
) -> Result<()> {
    let rows = corpus.utterances();
    let ids = predictions
        .indices
        .iter()
        .map(|&i| Some(rows[i].id.as_str()));
    let mut table = vec![("id".to_owned(), Column::text(ids))];
    for head in predictions.heads() {
        let column = *columns.get(head);
        let Some(outputs) = predictions.outputs.get(head) else {
            continue;
        };
        let name_of = |class: u32| classes.get(class as usize).map(String::as_str);
        if classes.is_empty() {
            let truth = predictions
                .indices
                .iter()
                .map(|&i| *rows[i].scores.get(column))
                .collect();
            table.push((format!("truth_{head}"), Column::Float(truth)));
            table.push((
                format!("pred_{head}"),
                Column::Double(outputs.iter().copied().map(Some).collect()),
            ));
            continue;
        }
        let probability = |k: usize| outputs.iter().skip(k).step_by(classes.len()).copied();
        if is_binary(corpus, classes) {
            for (k, label) in classes.iter().enumerate() {
                let truth = predictions.indices.iter();
                let truth = truth.map(|&i| rows[i].binary.get(k).copied()).collect();
                let pred = probability(k).map(|p| Some(p > 0.5)).collect();
                table.push((format!("truth_{head}_{label}"), Column::Bool(truth)));
                table.push((format!("pred_{head}_{label}"), Column::Bool(pred)));
                let probs = probability(k).map(Some).collect();
                table.push((format!("prob_{head}_{label}"), Column::Double(probs)));
            }
            continue;
        }
        let truth = predictions
            .indices
            .iter()
            .map(|&i| rows[i].labels.get(column).and_then(name_of));
        table.push((format!("truth_{head}"), Column::text(truth)));
        let pred = predictions
            .classes(head)
            .unwrap_or_default()
            .into_iter()
            .map(name_of);
        table.push((format!("pred_{head}"), Column::text(pred)));
        for (k, class) in classes.iter().enumerate() {
            let probs = probability(k).map(Some).collect();
            table.push((format!("prob_{head}_{class}"), Column::Double(probs)));
        }
    }
    Ok(write_atomic_with(path, |file| {
        write_columns(file, "predictions", &table).map_err(std::io::Error::other)
    })?)
}

/// Whether the predicted names are the corpus's yes/no labels.
fn is_binary(corpus: &Corpus, names: &[String]) -> bool {
    let space = &corpus.info().label_space;
    space.binary == names && space.classes != names
}

/// Reads what [`write()`] wrote about the same corpus.
///
/// # Errors
/// When the file cannot be read, or names an utterance that the corpus does not have.
pub fn read(path: &Path, corpus: &Corpus, classes: &[String]) -> Result<Predictions> {
    let bad = |reason: String| TrainError::Run {
        path: path.to_owned(),
        reason,
        hint: "delete the file; it is computed again when it is needed".into(),
    };
    let file = File::open(path).map_err(NnError::io("open", path))?;
    let (_, table) = read_columns(file, MAX_UTTERANCES).map_err(bad)?;
    let table: BTreeMap<String, Column> = table.into_iter().collect();
    let row_of: BTreeMap<&str, usize> = corpus
        .utterances()
        .iter()
        .enumerate()
        .map(|(i, u)| (u.id.as_str(), i))
        .collect();
    let ids = table
        .get("id")
        .ok_or_else(|| bad("it has no column `id`".into()))?;
    let mut indices = vec![usize::MAX; ids.len()];
    ids.each_text("id", &mut indices, |index, id| {
        *index = *row_of
            .get(id)
            .ok_or_else(|| format!("the corpus has no utterance `{id}`"))?;
        Ok(())
    })
    .map_err(bad)?;
    let doubles = |name: &str| match table.get(name) {
        Some(Column::Double(v)) => {
            Some(v.iter().map(|v| v.unwrap_or(f64::NAN)).collect::<Vec<_>>())
        }
        _ => None,
    };
    let outputs = HeadMap::from_fn(|head| {
        if classes.is_empty() {
            return doubles(&format!("pred_{head}"));
        }
        let columns: Option<Vec<_>> = classes
            .iter()
            .map(|c| doubles(&format!("prob_{head}_{c}")))
            .collect();
        let columns = columns?;
        Some(
            (0..indices.len())
                .flat_map(|i| columns.iter().map(move |c| c[i]))
                .collect(),
        )
    });
    Ok(Predictions {
        indices,
        outputs,
        n_outputs: classes.len().max(1),
    })
}
