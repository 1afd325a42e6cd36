//! All ballots of a corpus through one rule, with what it left open.

use super::{
    Agreement, Decision, LabelError, Rule, RuleOptions, Verdict, Votes, agreement, rules::rule,
};
use crate::{Head, HeadMap, stats::BootstrapOptions};
use serde::Serialize;

/// How many ballots ended in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct StateCounts {
    /// With a label.
    pub accepted: u64,
    /// Too much disagreement.
    pub discarded: u64,
    /// Several classes lead.
    pub tie: u64,
    /// One class leads, but not by enough.
    pub below_threshold: u64,
    /// A fourth annotator must vote.
    pub needs_fourth_vote: u64,
    /// More votes are needed.
    pub needs_votes: u64,
}

impl StateCounts {
    fn add(&mut self, verdict: Verdict) {
        let count = match verdict {
            Verdict::Accepted(_) => &mut self.accepted,
            Verdict::Discarded => &mut self.discarded,
            Verdict::Tie => &mut self.tie,
            Verdict::BelowThreshold => &mut self.below_threshold,
            Verdict::NeedsFourthVote => &mut self.needs_fourth_vote,
            Verdict::NeedsVotes(_) => &mut self.needs_votes,
        };
        *count += 1;
    }
}

/// One label column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnResult {
    /// In the order of the column's ballots.
    pub decisions: Vec<Decision>,
    /// Their states.
    pub states: StateCounts,
    /// How well the annotators agree.
    pub agreement: Agreement,
}

/// The labels of a corpus and how they came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregation {
    /// The rule.
    pub rule: &'static str,
    /// Per label column; `None` without votes.
    pub columns: HeadMap<Option<ColumnResult>>,
    /// Per utterance, in the order of [`Votes::utterances`], its labels.
    pub labels: Vec<HeadMap<Option<u32>>>,
}

impl Aggregation {
    /// Whether the utterance has a label in every column in which there are votes: the paper of
    /// LFMIM keeps only such utterances.
    pub fn is_complete(&self, utterance: usize) -> bool {
        self.columns
            .iter()
            .all(|(head, column)| column.is_none() || self.labels[utterance].get(head).is_some())
    }
}

/// Applies one of [`RULES`](super::RULES) to every label column.
///
/// # Errors
/// [`LabelError`] for an unknown rule, an option out of range, or votes the rule cannot decide on.
pub fn aggregate(
    votes: &Votes,
    rule_id: &str,
    options: &RuleOptions,
    bootstrap: &BootstrapOptions,
) -> Result<Aggregation, LabelError> {
    aggregate_by(votes, rule(rule_id)?, options, bootstrap)
}

/// As [`aggregate`], by a rule that need not be a registered one.
///
/// # Errors
/// [`LabelError`] for an option out of range, or votes the rule cannot decide on.
pub fn aggregate_by(
    votes: &Votes,
    rule: &dyn Rule,
    options: &RuleOptions,
    bootstrap: &BootstrapOptions,
) -> Result<Aggregation, LabelError> {
    let mut labels = vec![HeadMap::default(); votes.utterances.len()];
    let mut columns = HeadMap::default();
    for head in votes.heads().collect::<Vec<Head>>() {
        let ballots = votes.columns.get(head);
        let decisions = rule.decide(votes, ballots, options)?;
        let mut states = StateCounts::default();
        for (ballot, decision) in ballots.iter().zip(&decisions) {
            states.add(decision.verdict);
            *labels[ballot.utterance as usize].get_mut(head) = decision.verdict.label();
        }
        let counts = ballots.iter().map(|b| b.counts(votes.classes.len()));
        *columns.get_mut(head) = Some(ColumnResult {
            decisions,
            states,
            agreement: agreement(counts, &votes.classes, bootstrap),
        });
    }
    Ok(Aggregation {
        rule: rule.id(),
        columns,
        labels,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::{
        Expected, formats::VoteFormat, formats::votes::LongVotes, rows::tests::rows_of,
    };
    use std::fmt::Write as _;

    fn votes(text: &str) -> Votes {
        LongVotes
            .read(&mut rows_of(text.as_bytes()).unwrap(), &Expected::default())
            .unwrap()
    }

    fn run(votes: &Votes, rule: &str) -> Result<Aggregation, LabelError> {
        let bootstrap = BootstrapOptions {
            n_resamples: 20,
            ..BootstrapOptions::default()
        };
        aggregate(votes, rule, &RuleOptions::default(), &bootstrap)
    }

    #[test]
    fn every_utterance_gets_its_state_in_every_column() {
        let mut text = String::from("id,modality,annotator,label\n");
        for (id, modality, labels) in [
            ("u1", "audio", "xxx"),
            ("u1", "multimodal", "xxyx"),
            ("u2", "audio", "xyz"),
            ("u2", "multimodal", "xxy"),
            ("u3", "multimodal", "xx"),
            ("u3", "audio", "yyzz"),
        ] {
            for (k, label) in labels.chars().enumerate() {
                let _ = writeln!(text, "{id},{modality},a{k},{label}");
            }
        }
        let votes = votes(&text);
        let found = run(&votes, "lfmim").unwrap();
        let audio = found.columns.audio.as_ref().unwrap();
        let states: Vec<&str> = audio.decisions.iter().map(|d| d.verdict.state()).collect();
        assert_eq!(states, ["accepted", "discarded", "discarded"]);
        let joint = found.columns.multimodal.as_ref().unwrap();
        let states: Vec<&str> = joint.decisions.iter().map(|d| d.verdict.state()).collect();
        assert_eq!(states, ["accepted", "needs_fourth_vote", "needs_votes"]);
        assert_eq!(joint.states.needs_fourth_vote, 1);
        assert_eq!(joint.decisions[0].soft, [0.75, 0.25, 0.0]);
        assert!(found.columns.text.is_none());
        assert_eq!(
            [0, 1, 2].map(|k| found.is_complete(k)),
            [true, false, false]
        );

        let majority = run(&votes, "majority").unwrap();
        let states = majority.columns.audio.as_ref().unwrap().states;
        assert_eq!((states.accepted, states.tie), (1, 2));
        for (_, column) in run(&votes, "dawid_skene").unwrap().columns.iter() {
            for decision in column.iter().flat_map(|c| &c.decisions) {
                assert!((decision.soft.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn a_fifth_vote_is_too_much_for_the_rule_of_the_paper() {
        let text = (0..5).fold("id,annotator,label\n".to_owned(), |t, k| {
            t + &format!("u1,a{k},x\n")
        });
        let error = run(&votes(&text), "lfmim").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the rule `lfmim` cannot decide on utterance `u1`: 5 votes, expected at most 4"
        );
    }
}
