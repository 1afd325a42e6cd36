//! The rule by which CHERMA was labelled [Sun2023, section 3].

use super::{Decision, Rule, RuleOptions, Verdict, shares};
use crate::labels::{Ballot, LabelError, Votes};

/// Three annotators vote. Three of one mind make a label, three of three minds discard the
/// utterance; two against one call for a fourth, and the label stands if that one joins the two. So
/// every label has three supporters out of three or four.
///
/// With four votes the result does not depend on their order, so counts serve as well. Ballots of
/// less than three votes are work to do; more than four votes are refused.
#[derive(Debug)]
pub struct Lfmim;

/// What the first three votes and, if it was given, a fourth lead to.
pub fn vote(first: [u32; 3], fourth: Option<u32>) -> Verdict {
    let [a, b, c] = first;
    let leading = if a == b || a == c {
        Some(a)
    } else if b == c {
        Some(b)
    } else {
        None
    };
    match (leading, fourth) {
        (None, _) => Verdict::Discarded,
        (Some(class), _) if a == b && b == c => Verdict::Accepted(class),
        (Some(_), None) => Verdict::NeedsFourthVote,
        (Some(class), Some(fourth)) if class == fourth => Verdict::Accepted(class),
        (Some(_), Some(_)) => Verdict::Discarded,
    }
}

impl Rule for Lfmim {
    fn id(&self) -> &'static str {
        "lfmim"
    }

    fn summary(&self) -> &'static str {
        "three votes, a fourth on 2:1; accepted with 3:0 or 3:1, else discarded [Sun2023]"
    }

    fn decide(
        &self,
        votes: &Votes,
        ballots: &[Ballot],
        _options: &RuleOptions,
    ) -> Result<Vec<Decision>, LabelError> {
        ballots
            .iter()
            .map(|ballot| {
                let class = |k: usize| ballot.votes[k].class;
                let verdict = match ballot.votes.len() {
                    n @ 0..3 => Verdict::NeedsVotes(3 - n as u32),
                    3 => vote([class(0), class(1), class(2)], None),
                    4 => vote([class(0), class(1), class(2)], Some(class(3))),
                    n => {
                        return Err(LabelError::Undecidable {
                            rule: self.id(),
                            id: votes.utterances[ballot.utterance as usize].clone(),
                            message: format!("{n} votes, expected at most 4"),
                            hint: "the rules `majority` and `dawid_skene` take any number",
                        });
                    }
                };
                Ok(Decision {
                    verdict,
                    soft: shares(&ballot.counts(votes.classes.len())),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_cases_of_the_paper() {
        assert_eq!(vote([0, 0, 0], None), Verdict::Accepted(0));
        assert_eq!(vote([0, 1, 2], None), Verdict::Discarded);
        for two_to_one in [[0, 0, 1], [0, 1, 0], [1, 0, 0]] {
            assert_eq!(vote(two_to_one, None), Verdict::NeedsFourthVote);
            assert_eq!(vote(two_to_one, Some(0)), Verdict::Accepted(0));
            assert_eq!(vote(two_to_one, Some(1)), Verdict::Discarded);
            assert_eq!(vote(two_to_one, Some(2)), Verdict::Discarded);
        }
    }

    /// Every outcome of three votes over seven classes, against the definition by counting.
    #[test]
    fn all_outcomes_of_three_and_four_votes_follow_from_the_counts() {
        const N: u32 = 7;
        for code in 0..N.pow(4) {
            let votes = [code % N, code / N % N, code / N / N % N, code / N / N / N];
            let count = |part: &[u32], class: u32| part.iter().filter(|v| **v == class).count();
            let most = |part: &[u32]| (0..N).map(|c| (count(part, c), c)).max().unwrap();
            let three = [votes[0], votes[1], votes[2]];
            let expected = match most(&three) {
                (3, class) => Verdict::Accepted(class),
                (2, _) => Verdict::NeedsFourthVote,
                _ => Verdict::Discarded,
            };
            assert_eq!(vote(three, None), expected, "{three:?}");
            let expected = match most(&votes) {
                (3 | 4, class) => Verdict::Accepted(class),
                _ => Verdict::Discarded,
            };
            assert_eq!(vote(three, Some(votes[3])), expected, "{votes:?}");
        }
    }

    proptest! {
        #[test]
        fn the_order_of_four_votes_does_not_matter(
            votes in prop::array::uniform4(0u32..5),
            order in Just([0usize, 1, 2, 3]).prop_shuffle(),
        ) {
            let [a, b, c, d] = order.map(|k| votes[k]);
            prop_assert_eq!(
                vote([votes[0], votes[1], votes[2]], Some(votes[3])),
                vote([a, b, c], Some(d))
            );
        }

        #[test]
        fn a_label_has_three_supporters_and_names_do_not_matter(
            votes in prop::array::uniform4(0u32..4), shift in 0u32..4, with_fourth: bool,
        ) {
            let fourth = with_fourth.then_some(votes[3]);
            let verdict = vote([votes[0], votes[1], votes[2]], fourth);
            let n = if with_fourth { 4 } else { 3 };
            if let Some(label) = verdict.label() {
                prop_assert!(votes[..n].iter().filter(|v| **v == label).count() >= 3);
            }
            let renamed = votes.map(|v| (v + shift) % 4);
            let other = vote([renamed[0], renamed[1], renamed[2]], fourth.map(|v| (v + shift) % 4));
            prop_assert_eq!(verdict.label().map(|v| (v + shift) % 4), other.label());
            prop_assert_eq!(verdict.state(), other.state());
        }
    }
}
