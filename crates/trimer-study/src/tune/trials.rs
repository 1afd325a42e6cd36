//! Searching settings on validation: what may be tried, what it costs, and what came out.
//!
//! A search never sees test: its runs are trained by [`crate::train_without_test`].
//! Everything drawn follows from the search's seed and the number of the trial, so that a search
//! that was cut off continues with the same trials.
//!
//! Successive halving (`[Jamieson2016]`): all trials train for a share of the epochs, the best
//! `1 / eta` of them continue where they stand, and so on until the rest has trained in full. The
//! learning-rate schedule of a trial is that of the full length from the start.

use burn::tensor::Device;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use trimer_core::corpus::Corpus;
use trimer_nn::error::NnError;
use trimer_train::error::{Result, TrainError};
use trimer_train::{EpochReport, Observer, Outcome, RunDir, StepReport, train_without_test};

/// Values that one key may take.
#[derive(Debug, Clone, PartialEq)]
pub enum Range {
    /// Evenly between two numbers; whole numbers where both ends are.
    Linear(f64, f64, bool),
    /// Evenly in the logarithm; both ends are positive.
    Log(f64, f64, bool),
    /// One of these.
    Choices(Vec<toml::Value>),
}

/// What may be tried: a range per dotted key (`train.lr`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Space(pub BTreeMap<String, Range>);

impl Space {
    /// The space that a file describes: keys as in a recipe, each with `{ range = [low, high] }`,
    /// `{ log = [low, high] }` or `{ choices = [..] }`.
    ///
    /// # Errors
    /// Names the key whose range cannot be used.
    pub fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = toml::from_str(text).map_err(|e| NnError::ConfigType {
            key: "search space".into(),
            reason: e.message().to_owned(),
        })?;
        let mut space = Self::default();
        space.collect("", &table)?;
        if space.0.is_empty() {
            return Err(bad("search space", "it has no key to search over"));
        }
        Ok(space)
    }

    fn collect(&mut self, prefix: &str, table: &toml::Table) -> Result<()> {
        for (name, value) in table {
            let key = if prefix.is_empty() {
                name.clone()
            } else {
                format!("{prefix}.{name}")
            };
            let toml::Value::Table(inner) = value else {
                return Err(bad(
                    &key,
                    "expected a range like `{ log = [1e-4, 1e-2] }`; what does not vary belongs in the recipe",
                ));
            };
            match inner.iter().next() {
                Some((kind, toml::Value::Array(list)))
                    if inner.len() == 1 && ["range", "log", "choices"].contains(&kind.as_str()) =>
                {
                    self.0.insert(key.clone(), range(&key, kind, list)?);
                }
                _ => self.collect(&key, inner)?,
            }
        }
        Ok(())
    }

    /// The settings of a trial, as the sections of a recipe.
    pub fn draw(&self, seed: u64, trial: usize) -> toml::Table {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(trial as u64);
        let mut all = toml::Table::new();
        for (key, range) in &self.0 {
            let parts: Vec<&str> = key.split('.').collect();
            insert(&mut all, &parts, range.draw(&mut rng));
        }
        all
    }
}

/// Puts a value at a path of nested tables.
fn insert(table: &mut toml::Table, path: &[&str], value: toml::Value) {
    match path {
        [] => {}
        [last] => {
            table.insert((*last).to_owned(), value);
        }
        [first, rest @ ..] => {
            let inner = table
                .entry(*first)
                .or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if let toml::Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

impl Range {
    fn draw(&self, rng: &mut ChaCha8Rng) -> toml::Value {
        let (value, low, high, whole) = match self {
            Self::Choices(list) => return list[rng.random_range(0..list.len())].clone(),
            Self::Linear(low, high, true) => {
                let value = rng.random_range(*low as i64..=*high as i64);
                return toml::Value::Integer(value);
            }
            Self::Linear(low, high, false) => {
                let value = low + rng.random::<f64>() * (high - low);
                (value, low, high, false)
            }
            Self::Log(low, high, whole) => {
                let at = low.ln() + rng.random::<f64>() * (high.ln() - low.ln());
                (at.exp(), low, high, *whole)
            }
        };
        if whole {
            return toml::Value::Integer((value.round() as i64).clamp(*low as i64, *high as i64));
        }
        // Three digits, so that a recipe can be read; the search is not finer than that.
        let short: f64 = format!("{value:.2e}").parse().unwrap_or(value);
        toml::Value::Float(short.clamp(*low, *high))
    }
}

fn bad(key: &str, reason: &str) -> TrainError {
    NnError::ConfigType {
        key: key.to_owned(),
        reason: reason.to_owned(),
    }
    .into()
}

fn range(key: &str, kind: &str, list: &[toml::Value]) -> Result<Range> {
    if kind == "choices" {
        return if list.is_empty() {
            Err(bad(key, "`choices` is empty"))
        } else {
            Ok(Range::Choices(list.to_vec()))
        };
    }
    let number = |v: &toml::Value| match v {
        toml::Value::Integer(i) => Some(*i as f64),
        toml::Value::Float(f) if f.is_finite() => Some(*f),
        _ => None,
    };
    let whole = list.iter().all(toml::Value::is_integer);
    match list
        .iter()
        .map(number)
        .collect::<Option<Vec<f64>>>()
        .as_deref()
    {
        Some([low, high]) if low < high && (kind == "range" || *low > 0.0) => {
            Ok(if kind == "range" {
                Range::Linear(*low, *high, whole)
            } else {
                Range::Log(*low, *high, whole)
            })
        }
        _ => Err(bad(
            key,
            "expected two numbers, the lower one first; `log` wants them above 0",
        )),
    }
}

/// How a budget of epochs is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Every trial trains in full.
    Random,
    /// Successive halving.
    Halving,
}

impl Method {
    /// The name in files and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Halving => "halving",
        }
    }
}

/// One round of a search: how many trials take part and to which epoch they train.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rung {
    /// Trials that take part.
    pub trials: usize,
    /// Epochs that each of them has trained at the end of the round.
    pub epochs: usize,
}

/// The rounds that fit into `budget` epochs where a full training takes `epochs`; halving keeps one
/// of `eta` trials from each round to the next. Empty when not even one trial fits.
pub fn plan(method: Method, budget: usize, epochs: usize, eta: usize) -> Vec<Rung> {
    let epochs = epochs.max(1);
    let mut lengths = vec![epochs];
    if method == Method::Halving {
        while lengths[0] / eta.max(2) >= 1 && lengths.len() < 4 {
            lengths.insert(0, lengths[0] / eta.max(2));
        }
    }
    let rungs = |n: usize| -> Vec<Rung> {
        let mut trials = n;
        let rounds = lengths.iter().enumerate().map(|(i, &epochs)| {
            if i > 0 {
                trials = (trials / eta.max(2)).max(1);
            }
            Rung { trials, epochs }
        });
        rounds.collect()
    };
    let most = (1..=budget)
        .take_while(|n| cost(&rungs(*n)) <= budget)
        .last();
    most.map(rungs).unwrap_or_default()
}

/// Epochs that the rounds take together.
pub fn cost(rungs: &[Rung]) -> usize {
    let mut before = 0;
    let mut all = 0;
    for rung in rungs {
        all += rung.trials * (rung.epochs - before);
        before = rung.epochs;
    }
    all
}

/// One line of `trials.jsonl`: a trial at the end of a round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// From 0.
    pub trial: usize,
    /// The round, from 0.
    pub rung: usize,
    /// Epochs trained so far.
    pub epochs: usize,
    /// `valid`, or what is held out of train instead.
    pub split: String,
    /// The selecting metric.
    pub metric: String,
    /// Its best value on `split`; absent when the trial failed.
    pub value: Option<f64>,
    /// The epoch of that value.
    pub best_epoch: Option<usize>,
    /// What was drawn.
    pub settings: toml::Table,
    /// Why the trial failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The trials in order from best to worst; those without a value come last, equals by number.
pub(super) fn ranked(mut trials: Vec<Trial>, higher: bool) -> Vec<Trial> {
    trials.sort_by(|a, b| {
        let key = |t: &Trial| match t.value {
            Some(v) if higher => -v,
            Some(v) => v,
            None => f64::INFINITY,
        };
        key(a).total_cmp(&key(b)).then(a.trial.cmp(&b.trial))
    });
    trials
}

/// Trains the first seed of a run until `epochs` are done and gives the best value of its selecting
/// metric on validation with its epoch; `None` when asked to stop before.
///
/// # Errors
/// As [`train_without_test`].
pub(super) fn train_to(
    run: &RunDir,
    corpus: &Corpus,
    epochs: usize,
    device: &Device,
    stop: &AtomicBool,
) -> Result<Option<Best>> {
    let trained = |run: &RunDir| -> Result<Vec<EpochReport>> {
        let seed = run.config.seeds[0];
        if run.seed_dir(seed).join(trimer_train::trainer::LOG).exists() {
            run.log(seed)
        } else {
            Ok(Vec::new())
        }
    };
    if trained(run)?.len() < epochs {
        let pause = AtomicBool::new(false);
        let mut watcher = Pausing {
            epochs,
            pause: &pause,
            stop,
        };
        let outcome = train_without_test(run, corpus, device, &pause, &mut watcher)?;
        let enough = trained(run)?.len() >= epochs;
        if outcome == Outcome::Interrupted && !enough {
            return Ok(None);
        }
    }
    let (_, higher) = run.config.train.selector(run.config.task)?;
    let log = trained(run)?;
    let mut best = Best::default();
    for report in log.iter().take(epochs) {
        let better = |v: f64| {
            best.value
                .is_none_or(|old| if higher { v > old } else { v < old })
        };
        if let Some(value) = report.selector.filter(|v| v.is_finite() && better(*v)) {
            best = Best {
                value: Some(value),
                epoch: Some(report.epoch),
            };
        }
    }
    Ok(Some(best))
}

/// The best value so far.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Best {
    /// The selecting metric; `None` where it never had a value.
    pub value: Option<f64>,
    /// Its epoch.
    pub epoch: Option<usize>,
}

/// Pauses a training after an epoch, or when the user asks to stop.
struct Pausing<'a> {
    epochs: usize,
    pause: &'a AtomicBool,
    stop: &'a AtomicBool,
}

impl Observer for Pausing<'_> {
    fn step(&mut self, report: &StepReport) {
        // The last step of the last epoch: the epoch still ends, is evaluated and saved.
        let last = report.epoch >= self.epochs && report.step == report.steps_per_epoch;
        if last || self.stop.load(Ordering::Relaxed) {
            self.pause.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_in_range_and_follow_from_seed_and_number() {
        let space = Space::parse(
            "[train]\nlr = { log = [1e-4, 1e-2] }\nbatch_size = { choices = [8, 16] }\noptimizer.weight_decay = { range = [0.0, 0.1] }\n[model]\nn_layers = { range = [1, 4] }\n",
        )
        .unwrap();
        assert_eq!(space.0.len(), 4);
        let mut layers = std::collections::BTreeSet::new();
        let mut small = 0;
        for trial in 0..200 {
            let drawn = space.draw(7, trial);
            let train = drawn["train"].as_table().unwrap();
            let lr = train["lr"].as_float().unwrap();
            assert!((1e-4..=1e-2).contains(&lr));
            small += usize::from(lr < 1e-3);
            assert!([8, 16].contains(&train["batch_size"].as_integer().unwrap()));
            let decay = train["optimizer"]["weight_decay"].as_float().unwrap();
            assert!((0.0..=0.1).contains(&decay));
            layers.insert(drawn["model"]["n_layers"].as_integer().unwrap());
        }
        assert_eq!(layers.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
        // Half of a log range over two decades lies below the middle decade.
        assert!((70..130).contains(&small), "{small}");
        assert_eq!(space.draw(7, 3), space.draw(7, 3));
        assert_ne!(space.draw(7, 3), space.draw(8, 3));
    }

    #[test]
    fn a_range_that_is_none_is_named() {
        for (text, key) in [
            ("[train]\nlr = 1e-3", "train.lr"),
            ("[train]\nlr = { log = [0.0, 1.0] }", "train.lr"),
            ("[train]\nlr = { range = [1.0, 0.0] }", "train.lr"),
            ("[model]\nd = { choices = [] }", "model.d"),
            ("", "search space"),
        ] {
            let error = Space::parse(text).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }

    #[test]
    fn both_methods_spend_at_most_the_budget() {
        let random = plan(Method::Random, 100, 9, 3);
        assert_eq!(
            random,
            [Rung {
                trials: 11,
                epochs: 9
            }]
        );
        let halving = plan(Method::Halving, 100, 9, 3);
        let epochs: Vec<usize> = halving.iter().map(|r| r.epochs).collect();
        assert_eq!(epochs, [1, 3, 9]);
        // 44 trials of 1 epoch, 14 of 2 more, 4 of 6 more: 44 + 28 + 24 = 96; with 45 it is 105
        assert_eq!(
            halving.iter().map(|r| r.trials).collect::<Vec<_>>(),
            [44, 14, 4]
        );
        for method in [Method::Random, Method::Halving] {
            for budget in 1..120 {
                let rungs = plan(method, budget, 9, 3);
                assert!(cost(&rungs) <= budget);
                assert_eq!(rungs.is_empty(), budget < 9, "{budget}");
            }
        }
    }

    #[test]
    fn failures_rank_last_and_equals_by_number() {
        let trial = |trial: usize, value: Option<f64>| Trial {
            trial,
            rung: 0,
            epochs: 1,
            split: "valid".into(),
            metric: "accuracy".into(),
            value,
            best_epoch: None,
            settings: toml::Table::new(),
            error: None,
        };
        let all = vec![
            trial(0, None),
            trial(1, Some(0.5)),
            trial(2, Some(0.7)),
            trial(3, Some(0.7)),
        ];
        let order = |higher| -> Vec<usize> {
            ranked(all.clone(), higher)
                .iter()
                .map(|t| t.trial)
                .collect()
        };
        assert_eq!(order(true), [2, 3, 1, 0]);
        assert_eq!(order(false), [1, 2, 3, 0]);
    }
}
