//! What travels with a forward pass with the batch: the mode, the random numbers and the taps.

use burn::tensor::Tensor;
use std::collections::BTreeMap;
use trimer_core::random::mix;

/// Companion of one forward pass.
///
/// It tells whether the pass trains, hands out the seeds of the dropout masks, and keeps the
/// activations that somebody asked for. A model draws its masks from here and never from global
/// state, so that the same seed gives the same pass whatever else runs in the process.
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    training: bool,
    seed: u64,
    draws: u64,
    wanted: Option<Vec<String>>,
    taps: BTreeMap<String, Tensor<3>>,
}

impl Recorder {
    /// For evaluation: dropout does nothing, no tap is kept.
    pub fn eval() -> Self {
        Self::default()
    }

    /// For a training step whose masks follow from `seed`.
    pub fn train(seed: u64) -> Self {
        Self {
            training: true,
            seed,
            ..Self::default()
        }
    }

    /// Asks for the activations whose name starts with one of `prefixes`.
    #[must_use]
    pub fn with_taps(mut self, prefixes: Vec<String>) -> Self {
        self.wanted = Some(prefixes);
        self
    }

    /// Whether this pass trains (dropout active).
    pub const fn is_training(&self) -> bool {
        self.training
    }

    /// A fresh seed for one random layer of this pass; the n-th call always gives the n-th seed.
    pub fn next_seed(&mut self) -> u64 {
        self.draws += 1;
        mix(self.seed ^ mix(self.draws))
    }

    /// Keeps `activation` (`[batch, time, feature]`) under `name` if somebody asked for it.
    pub fn tap(&mut self, name: &str, activation: &Tensor<3>) {
        if let Some(wanted) = &self.wanted
            && wanted
                .iter()
                .any(|prefix| name.starts_with(prefix.as_str()))
        {
            self.taps.insert(name.to_owned(), activation.clone());
        }
    }

    /// Whether somebody asked for activations whose name starts with `prefix`: for those that are
    /// made for the tap alone.
    pub fn wants(&self, prefix: &str) -> bool {
        let mut asked = self.wanted.iter().flatten();
        asked.any(|wanted| wanted.starts_with(prefix) || prefix.starts_with(wanted.as_str()))
    }

    /// The activations kept so far, by name.
    pub const fn taps(&self) -> &BTreeMap<String, Tensor<3>> {
        &self.taps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_asks_is_given_what_costs_extra() {
        assert!(!Recorder::eval().wants("attention."));
        let asked = |name: &str| Recorder::eval().with_taps(vec![name.into()]);
        assert!(asked("attention.").wants("attention."));
        assert!(asked("attention.text.0").wants("attention."));
        assert!(!asked("multimodal_tower.").wants("attention."));
    }

    #[test]
    fn seeds_repeat_for_the_same_step_and_differ_between_layers() {
        let (mut a, mut b) = (Recorder::train(3), Recorder::train(3));
        let first = a.next_seed();
        assert_eq!(first, b.next_seed());
        assert_ne!(first, a.next_seed());
    }
}
