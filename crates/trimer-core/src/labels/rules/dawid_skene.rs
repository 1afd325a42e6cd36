//! Labels and annotators' error rates at once, by expectation maximisation \[Dawid1979\].

use super::{Decision, Rule, RuleOptions, majority, shares};
use crate::labels::{Ballot, LabelError, Votes};

/// The maximum likelihood estimate of each utterance's class when every annotator has a confusion
/// matrix of their own. The soft label is the posterior; the label is its leader when that has more
/// than `threshold`, and there is none where the two largest differ by no more than 1e-9.
///
/// It starts from the shares of the votes and alternates the M step (class priors and confusion
/// matrices) and the E step (posteriors) until no posterior moves by more than 1e-6, for at most 200
/// rounds. Nothing is random. Deviation: 0.01 is added to every entry of a confusion matrix before
/// its rows are normalised, since annotators with few votes would else have zeros that nothing can
/// outweigh.
#[derive(Debug)]
pub struct DawidSkene;

const PSEUDO_COUNT: f64 = 0.01;
const TOLERANCE: f64 = 1e-6;
const MAX_ROUNDS: usize = 200;

impl Rule for DawidSkene {
    fn id(&self) -> &'static str {
        "dawid_skene"
    }

    fn summary(&self) -> &'static str {
        "weighs annotators by their estimated errors (EM); posterior above the threshold [Dawid1979]"
    }

    fn decide(
        &self,
        votes: &Votes,
        ballots: &[Ballot],
        options: &RuleOptions,
    ) -> Result<Vec<Decision>, LabelError> {
        options.check()?;
        let nameless = ballots
            .iter()
            .find(|b| b.votes.iter().any(|v| v.annotator.is_none()));
        if let Some(ballot) = nameless {
            return Err(LabelError::Undecidable {
                rule: self.id(),
                id: votes.utterances[ballot.utterance as usize].clone(),
                message: "who voted is not known".to_owned(),
                hint: "it needs one row per vote with its annotator (the format `votes`)",
            });
        }
        let posteriors = estimate(ballots, votes.classes.len(), votes.annotators.len());
        Ok(ballots
            .iter()
            .zip(posteriors)
            .map(|(ballot, soft)| {
                let missing = options.min_votes.saturating_sub(ballot.votes.len() as u32);
                Decision {
                    verdict: majority::decide(&soft, 1e-9, missing, options.threshold),
                    soft,
                }
            })
            .collect())
    }
}

/// Posterior of each ballot, `[ballot][class]`.
fn estimate(ballots: &[Ballot], n_classes: usize, n_annotators: usize) -> Vec<Vec<f64>> {
    let mut posteriors: Vec<Vec<f64>> = ballots
        .iter()
        .map(|ballot| shares(&ballot.counts(n_classes)))
        .collect();
    for _ in 0..MAX_ROUNDS {
        let model = Model::fit(ballots, &posteriors, n_classes, n_annotators);
        let mut moved: f64 = 0.0;
        for (ballot, posterior) in ballots.iter().zip(&mut posteriors) {
            let new = model.posterior(ballot);
            for (old, new) in posterior.iter().zip(&new) {
                moved = moved.max((old - new).abs());
            }
            *posterior = new;
        }
        if moved <= TOLERANCE {
            break;
        }
    }
    posteriors
}

/// Logarithms of the priors and of the confusion matrices.
struct Model {
    n_classes: usize,
    priors: Vec<f64>,
    /// `[annotator][true class][vote]`
    confusion: Vec<f64>,
}

impl Model {
    /// The M step.
    fn fit(
        ballots: &[Ballot],
        posteriors: &[Vec<f64>],
        n_classes: usize,
        n_annotators: usize,
    ) -> Self {
        let mut priors = vec![0.0; n_classes];
        let mut confusion = vec![PSEUDO_COUNT; n_annotators * n_classes * n_classes];
        for (ballot, posterior) in ballots.iter().zip(posteriors) {
            for (prior, p) in priors.iter_mut().zip(posterior) {
                *prior += p;
            }
            for vote in &ballot.votes {
                let Some(annotator) = vote.annotator else {
                    continue;
                };
                for (truth, p) in posterior.iter().enumerate() {
                    let row = (annotator as usize * n_classes + truth) * n_classes;
                    confusion[row + vote.class as usize] += p;
                }
            }
        }
        let total: f64 = priors.iter().sum();
        for prior in &mut priors {
            *prior = (*prior / total).ln();
        }
        for row in confusion.chunks_mut(n_classes.max(1)) {
            let total: f64 = row.iter().sum();
            for value in row {
                *value = (*value / total).ln();
            }
        }
        Self {
            n_classes,
            priors,
            confusion,
        }
    }

    /// The E step for one ballot, in logarithms so that many votes cannot underflow.
    fn posterior(&self, ballot: &Ballot) -> Vec<f64> {
        let mut values = self.priors.clone();
        for vote in &ballot.votes {
            let Some(annotator) = vote.annotator else {
                continue;
            };
            for (truth, value) in values.iter_mut().enumerate() {
                let row = (annotator as usize * self.n_classes + truth) * self.n_classes;
                *value += self.confusion[row + vote.class as usize];
            }
        }
        let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        for value in &mut values {
            *value = (*value - largest).exp();
        }
        let total: f64 = values.iter().sum();
        for value in &mut values {
            *value /= total;
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Vote;

    fn ballots(table: &[&[(u32, u32)]]) -> Vec<Ballot> {
        let vote = |&(annotator, class): &(u32, u32)| Vote {
            annotator: Some(annotator),
            class,
            line: 0,
        };
        table
            .iter()
            .zip(0..)
            .map(|(votes, utterance)| Ballot {
                utterance,
                votes: votes.iter().map(vote).collect(),
            })
            .collect()
    }

    /// Two careful annotators and one who says the opposite: their votes are turned round, so that
    /// one careful annotator and the contrary one decide a ballot that the majority leaves open.
    #[test]
    fn an_annotator_who_is_always_wrong_still_counts() {
        let mut table: Vec<&[(u32, u32)]> = Vec::new();
        for _ in 0..10 {
            table.push(&[(0, 0), (1, 0), (2, 1)]);
            table.push(&[(0, 1), (1, 1), (2, 0)]);
        }
        table.push(&[(0, 0), (2, 1)]);
        let found = estimate(&ballots(&table), 2, 3);
        assert!(found[20][0] > 0.99, "{:?}", found[20]);
        assert!(found[0][0] > 0.99 && found[1][1] > 0.99);
    }

    /// The values are from the same algorithm written in NumPy
    /// (`crates/trimer-core/tests/data/labels_reference.py`).
    #[test]
    fn posteriors_are_those_of_the_reference() {
        let table: [&[(u32, u32)]; 6] = [
            &[(0, 0), (1, 0), (2, 1)],
            &[(0, 1), (1, 1), (2, 1)],
            &[(0, 2), (1, 0), (2, 2)],
            &[(0, 0), (1, 1)],
            &[(1, 2), (2, 2)],
            &[(0, 0), (1, 0), (2, 0)],
        ];
        let found = estimate(&ballots(&table), 3, 3);
        let expected: [[f64; 3]; 6] = [
            [0.99623787457134, 0.0037124276802609, 4.9697748398841e-05],
            [0.0014121134625127, 0.99858738464041, 5.0189707862423e-07],
            [3.8661327165682e-05, 9.6874703878622e-07, 0.9999603699258],
            [0.62546013552405, 0.37444118419147, 9.8680284480483e-05],
            [5.0182145279263e-05, 9.8121701768093e-05, 0.99985169615295],
            [0.99991337173373, 3.6861253282479e-05, 4.9767012984405e-05],
        ];
        for (found, expected) in found.iter().zip(&expected) {
            for (f, e) in found.iter().zip(expected) {
                assert!((f - e).abs() < 1e-9, "{found:?} {expected:?}");
            }
        }
    }

    #[test]
    fn nobody_and_nothing_give_no_number_that_is_none() {
        assert!(estimate(&[], 2, 0).is_empty());
        let one = estimate(&ballots(&[&[(0, 1)]]), 2, 1);
        assert_eq!(one[0].iter().sum::<f64>(), 1.0);
    }
}
