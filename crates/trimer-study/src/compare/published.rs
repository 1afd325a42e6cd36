//! Numbers of the literature, shown with ours where corpus and protocol are the same.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use trimer_core::ModalityMap;
use trimer_core::corpus::{Corpus, Split};
use trimer_train::RunConfig;

/// The table; every entry names its source.
const TABLE: &str = include_str!("published.toml");

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    protocol: Vec<Protocol>,
}

/// A corpus with a split and a task, and what was reported on it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Protocol {
    /// Names that the corpus goes by, in lower case.
    corpus: Vec<String>,
    /// `classification` or `regression`.
    task: String,
    /// Utterances of train, valid and test.
    #[serde(default)]
    splits: Option<[usize; 3]>,
    /// Utterances in all, where the source does not tell the splits.
    #[serde(default)]
    utterances: Option<usize>,
    /// Widths of the features, where other features are another experiment.
    #[serde(default)]
    dims: Option<Dims>,
    result: Vec<Published>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dims {
    text: usize,
    audio: usize,
    vision: usize,
}

/// One published result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Name in the source.
    pub name: String,
    /// Where it stands.
    pub source: String,
    /// Values under our names of the metrics.
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
    /// F1 per class, where the source has it, under the source's names of the classes.
    #[serde(default)]
    pub f1: BTreeMap<String, f64>,
}

/// What was published about the corpus and task of a run.
pub(super) fn matching(corpus: &Corpus, cfg: &RunConfig) -> Vec<Published> {
    let Ok(file) = toml::from_str::<File>(TABLE) else {
        return Vec::new();
    };
    let fits = |p: &Protocol| {
        let task = cfg.task.kind().as_str();
        let splits = Split::ALL.map(|split| corpus.indices(split).len());
        p.task == task
            && p.corpus.contains(&corpus.info().name.to_lowercase())
            && p.splits.is_none_or(|s| s == splits)
            && p.utterances.is_none_or(|n| n == corpus.len())
            && p.dims.as_ref().is_none_or(|d| dims_are(d, &cfg.input.dims))
    };
    let protocols = file.protocol.into_iter().filter(fits);
    protocols.flat_map(|p| p.result).collect()
}

fn dims_are(wanted: &Dims, found: &ModalityMap<Option<usize>>) -> bool {
    let wanted = [wanted.text, wanted.audio, wanted.vision];
    [found.text, found.audio, found.vision] == wanted.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimer_core::metrics::metric_info;

    #[test]
    fn every_published_number_has_a_source_and_a_metric_of_ours() {
        let file: File = toml::from_str(TABLE).unwrap();
        assert!(!file.protocol.is_empty());
        for protocol in &file.protocol {
            assert!(protocol.splits.is_some() || protocol.utterances.is_some());
            for row in &protocol.result {
                assert!(row.source.contains('['), "{}: {}", row.name, row.source);
                for (id, value) in row.metrics.iter().chain(&row.f1) {
                    assert!((0.0..=1.5).contains(value), "{} {id}: {value}", row.name);
                }
                for id in row.metrics.keys() {
                    assert!(metric_info(id).is_some(), "{}: {id}", row.name);
                }
            }
        }
    }
}
