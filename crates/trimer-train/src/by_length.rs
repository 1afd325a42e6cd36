//! How good a run is in short conversations and in long ones.

use crate::data::conversation;
use crate::error::Result;
use crate::predict::{Predictions, evaluate};
use crate::run::RunDir;
use burn::tensor::Device;
use serde::Serialize;
use std::collections::BTreeSet;
use trimer_core::HeadMap;
use trimer_core::corpus::{Corpus, Split};
use trimer_core::metrics::{EvaluationOptions, Metrics};
use trimer_nn::error::NnError;

/// The utterances of all conversations whose length is in a range.
#[derive(Debug, Clone, Serialize)]
pub struct LengthBin {
    /// Turns of the shortest conversations.
    pub from: usize,
    /// Turns of the longest; absent in the last bin, which has no end.
    pub to: Option<usize>,
    /// How many conversations there are.
    pub conversations: usize,
    /// How many of their utterances are evaluated.
    pub utterances: usize,
    /// Metrics per head over these utterances, all seeds together; absent where there are none.
    pub heads: HeadMap<Option<Metrics>>,
}

impl RunDir {
    /// Metrics by the number of turns of the conversation: up to the first of `edges`, from there up to the
    /// second, and so on; the last bin takes the rest. Bins without utterances are kept.
    ///
    /// A conversation counts with all its turns in the split, labelled or not. Utterances without a
    /// conversation are left out.
    ///
    /// # Errors
    /// When the edges do not grow, the split has no conversations, or as [`RunDir::evaluate`].
    pub fn evaluate_by_length(
        &self,
        corpus: &Corpus,
        split: Split,
        edges: &[usize],
        device: &Device,
        options: &EvaluationOptions,
    ) -> Result<Vec<LengthBin>> {
        check_edges(edges)?;
        let lengths = conversation::lengths(corpus);
        if corpus.indices(split).iter().all(|&i| lengths[i].is_none()) {
            return Err(NnError::Corpus {
                reason: format!(
                    "the {split} split of `{}` has no conversations, whose length could count",
                    corpus.info().name
                ),
                hint: "fill the columns `conversation` and `turn` and import again".into(),
            }
            .into());
        }
        let seeds = (self.config.seeds.iter())
            .map(|seed| self.predictions(*seed, corpus, split, device))
            .collect::<Result<Vec<_>>>()?;
        let columns = self.columns(corpus);
        let starts = std::iter::once(0).chain(edges.iter().copied());
        let ends = edges.iter().copied().map(Some).chain([None]);
        let mut bins = Vec::with_capacity(edges.len() + 1);
        for (before, to) in starts.zip(ends) {
            let within = |row: usize| {
                lengths[row].is_some_and(|(_, n)| n > before && to.is_none_or(|to| n <= to))
            };
            let seeds: Vec<Predictions> = seeds.iter().map(|p| p.filtered(within)).collect();
            let rows = seeds.first().map(|p| &p.indices[..]).unwrap_or_default();
            let conversations: BTreeSet<usize> = (rows.iter())
                .filter_map(|&row| lengths[row].map(|(first, _)| first))
                .collect();
            let heads = if rows.is_empty() {
                HeadMap::default()
            } else {
                let seeds: Vec<&Predictions> = seeds.iter().collect();
                let cfg = &self.config;
                let range = cfg.score_range();
                evaluate(
                    corpus,
                    &seeds,
                    &columns,
                    cfg.task,
                    &cfg.classes,
                    range,
                    options,
                )?
            };
            bins.push(LengthBin {
                from: before + 1,
                to,
                conversations: conversations.len(),
                utterances: rows.len(),
                heads,
            });
        }
        Ok(bins)
    }
}

fn check_edges(edges: &[usize]) -> Result<()> {
    let grow = edges.windows(2).all(|w| w[0] < w[1]);
    if edges.is_empty() || edges[0] == 0 || !grow {
        let all: Vec<String> = edges.iter().map(usize::to_string).collect();
        return Err(NnError::ConfigRange {
            key: "length_edges".into(),
            value: all.join(","),
            expected: "growing numbers of turns from 1 on, for instance 5,10,20".into(),
        }
        .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_must_grow() {
        check_edges(&[1, 5]).unwrap();
        for edges in [&[][..], &[0, 3], &[3, 3], &[5, 2]] {
            assert!(check_edges(edges).is_err(), "{edges:?}");
        }
    }
}
