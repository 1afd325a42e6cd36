//! Why a model said what it said: what each modality adds, what would have been said without it, and
//! where in time the model looked.
//!
//! A modality is taken away exactly as in [`trimer_train::data::corrupt`]: zeros after normalisation, all of it
//! marked as padding; from a model of conversations it is taken for the whole conversation. So all
//! subsets of the modalities, eight at most, are computed and not sampled, and the contributions are
//! the exact Shapley values (`[Shapley1953]`) of the model's output as a function of the subset.

use burn::tensor::{Device, Tensor};
use std::collections::BTreeMap;
use trimer_core::corpus::Corpus;
use trimer_core::stats::shapley;
use trimer_core::{Head, Modality, ModalityMap, ModalitySet};
use trimer_nn::batch::Batch;
use trimer_nn::layers::ATTENTION;
use trimer_nn::models::{AnyModel, FusionModel, Task};
use trimer_nn::recorder::Recorder;
use trimer_nn::weights::to_vec;
use trimer_train::RunDir;
use trimer_train::calibrate::Calibration;
use trimer_train::data::Loader;
use trimer_train::data::conversation::{self, Order};
use trimer_train::data::corrupt::{Corruption, subsets_and_none};
use trimer_train::error::{Result, TrainError};
use trimer_train::predict::{Predictions, predict_batches};

/// What a head says with some of the modalities.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The modalities that the model got.
    pub keep: ModalitySet,
    /// Probabilities of classes, of yes per label, or a score.
    pub outputs: Vec<f64>,
}

/// Why a head said what it said about one utterance.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Row number in the corpus.
    pub row: usize,
    /// The head; the multimodal one.
    pub head: Head,
    /// What it says with every subset of [`Explanations::players`], from none to all.
    pub seen: Vec<Seen>,
    /// What each modality adds to each output: the mean, over all orders in which the modalities may
    /// come in, of what the output rises by when this one does. `None` for modalities that are no
    /// players. They sum to the output with all minus the output with none.
    pub contributions: ModalityMap<Option<Vec<f64>>>,
    /// Players that this utterance does not have: they contribute exactly nothing.
    pub absent: ModalitySet,
    /// Where the model looked, by tower and layer; empty for models that do not tell.
    pub attention: Vec<Attention>,
}

/// How the attention of one layer is spread over the frames of the utterance.
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// The tower that looks: `multimodal`, or the modality that it reads.
    pub tower: String,
    /// Its block, from 0.
    pub layer: usize,
    /// Per modality the share of each frame that the model reads, in the order of
    /// [`Frames::index`]; mean over attention heads and over the positions that look.
    pub shares: ModalityMap<Option<Vec<f64>>>,
    /// What learned tokens and padding get. With all shares it sums to 1.
    pub elsewhere: f64,
}

/// The frames of an utterance that the model reads.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Frames {
    /// Frame numbers in the corpus, from 0.
    pub index: Vec<usize>,
    /// Frames per second, where the corpus knows.
    pub rate_hz: Option<f64>,
}

/// Explanations of several utterances.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanations {
    /// The modalities that were taken away and given back: those that the model reads and the corpus
    /// has.
    pub players: ModalitySet,
    /// In the order that was asked for.
    pub all: Vec<Explanation>,
}

impl Explanation {
    /// What is said with these modalities.
    pub fn with(&self, keep: ModalitySet) -> Option<&[f64]> {
        let found = self.seen.iter().find(|s| s.keep == keep);
        found.map(|s| s.outputs.as_slice())
    }

    /// What is said with everything.
    pub fn with_all(&self) -> &[f64] {
        self.seen.last().map_or(&[], |s| &s.outputs)
    }

    /// What is said without anything.
    pub fn with_none(&self) -> &[f64] {
        self.seen.first().map_or(&[], |s| &s.outputs)
    }

    /// What is said with everything but `modality`.
    pub fn without(&self, modality: Modality) -> Option<&[f64]> {
        let all = self.seen.last()?.keep;
        if !all.contains(modality) {
            return None;
        }
        self.with(all.iter().filter(|m| *m != modality).collect())
    }
}

/// How rows of a corpus are explained.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadOptions<'a> {
    /// Temperatures for the probabilities; as the model gives them without.
    pub calibration: Option<&'a Calibration>,
    /// Evaluate each utterance from what was said before it.
    pub online: bool,
}

/// Explains what a seed's selected model says about `rows`.
///
/// # Errors
/// When the corpus does not have what the model reads, or the model gives no number without some
/// modality.
pub(super) fn explain(
    run: &RunDir,
    seed: u64,
    corpus: &Corpus,
    rows: &[usize],
    device: &Device,
    options: &ReadOptions<'_>,
) -> Result<Explanations> {
    if options.online {
        run.check_online()?;
    }
    let cfg = &run.config;
    let missing = run.missing_modalities(corpus);
    let wanted = cfg.input.modalities().iter();
    let players: ModalitySet = wanted.filter(|m| !missing.contains(*m)).collect();
    let sets = subsets_and_none(players);
    let (said, attention) = run.with_model(seed, corpus, device, |model, loader, plain| {
        let batches = if options.online {
            conversation::growing(corpus, rows, None)
                .chunks(cfg.train.batch_size.max(1))
                .map(|parts| parts.iter().flat_map(|p| p.rows.clone()).collect())
                .collect()
        } else {
            loader.batches(rows, cfg.train.batch_size, Order::AsGiven)
        };
        let said: Vec<Predictions> = sets
            .iter()
            .map(|&keep| {
                let corruption = Corruption {
                    keep,
                    ..Corruption::NONE
                };
                let prepare = |batch: Batch| corruption.apply(batch);
                predict_batches(model, loader, &batches, cfg.task, plain, &prepare).at_rows(rows)
            })
            .collect();
        (said, record_attention(model, loader, &batches, plain))
    })?;
    let said: Vec<Predictions> = match options.calibration {
        Some(calibration) => said
            .iter()
            .map(|p| calibration.apply(p, cfg.task))
            .collect(),
        None => said,
    };
    let head = explained_head(&said);
    let all = rows.iter().enumerate().map(|(place, &row)| {
        let seen: Vec<Seen> = sets
            .iter()
            .zip(&said)
            .map(|(&keep, p)| Seen {
                keep,
                outputs: p.row(head, place).unwrap_or_default().to_vec(),
            })
            .collect();
        if let Some(bad) = seen
            .iter()
            .find(|s| s.outputs.iter().any(|v| !v.is_finite()))
        {
            return Err(no_number(run, corpus, row, bad.keep));
        }
        Ok(Explanation {
            row,
            head,
            contributions: contributions(&seen, players, cfg.task),
            seen,
            absent: players
                .iter()
                .filter(|m| corpus.frame_count(row, *m) == 0)
                .collect(),
            attention: attention.get(&row).map_or_else(Vec::new, |taps| {
                read_attention(taps, &frames(run, corpus, row))
            }),
        })
    });
    Ok(Explanations {
        players,
        all: all.collect::<Result<_>>()?,
    })
}

/// The frames of an utterance that the run's model reads.
pub fn frames(run: &RunDir, corpus: &Corpus, row: usize) -> ModalityMap<Option<Frames>> {
    let input = &run.config.input;
    ModalityMap::from_fn(|modality| {
        let available = corpus.frame_count(row, modality);
        let is_read = input.dims.get(modality).is_some() && input.n_speakers.is_none();
        (is_read && available > 0).then(|| {
            let length = *input.lengths.get(modality);
            let kept = input.sampling.get(modality).kept_frames(available, length);
            Frames {
                index: kept.collect(),
                rate_hz: *corpus.info().rates_hz.get(modality),
            }
        })
    })
}

fn no_number(run: &RunDir, corpus: &Corpus, row: usize, keep: ModalitySet) -> TrainError {
    let with = if keep.is_empty() {
        "without any modality".to_owned()
    } else {
        format!("with {keep} alone")
    };
    TrainError::Run {
        path: run.path.clone(),
        reason: format!(
            "the model gives no number for `{}` {with}",
            corpus.utterances()[row].id
        ),
        hint: "what such a model says cannot be divided among its modalities; train one with `mask_padding=false` or with `train.modality_dropout`".into(),
    }
}

/// The multimodal head, or of a model without one the first that it has.
fn explained_head(said: &[Predictions]) -> Head {
    let heads: Vec<Head> = said.iter().flat_map(Predictions::heads).collect();
    if heads.contains(&Head::Multimodal) {
        return Head::Multimodal;
    }
    heads.first().copied().unwrap_or(Head::Multimodal)
}

/// The Shapley values of every output.
fn contributions(seen: &[Seen], players: ModalitySet, task: Task) -> ModalityMap<Option<Vec<f64>>> {
    let order: Vec<Modality> = players.iter().collect();
    let by_bits: Vec<&Seen> = (0..1_usize << order.len())
        .filter_map(|bits| {
            let members = order.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
            let keep: ModalitySet = members.map(|(_, m)| *m).collect();
            seen.iter().find(|s| s.keep == keep)
        })
        .collect();
    let mut all = ModalityMap::from_fn(|m| players.contains(m).then(Vec::new));
    for output in 0..task.n_predictions() {
        let parts = shapley(order.len(), |bits| by_bits[bits].outputs[output]);
        for (modality, part) in order.iter().zip(parts) {
            if let Some(values) = all.get_mut(*modality) {
                values.push(part);
            }
        }
    }
    all
}

/// The taps of a pass over `batches`, by row of the corpus. A pass of its own: predictions come from
/// the one that is not watched.
fn record_attention(
    model: &AnyModel,
    loader: &Loader<'_>,
    batches: &[Vec<usize>],
    device: &Device,
) -> BTreeMap<usize, BTreeMap<String, Vec<f64>>> {
    let mut found: BTreeMap<usize, BTreeMap<String, Vec<f64>>> = BTreeMap::new();
    for rows in batches {
        let batch = loader.batch(rows, device);
        let mut recorder = Recorder::eval().with_taps(vec![ATTENTION.to_owned()]);
        model.forward(&batch, &mut recorder);
        if recorder.taps().is_empty() {
            // Whether a model tells does not depend on the batch.
            break;
        }
        for (name, tap) in recorder.taps() {
            let [n, _, time] = tap.dims();
            // Taps that do not go by utterance are nothing that could be shown.
            if n != rows.len() || time == 0 {
                continue;
            }
            let values = to_vec(Tensor::clone(tap));
            for (row, shares) in rows.iter().zip(values.chunks(time)) {
                let shares = shares.iter().map(|x| f64::from(*x)).collect();
                found.entry(*row).or_default().insert(name.clone(), shares);
            }
        }
    }
    found
}

/// What an utterance's taps say about the frames that it has.
fn read_attention(
    taps: &BTreeMap<String, Vec<f64>>,
    frames: &ModalityMap<Option<Frames>>,
) -> Vec<Attention> {
    let mut all: BTreeMap<(&str, usize), Attention> = BTreeMap::new();
    for (name, shares) in taps {
        let mut parts = name.strip_prefix(ATTENTION).unwrap_or(name).split('.');
        let (Some(tower), Some(layer), Some(keys)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let Ok(layer) = layer.parse::<usize>() else {
            continue;
        };
        let entry = all.entry((tower, layer)).or_insert_with(|| Attention {
            tower: tower.to_owned(),
            layer,
            shares: ModalityMap::default(),
            elsewhere: 0.0,
        });
        let Ok(modality) = keys.parse::<Modality>() else {
            entry.elsewhere += shares.iter().sum::<f64>();
            continue;
        };
        let n = frames.get(modality).as_ref().map_or(0, |f| f.index.len());
        let (real, padding) = shares.split_at(n.min(shares.len()));
        entry.elsewhere += padding.iter().sum::<f64>();
        if !real.is_empty() {
            *entry.shares.get_mut(modality) = Some(real.to_vec());
        }
    }
    let mut all: Vec<Attention> = all.into_values().collect();
    // The tower that draws from all of them first.
    all.sort_by_key(|a| {
        (
            a.tower != Head::Multimodal.as_str(),
            a.tower.clone(),
            a.layer,
        )
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contributions_follow_the_subsets_by_name() {
        let set = |list: &[Modality]| list.iter().copied().collect::<ModalitySet>();
        let players = set(&[Modality::Text, Modality::Vision]);
        let seen: Vec<Seen> = subsets_and_none(players)
            .into_iter()
            .map(|keep| {
                // Vision adds 0.3 to the first output whatever else is there, text 0.1.
                let rise = |m: Modality, by: f64| if keep.contains(m) { by } else { 0.0 };
                let first = 0.2 + rise(Modality::Text, 0.1) + rise(Modality::Vision, 0.3);
                Seen {
                    keep,
                    outputs: vec![first, 1.0 - first],
                }
            })
            .collect();
        let task = Task::Classification { n_classes: 2 };
        let found = contributions(&seen, players, task);
        assert_eq!(found.audio, None);
        let close = |a: Option<&Vec<f64>>, b: [f64; 2]| {
            let a = a.unwrap();
            assert!(a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-12), "{a:?}");
        };
        close(found.text.as_ref(), [0.1, -0.1]);
        close(found.vision.as_ref(), [0.3, -0.3]);
    }

    #[test]
    fn padding_and_tokens_are_told_from_frames() {
        let taps = BTreeMap::from([
            (
                "attention.multimodal.0.text".to_owned(),
                vec![0.3, 0.2, 0.1],
            ),
            ("attention.multimodal.0.tokens".to_owned(), vec![0.4]),
            ("attention.text.1.text".to_owned(), vec![0.5, 0.25, 0.25]),
        ]);
        let frames = ModalityMap {
            text: Some(Frames {
                index: vec![0, 5],
                rate_hz: None,
            }),
            ..ModalityMap::default()
        };
        let found = read_attention(&taps, &frames);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].tower.as_str(), found[0].layer), ("multimodal", 0));
        assert_eq!(found[0].shares.text, Some(vec![0.3, 0.2]));
        assert!((found[0].elsewhere - 0.5).abs() < 1e-12);
        assert_eq!((found[1].tower.as_str(), found[1].layer), ("text", 1));
        assert_eq!(found[1].elsewhere, 0.25);
    }
}
