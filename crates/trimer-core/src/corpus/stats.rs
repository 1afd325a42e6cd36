//! What is in a corpus, in numbers.

use super::SplitCounts;
use super::{Corpus, FeatureDtype};
use crate::{Head, Modality};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Counts of a corpus; reads the table, never the features.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CorpusStats {
    /// Name of the corpus.
    pub name: String,
    /// Number of utterances.
    pub utterances: usize,
    /// Utterances per split.
    pub splits: SplitCounts,
    /// Number of different speakers.
    pub speakers: usize,
    /// Number of different conversations.
    pub conversations: usize,
    /// Utterances that have a transcript.
    pub transcripts: usize,
    /// How feature values are stored.
    pub dtype: FeatureDtype,
    /// The modalities that the corpus has.
    pub modalities: BTreeMap<Modality, ModalityStats>,
    /// Per label column and class the utterances per split, for columns that have labels.
    pub classes: BTreeMap<Head, Vec<ClassCount>>,
    /// Per score column its quartiles, for columns that have scores.
    pub scores: BTreeMap<Head, Quantiles<f32>>,
    /// Per yes/no label how often it is yes and how often no.
    pub binary: BTreeMap<String, [usize; 2]>,
}

/// Counts of one modality.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModalityStats {
    /// Width of a frame.
    pub dim: usize,
    /// Utterances that have the modality.
    pub utterances: usize,
    /// All frames together.
    pub frames: u64,
    /// Frames per utterance, of those that have the modality.
    pub lengths: Quantiles<usize>,
}

/// How often a class occurs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// Name of the class.
    pub class: String,
    /// In each split.
    #[serde(flatten)]
    pub splits: SplitCounts,
}

/// Five numbers that describe a distribution; each is one of its values (the nearest rank).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Quantiles<T> {
    /// The smallest value.
    pub min: T,
    /// A quarter of the values are at most this.
    pub lower_quartile: T,
    /// Half of the values are at most this.
    pub median: T,
    /// Three quarters of the values are at most this.
    pub upper_quartile: T,
    /// The largest value.
    pub max: T,
}

impl<T: Copy> Quantiles<T> {
    /// `None` when there are no values; they need not be sorted.
    pub fn of(mut values: Vec<T>, compare: impl Fn(&T, &T) -> std::cmp::Ordering) -> Option<Self> {
        values.sort_unstable_by(compare);
        let (min, max) = (*values.first()?, *values.last()?);
        // Nearest rank: the smallest value with at least k/4 of all values at or below it.
        let at = |k: usize| values[(k * values.len()).div_ceil(4).max(1) - 1];
        Some(Self {
            min,
            lower_quartile: at(1),
            median: at(2),
            upper_quartile: at(3),
            max,
        })
    }
}

impl Corpus {
    /// Counts what is there.
    pub fn stats(&self) -> CorpusStats {
        let space = &self.info().label_space;
        let utterances = self.utterances();
        let different = |f: fn(&super::Utterance) -> Option<&str>| {
            utterances
                .iter()
                .filter_map(f)
                .collect::<BTreeSet<_>>()
                .len()
        };
        let modalities = self.dims().map(|modality, dim| {
            let lengths: Vec<usize> = (0..self.len())
                .filter_map(|i| self.frames(i, modality).map(|f| f.time()))
                .collect();
            Some(ModalityStats {
                dim: dim?,
                utterances: lengths.len(),
                frames: lengths.iter().map(|n| *n as u64).sum(),
                lengths: Quantiles::of(lengths, Ord::cmp)?,
            })
        });
        CorpusStats {
            name: self.info().name.clone(),
            utterances: self.len(),
            splits: SplitCounts::of(utterances),
            speakers: different(|u| u.speaker.as_deref()),
            conversations: different(|u| u.conversation.as_deref()),
            transcripts: utterances.iter().filter(|u| u.transcript.is_some()).count(),
            dtype: self.info().dtype,
            modalities: Modality::ALL
                .into_iter()
                .filter_map(|m| Some((m, modalities.get(m).clone()?)))
                .collect(),
            classes: self.class_counts(),
            scores: Head::ALL
                .into_iter()
                .filter_map(|head| {
                    let scores = utterances
                        .iter()
                        .filter_map(|u| *u.scores.get(head))
                        .collect();
                    Some((head, Quantiles::of(scores, f32::total_cmp)?))
                })
                .collect(),
            binary: space
                .binary
                .iter()
                .enumerate()
                .map(|(k, name)| {
                    let count = |yes| {
                        utterances
                            .iter()
                            .filter(|u| u.binary.get(k) == Some(&yes))
                            .count()
                    };
                    (name.clone(), [count(true), count(false)])
                })
                .collect(),
        }
    }

    /// Per label column that has labels, and class, the utterances per split.
    pub(super) fn class_counts(&self) -> BTreeMap<Head, Vec<ClassCount>> {
        let classes = &self.info().label_space.classes;
        let mut columns = BTreeMap::new();
        for head in Head::ALL {
            let mut counts: Vec<ClassCount> = classes
                .iter()
                .map(|class| ClassCount {
                    class: class.clone(),
                    splits: SplitCounts::default(),
                })
                .collect();
            let mut any = false;
            for utterance in self.utterances() {
                let label = *utterance.labels.get(head);
                if let Some(count) = label.and_then(|k| counts.get_mut(k as usize)) {
                    count.splits.add(utterance.split);
                    any = true;
                }
            }
            if any {
                columns.insert(head, counts);
            }
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::synth;

    #[test]
    fn quartiles_are_values_at_the_nearest_rank() {
        // Of 1..=10 at least 2.5, 5 and 7.5 values must lie at or below: ranks 3, 5 and 8.
        let q = Quantiles::of((1..=10).rev().collect(), Ord::cmp).unwrap();
        let found = [q.min, q.lower_quartile, q.median, q.upper_quartile, q.max];
        assert_eq!(found, [1, 3, 5, 8, 10]);
        assert_eq!(Quantiles::of(vec![7], Ord::cmp).unwrap().median, 7);
        assert_eq!(Quantiles::<u8>::of(Vec::new(), Ord::cmp), None);
    }

    #[test]
    fn counts_add_up() {
        let dir = tempfile::tempdir().unwrap();
        let spec = synth::SynthSpec::preset("small").unwrap();
        let path = synth::write(&spec, &dir.path().join("c"), &mut |_, _| {}).unwrap();
        let stats = Corpus::open(path).unwrap().stats();
        assert_eq!((stats.utterances, stats.speakers), (750, 40));
        assert_eq!(stats.modalities[&Modality::Text].lengths.max, 12);
        assert_eq!(stats.modalities[&Modality::Text].frames, 750 * 12);
        for head in Head::ALL {
            let sum: usize = stats.classes[&head].iter().map(|c| c.splits.train).sum();
            assert_eq!(sum, stats.splits.train);
        }
        let json = serde_json::to_value(&stats).unwrap();
        assert_eq!(json["modalities"]["audio"]["dim"], 16);
        assert!(json["classes"]["multimodal"][0]["train"].is_u64());
    }
}
