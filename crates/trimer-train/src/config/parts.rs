//! Which utterances of a corpus a run learns from, and which it selects on.
//!
//! | `data.fit_on` | `data.valid_from_train` | parameters | selection |
//! |---|---|---|---|
//! | `train` | 0 | train | valid |
//! | `train` | 0.1 | nine tenths of train | the rest of train; valid stays unseen |
//! | `train+valid` | 0 | train and valid | none: the last epoch is kept |
//! | `train+valid` | 0.1 | nine tenths of both | the rest of both |
//!
//! What is held out are whole conversations, so that no utterance of one that is learned selects.

use super::schema::{DataConfig, Select, TrainConfig};
use crate::data::labelled_rows_of_any;
use crate::data::shuffled;
use crate::error::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use trimer_core::corpus::{Corpus, Split};
use trimer_nn::config::check_range;
use trimer_nn::error::NnError;
use trimer_nn::models::Task;

/// The splits that parameters and normalisation are fitted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum FitOn {
    /// The train split.
    #[default]
    #[serde(rename = "train")]
    Train,
    /// Train and valid: for a last training with settings that were found before.
    #[serde(rename = "train+valid")]
    TrainAndValid,
}

impl FitOn {
    /// The splits.
    pub const fn splits(self) -> &'static [Split] {
        match self {
            Self::Train => &[Split::Train],
            Self::TrainAndValid => &[Split::Train, Split::Valid],
        }
    }

    /// As it is written in recipes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::TrainAndValid => "train+valid",
        }
    }
}

/// Row numbers of the splits that training may see.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// Parameters are fitted on them.
    pub train: Vec<usize>,
    /// Choices are made on them.
    pub valid: Vec<usize>,
    /// Empty, unless the run was told to select on test.
    pub test: Vec<usize>,
}

/// Refuses values outside their range.
pub(crate) fn check(data: &DataConfig) -> Result<()> {
    Ok(check_range(
        "data.valid_from_train",
        data.valid_from_train,
        0.0,
        0.9,
    )?)
}

/// Refuses parts that leave nothing to select on.
pub(crate) fn check_selection(
    data: &DataConfig,
    train: &TrainConfig,
    corpus: &Corpus,
) -> Result<()> {
    if train.select == Select::Last || data.valid_from_train > 0.0 {
        return Ok(());
    }
    if data.fit_on == FitOn::TrainAndValid {
        return Err(NnError::ConfigRange {
            key: "data.fit_on".into(),
            value: format!("\"{}\"", data.fit_on.name()),
            expected: "`train` as long as valid selects; keep the last epoch with `train.select=last`, or hold out a part with `data.valid_from_train=0.1`".into(),
        }.into());
    }
    if corpus.indices(Split::Valid).is_empty() {
        return Err(NnError::Corpus {
            reason: format!("the corpus `{}` has no valid split to select on", corpus.info().name),
            hint: "give it one, hold out a part of train with `data.valid_from_train=0.1`, or keep the last epoch with `train.select=last`".into(),
        }.into());
    }
    Ok(())
}

/// The labelled utterances to learn from and to select on; test stays empty.
pub fn rows(data: &DataConfig, task: Task, corpus: &Corpus) -> Rows {
    let mut train: Vec<usize> = Vec::new();
    for split in data.fit_on.splits() {
        train.extend(labelled_rows_of_any(corpus, *split, task));
    }
    train.sort_unstable();
    let valid = if data.valid_from_train > 0.0 {
        let held_out = held_out(corpus, &train, data.valid_from_train);
        train.retain(|row| held_out.binary_search(row).is_err());
        held_out
    } else if data.fit_on == FitOn::TrainAndValid {
        Vec::new()
    } else {
        labelled_rows_of_any(corpus, Split::Valid, task)
    };
    Rows {
        train,
        valid,
        test: Vec::new(),
    }
}

/// The rows of about `share` of the conversations, in ascending order; an utterance without a conversation
/// is one of its own. The same for every seed of a run. One conversation always stays to learn from.
fn held_out(corpus: &Corpus, rows: &[usize], share: f64) -> Vec<usize> {
    let utterances = corpus.utterances();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut places: BTreeMap<(&str, Option<Split>), usize> = BTreeMap::new();
    for &row in rows {
        let utterance = &utterances[row];
        let place = match &utterance.conversation {
            Some(name) => *places
                .entry((name, utterance.split))
                .or_insert(groups.len()),
            None => groups.len(),
        };
        match groups.get_mut(place) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    let most = groups.len().saturating_sub(1);
    let n = ((share * groups.len() as f64).round() as usize).clamp(1.min(most), most);
    let all: Vec<usize> = (0..groups.len()).collect();
    let mut held_out: Vec<usize> = shuffled(&all, 0, 0)[..n]
        .iter()
        .flat_map(|&group| groups[group].iter().copied())
        .collect();
    held_out.sort_unstable();
    held_out
}

/// What was fitted on and what selected, in words for the protocol.
pub(crate) fn in_words(data: &DataConfig, train: &TrainConfig) -> (String, String) {
    let fitted = data.fit_on.name();
    let share = data.valid_from_train;
    let held_out = format!("{share} of the conversations of {fitted}");
    let fitted = if share > 0.0 {
        format!("{fitted} without {held_out}")
    } else {
        fitted.to_owned()
    };
    let selected = match train.select {
        Select::Last => "none".to_owned(),
        Select::Best if train.select_on.split() == Split::Valid && share > 0.0 => held_out,
        Select::Best => train.select_on.split().to_string(),
    };
    (fitted, selected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimer_core::corpus::{CorpusInfo, CorpusWriter, Frames, Utterance};
    use trimer_core::{HeadMap, LabelSpace, ModalityMap};

    /// Ten conversations of three turns in train, two in valid, three lone utterances in train.
    fn corpus(dir: &std::path::Path) -> Corpus {
        let info = CorpusInfo {
            label_space: LabelSpace {
                classes: vec!["a".into(), "b".into()],
                ..LabelSpace::default()
            },
            ..CorpusInfo::default()
        };
        let mut writer = CorpusWriter::create(&dir.join("c"), info).unwrap();
        for i in 0..39_usize {
            let split = if (30..36).contains(&i) {
                Split::Valid
            } else {
                Split::Train
            };
            let utterance = Utterance {
                id: i.to_string(),
                split: Some(split),
                conversation: (i < 36).then(|| format!("talk {}", i / 3)),
                turn: Some(i as i64 % 3),
                labels: HeadMap {
                    multimodal: Some(i as u32 % 2),
                    ..HeadMap::default()
                },
                ..Utterance::default()
            };
            let frames = ModalityMap {
                text: Some(Frames {
                    values: vec![i as f32].into(),
                    dim: 1,
                }),
                ..ModalityMap::default()
            };
            writer.push(utterance, frames).unwrap();
        }
        Corpus::open(writer.finish().unwrap()).unwrap()
    }

    fn parts(fit_on: FitOn, valid_from_train: f64, corpus: &Corpus) -> Rows {
        let data = DataConfig {
            fit_on,
            valid_from_train,
            ..DataConfig::default()
        };
        rows(&data, Task::Classification { n_classes: 2 }, corpus)
    }

    #[test]
    fn every_utterance_has_one_role_and_conversations_stay_whole() {
        let dir = tempfile::tempdir().unwrap();
        let corpus = corpus(dir.path());
        let split = |split| corpus.indices(split);
        let (train, valid) = (split(Split::Train), split(Split::Valid));
        let plain = parts(FitOn::Train, 0.0, &corpus);
        assert_eq!((&plain.train, &plain.valid), (&train, &valid));
        let both = parts(FitOn::TrainAndValid, 0.0, &corpus);
        assert_eq!((both.train.len(), both.valid.len()), (39, 0));
        for (fit_on, pool, share) in [
            (FitOn::Train, &train, 0.2),
            (FitOn::Train, &train, 0.0001),
            (FitOn::Train, &train, 0.9),
            (FitOn::TrainAndValid, &both.train, 0.3),
        ] {
            let held = parts(fit_on, share, &corpus);
            assert!(!held.train.is_empty() && !held.valid.is_empty());
            let mut all = [held.train.clone(), held.valid.clone()].concat();
            all.sort_unstable();
            assert_eq!(&all, pool);
            let talks = |rows: &[usize]| -> std::collections::BTreeSet<String> {
                let names = rows.iter().map(|&i| &corpus.utterances()[i]);
                names.filter_map(|u| u.conversation.clone()).collect()
            };
            assert!(talks(&held.train).is_disjoint(&talks(&held.valid)));
        }
        // 13 groups of train: 0.2 of them are 3.
        let held = parts(FitOn::Train, 0.2, &corpus).valid;
        let groups: std::collections::BTreeSet<usize> = held
            .iter()
            .map(|&i| if i < 36 { i / 3 } else { i })
            .collect();
        assert_eq!(groups.len(), 3);
    }

    #[test]
    fn selection_needs_something_to_select_on() {
        let dir = tempfile::tempdir().unwrap();
        let corpus = corpus(dir.path());
        let mut data = DataConfig {
            fit_on: FitOn::TrainAndValid,
            ..DataConfig::default()
        };
        let mut train = TrainConfig::default();
        assert!(check_selection(&data, &train, &corpus).is_err());
        train.select = Select::Last;
        check_selection(&data, &train, &corpus).unwrap();
        let words = in_words(&data, &train);
        assert_eq!(words, ("train+valid".to_owned(), "none".to_owned()));
        train.select = Select::Best;
        data.valid_from_train = 0.1;
        check_selection(&data, &train, &corpus).unwrap();
        let (fitted, selected) = in_words(&data, &train);
        assert_eq!(selected, "0.1 of the conversations of train+valid");
        assert!(fitted.ends_with(&selected), "{fitted}");
        data.valid_from_train = 0.95;
        assert!(check(&data).is_err());
    }
}
