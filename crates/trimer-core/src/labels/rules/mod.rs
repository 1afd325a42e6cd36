//! How votes become a label. A rule is one file here and one entry of [`RULES`].

pub mod dawid_skene;
pub mod lfmim;
pub mod majority;

use super::{Ballot, LabelError, Votes};
use serde::Serialize;

/// What became of one utterance in one modality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The label is this class.
    Accepted(u32),
    /// The annotators disagree too much.
    Discarded,
    /// Several classes lead.
    Tie,
    /// One class leads, but not by enough.
    BelowThreshold,
    /// Two against one: a fourth annotator must vote.
    NeedsFourthVote,
    /// So many more votes are needed before the rule can say anything.
    NeedsVotes(u32),
}

impl Verdict {
    /// The name of the state in files.
    pub const fn state(self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Discarded => "discarded",
            Self::Tie => "tie",
            Self::BelowThreshold => "below_threshold",
            Self::NeedsFourthVote => "needs_fourth_vote",
            Self::NeedsVotes(_) => "needs_votes",
        }
    }

    /// The label, if there is one.
    pub const fn label(self) -> Option<u32> {
        match self {
            Self::Accepted(class) => Some(class),
            _ => None,
        }
    }

    /// How many votes somebody still has to give.
    pub const fn missing_votes(self) -> u32 {
        match self {
            Self::NeedsFourthVote => 1,
            Self::NeedsVotes(n) => n,
            _ => 0,
        }
    }
}

/// A rule's answer for one ballot.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What became of it.
    pub verdict: Verdict,
    /// The soft label: a probability per class that sums to 1.
    pub soft: Vec<f64>,
}

/// What rules can be told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RuleOptions {
    /// The leading class must have more than this share of the votes or of the probability.
    pub threshold: f64,
    /// Ballots with fewer votes are work to do.
    pub min_votes: u32,
}

impl Default for RuleOptions {
    /// More than half, of at least one vote.
    fn default() -> Self {
        Self {
            threshold: 0.5,
            min_votes: 1,
        }
    }
}

impl RuleOptions {
    /// # Errors
    /// [`LabelError::Option`] when the threshold is no share.
    pub fn check(&self) -> Result<(), LabelError> {
        if (0.0..1.0).contains(&self.threshold) {
            return Ok(());
        }
        Err(LabelError::Option {
            option: "threshold",
            found: self.threshold.to_string(),
            expected: "a share from 0 to below 1",
        })
    }
}

/// A rule that turns votes into labels.
///
/// # Contract
///
/// [`decide`](Self::decide) is called once per label column that has votes, with all its ballots. It
/// calls [`RuleOptions::check`] first and returns one [`Decision`] per ballot, in their order: an
/// [`Verdict::Accepted`] class below `votes.classes.len()` or the reason why there is no label, and in
/// either case a soft label of as many probabilities as there are classes, summing to 1. A ballot has one
/// vote at least.
///
/// The answer depends on the ballots and the options alone, not on chance and not on the order of
/// classes: where two classes are equally good, that is [`Verdict::Tie`].
///
/// A rule of another crate needs no registration: [`aggregate_by`](super::aggregate_by) takes it. Those
/// of [`RULES`] are also known by their id.
///
/// # Example
///
/// ```
/// use trimer_core::labels::rows::Rows;
/// use trimer_core::labels::{
///     Ballot, Decision, Expected, LabelError, Rule, RuleOptions, Verdict, VoteFormat, Votes,
///     aggregate_by, formats::votes::LongVotes,
/// };
/// use trimer_core::stats::BootstrapOptions;
///
/// struct Unanimous;
///
/// impl Rule for Unanimous {
///     fn id(&self) -> &'static str {
///         "unanimous"
///     }
///
///     fn summary(&self) -> &'static str {
///         "the class that every annotator chose"
///     }
///
///     fn decide(
///         &self,
///         votes: &Votes,
///         ballots: &[Ballot],
///         options: &RuleOptions,
///     ) -> Result<Vec<Decision>, LabelError> {
///         options.check()?;
///         let decide = |ballot: &Ballot| {
///             let counts = ballot.counts(votes.classes.len());
///             let n = ballot.votes.len() as u32;
///             Decision {
///                 verdict: match counts.iter().position(|count| *count == n) {
///                     Some(class) => Verdict::Accepted(class as u32),
///                     None => Verdict::Discarded,
///                 },
///                 soft: counts.iter().map(|c| f64::from(*c) / f64::from(n)).collect(),
///             }
///         };
///         Ok(ballots.iter().map(decide).collect())
///     }
/// }
///
/// let table = "id,annotator,label\na,ann,joy\na,bob,joy\nb,ann,joy\nb,bob,anger\n";
/// let mut rows = Rows::csv(Box::new(table.as_bytes()), "votes.csv".as_ref())?;
/// let votes = LongVotes.read(&mut rows, &Expected::default())?;
/// let bootstrap = BootstrapOptions { n_resamples: 0, ..BootstrapOptions::default() };
/// let found = aggregate_by(&votes, &Unanimous, &RuleOptions::default(), &bootstrap)?;
/// // classes are sorted: anger, joy
/// let labels: Vec<_> = found.labels.iter().map(|l| l.multimodal).collect();
/// assert_eq!(labels, [Some(1), None]);
/// # Ok::<(), LabelError>(())
/// ```
pub trait Rule: Sync {
    /// Name by which users choose it.
    fn id(&self) -> &'static str;
    /// What it does, in one line.
    fn summary(&self) -> &'static str;
    /// Decides on all ballots of one label column, in their order.
    ///
    /// # Errors
    /// [`LabelError::Option`] for options out of range, [`LabelError::Undecidable`] where the votes are
    /// not what the rule is made for.
    fn decide(
        &self,
        votes: &Votes,
        ballots: &[Ballot],
        options: &RuleOptions,
    ) -> Result<Vec<Decision>, LabelError>;
}

/// Every rule.
pub static RULES: &[&dyn Rule] = &[&lfmim::Lfmim, &majority::Majority, &dawid_skene::DawidSkene];

/// The rule of that name.
///
/// # Errors
/// [`LabelError::Unknown`].
pub fn rule(id: &str) -> Result<&'static dyn Rule, LabelError> {
    RULES
        .iter()
        .copied()
        .find(|rule| rule.id() == id)
        .ok_or_else(|| LabelError::Unknown {
            kind: "rule",
            given: id.to_owned(),
            known: RULES.iter().map(|rule| rule.id()).collect(),
        })
}

/// Share of the votes that each class has.
fn shares(counts: &[u32]) -> Vec<f64> {
    let total: u32 = counts.iter().sum();
    counts
        .iter()
        .map(|n| f64::from(*n) / f64::from(total))
        .collect()
}

/// The class with the most, and whether others have as much (within `tolerance`).
fn leader(values: &[f64], tolerance: f64) -> (usize, bool) {
    let best = crate::metrics::probability::arg_max(values);
    let ties = values
        .iter()
        .filter(|v| values[best] - **v <= tolerance)
        .count();
    (best, ties > 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_rule_has_a_name_of_its_own() {
        let names: BTreeSet<_> = RULES.iter().map(|rule| rule.id()).collect();
        assert_eq!(names.len(), RULES.len());
        assert!(rule("lfmim").is_ok());
        let error = rule("majorty").err().unwrap();
        assert_eq!(
            crate::Hint::hint(&error).unwrap(),
            "did you mean `majority`?"
        );
    }

    #[test]
    fn a_threshold_must_be_a_share() {
        for threshold in [-0.1, 1.0, f64::NAN] {
            let options = RuleOptions {
                threshold,
                ..RuleOptions::default()
            };
            assert!(options.check().is_err(), "{threshold}");
        }
    }
}
