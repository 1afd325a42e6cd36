//! The class that most annotators chose.

use super::{Decision, Rule, RuleOptions, Verdict, leader, shares};
use crate::labels::{Ballot, LabelError, Votes};

/// The leading class is the label when it has more than `threshold` of the votes: 0.5 asks for an
/// absolute majority, 0 for no more than the lead. Where several classes lead there is no label: a
/// tie is never broken by the order of classes or votes.
#[derive(Debug)]
pub struct Majority;

impl Rule for Majority {
    fn id(&self) -> &'static str {
        "majority"
    }

    fn summary(&self) -> &'static str {
        "the leading class, when it has more than the threshold's share of the votes; ties give no label"
    }

    fn decide(
        &self,
        votes: &Votes,
        ballots: &[Ballot],
        options: &RuleOptions,
    ) -> Result<Vec<Decision>, LabelError> {
        options.check()?;
        Ok(ballots
            .iter()
            .map(|ballot| {
                let soft = shares(&ballot.counts(votes.classes.len()));
                let missing = options.min_votes.saturating_sub(ballot.votes.len() as u32);
                Decision {
                    verdict: decide(&soft, 0.0, missing, options.threshold),
                    soft,
                }
            })
            .collect())
    }
}

/// The verdict on shares or probabilities.
pub(super) fn decide(soft: &[f64], tolerance: f64, missing: u32, threshold: f64) -> Verdict {
    if missing > 0 {
        return Verdict::NeedsVotes(missing);
    }
    match leader(soft, tolerance) {
        (_, true) => Verdict::Tie,
        (class, false) if soft[class] > threshold => Verdict::Accepted(class as u32),
        _ => Verdict::BelowThreshold,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_ties_and_missing_votes() {
        let half = [0.5, 0.25, 0.25];
        assert_eq!(decide(&half, 0.0, 0, 0.5), Verdict::BelowThreshold);
        assert_eq!(decide(&half, 0.0, 0, 0.4), Verdict::Accepted(0));
        assert_eq!(decide(&[0.4, 0.2, 0.4], 0.0, 0, 0.0), Verdict::Tie);
        assert_eq!(decide(&[0.0, 1.0], 0.0, 2, 0.0), Verdict::NeedsVotes(2));
        // two of three, as shares of counts
        assert_eq!(decide(&shares(&[1, 2]), 0.0, 0, 0.6), Verdict::Accepted(1));
        assert_eq!(
            decide(&shares(&[1, 2]), 0.0, 0, 2.0 / 3.0),
            Verdict::BelowThreshold
        );
    }
}
