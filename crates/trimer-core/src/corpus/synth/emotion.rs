//! Who shows what: the joint distribution of the emotions in a synthetic corpus.

use super::Ceiling;
use crate::{Head, HeadMap, Modality, ModalityMap, ModalitySet};
use std::collections::BTreeMap;

/// Number of classes.
pub(super) const N: usize = 7;

/// The six basic emotions and neutrality, in the index order of CHERMA.
pub(super) const CLASSES: [&str; N] = [
    "anger", "disgust", "fear", "happy", "neutral", "sad", "surprise",
];

/// How often each emotion is felt.
const PRIOR: [f64; N] = [0.17, 0.09, 0.07, 0.18, 0.25, 0.15, 0.09];

/// How often a felt emotion is shown as it is. Voices tell anger, sadness and neutrality best,
/// faces happiness, and words all of them equally, as annotators of CHERMA found.
const RELIABILITY: ModalityMap<[f64; N]> = ModalityMap {
    text: [0.70, 0.66, 0.62, 0.74, 0.76, 0.68, 0.64],
    audio: [0.77, 0.60, 0.63, 0.67, 0.79, 0.75, 0.61],
    vision: [0.71, 0.65, 0.59, 0.81, 0.72, 0.73, 0.69],
};

/// What is shown instead, as weights per felt emotion (rows). Words tend to sound neutral, voices
/// are mistaken for others of the same arousal, faces for others with the same muscles.
const CONFUSION: ModalityMap<[[u32; N]; N]> = ModalityMap {
    text: [
        [0, 3, 1, 1, 4, 2, 1],
        [3, 0, 1, 1, 4, 2, 1],
        [1, 1, 0, 1, 4, 3, 2],
        [1, 1, 1, 0, 5, 1, 2],
        [1, 1, 1, 2, 0, 2, 1],
        [1, 2, 2, 1, 5, 0, 1],
        [1, 1, 3, 3, 4, 1, 0],
    ],
    audio: [
        [0, 2, 1, 3, 1, 1, 3],
        [3, 0, 1, 1, 3, 2, 1],
        [2, 1, 0, 2, 1, 2, 4],
        [3, 1, 1, 0, 2, 1, 4],
        [1, 2, 1, 1, 0, 4, 1],
        [1, 2, 1, 1, 5, 0, 1],
        [3, 1, 3, 4, 1, 1, 0],
    ],
    vision: [
        [0, 4, 1, 1, 2, 2, 1],
        [4, 0, 1, 1, 2, 2, 1],
        [1, 2, 0, 1, 1, 3, 5],
        [1, 1, 1, 0, 3, 1, 2],
        [1, 1, 1, 2, 0, 3, 1],
        [2, 2, 2, 1, 4, 0, 1],
        [1, 1, 5, 3, 1, 1, 0],
    ],
};

/// How often an annotator errs: the label is then one of the six others, each equally often.
const SLIP: f64 = 0.04;

/// The rule in words, for the description of the corpus.
pub(super) const RULE: &str = "\
An emotion is felt. Each modality shows it or, with a probability that depends on modality and emotion, \
a similar one; features depend on what is shown and not on what is felt. The label of a modality is what \
it shows. The multimodal label is a vote: each modality gives the emotion it shows a weight, namely its \
reliability for that emotion, and the emotion with the largest sum wins. In 4 % of all cases, in each label \
column separately, the annotator errs and writes one of the other six. No single modality and no pair \
decides the vote; all three together do.";

/// What one utterance is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scene {
    /// The class that each modality shows.
    pub(super) shown: ModalityMap<usize>,
    /// What the annotators wrote.
    pub(super) labels: HeadMap<usize>,
}

/// Probability that a modality shows `shown` when `felt` is felt.
fn show_probability(modality: Modality, felt: usize, shown: usize) -> f64 {
    let reliability = RELIABILITY.get(modality)[felt];
    if felt == shown {
        return reliability;
    }
    let weights = &CONFUSION.get(modality)[felt];
    let total: u32 = weights.iter().sum();
    (1.0 - reliability) * f64::from(weights[shown]) / f64::from(total)
}

/// The class that wins the vote; of equal sums the one of lower index.
pub(super) fn vote(shown: &ModalityMap<usize>) -> usize {
    let mut sums = [0.0; N];
    for (modality, class) in shown.iter() {
        sums[*class] += RELIABILITY.get(modality)[*class];
    }
    (1..N).fold(0, |best, k| if sums[k] > sums[best] { k } else { best })
}

/// Draws what somebody feels who is not moved by anything.
pub(super) fn draw_felt(uniform: f64) -> usize {
    pick(&PRIOR, uniform)
}

/// Draws a scene; `uniform` gives numbers in [0, 1). Where it is `given` what is felt, that is the
/// multimodal label; else the label is a vote.
pub(super) fn draw(given: Option<usize>, uniform: &mut impl FnMut() -> f64) -> Scene {
    let felt = given.unwrap_or_else(|| draw_felt(uniform()));
    let shown = ModalityMap::from_fn(|m| {
        let distribution: [f64; N] = std::array::from_fn(|k| show_probability(m, felt, k));
        pick(&distribution, uniform())
    });
    let winner = given.unwrap_or_else(|| vote(&shown));
    let labels = HeadMap::from_fn(|head| {
        let truth = head.modality().map_or(winner, |m| *shown.get(m));
        let (slips, which) = (uniform() < SLIP, uniform());
        if slips {
            // One of the N - 1 others: count on from the truth and wrap around.
            let step = 1 + ((which * (N - 1) as f64) as usize).min(N - 2);
            (truth + step) % N
        } else {
            truth
        }
    });
    Scene { shown, labels }
}

/// The class in whose part of [0, 1) the number falls.
fn pick(distribution: &[f64; N], uniform: f64) -> usize {
    let mut upper = 0.0;
    for (k, p) in distribution.iter().enumerate() {
        upper += p;
        if uniform < upper {
            return k;
        }
    }
    N - 1 // the sum fell short of 1 by rounding
}

/// All combinations of shown classes with their probabilities.
fn joint() -> Vec<(ModalityMap<usize>, f64)> {
    let mut cells = Vec::with_capacity(N * N * N);
    for text in 0..N {
        for audio in 0..N {
            for vision in 0..N {
                let shown = ModalityMap {
                    text,
                    audio,
                    vision,
                };
                let p = (0..N)
                    .map(|felt| {
                        let shows = shown.iter().map(|(m, s)| show_probability(m, felt, *s));
                        PRIOR[felt] * shows.product::<f64>()
                    })
                    .sum();
                cells.push((shown, p));
            }
        }
    }
    cells
}

/// Probability that the annotator writes `label` where `truth` is right.
fn label_probability(truth: usize, label: usize) -> f64 {
    if truth == label {
        1.0 - SLIP
    } else {
        SLIP / (N - 1) as f64
    }
}

/// Accuracy of the most probable label of a column given what some modalities show:
/// `sum_s max_y P(s, y)`.
fn accuracy(
    cells: &[(ModalityMap<usize>, f64)],
    observed: ModalitySet,
    truth: impl Fn(&ModalityMap<usize>) -> usize,
) -> f64 {
    let mut table: BTreeMap<Vec<usize>, [f64; N]> = BTreeMap::new();
    for (shown, p) in cells {
        let seen = observed.iter().map(|m| *shown.get(m)).collect();
        let row = table.entry(seen).or_default();
        for (label, sum) in row.iter_mut().enumerate() {
            *sum += p * label_probability(truth(shown), label);
        }
    }
    table
        .values()
        .map(|row| row.iter().copied().fold(0.0, f64::max))
        .sum()
}

/// The members of `a` that are in `b` too.
fn both(a: ModalitySet, b: ModalitySet) -> ModalitySet {
    a.iter().filter(|m| b.contains(*m)).collect()
}

/// The ceilings by enumeration of all cases, where the multimodal label is what is felt and the
/// observer sees one utterance. Only the features of `telling` modalities show anything.
pub(super) fn ceiling_of_felt(telling: ModalitySet) -> Ceiling {
    let cells = joint();
    let accuracy_of = |observed: ModalitySet| {
        let observed = both(observed, telling);
        let mut table: BTreeMap<Vec<usize>, [f64; N]> = BTreeMap::new();
        for (shown, _) in &cells {
            let seen = observed.iter().map(|m| *shown.get(m)).collect();
            let row = table.entry(seen).or_default();
            for (felt, prior) in PRIOR.iter().enumerate() {
                let shows = shown.iter().map(|(m, s)| show_probability(m, felt, *s));
                let p = prior * shows.product::<f64>();
                for (label, sum) in row.iter_mut().enumerate() {
                    *sum += p * label_probability(felt, label);
                }
            }
        }
        let best = |row: &[f64; N]| row.iter().copied().fold(0.0, f64::max);
        table.values().map(best).sum()
    };
    let all = ceiling(telling);
    Ceiling {
        multimodal_from: all
            .multimodal_from
            .keys()
            .map(|name| (name.clone(), accuracy_of(named(name))))
            .collect(),
        by_column: HeadMap {
            multimodal: accuracy_of(ModalitySet::ALL),
            ..all.by_column
        },
        majority: accuracy_of(ModalitySet::default()),
    }
}

/// The set with this name, as [`ModalitySet`] writes it.
fn named(name: &str) -> ModalitySet {
    let member = |m: &Modality| name.split('+').any(|part| part == m.as_str());
    Modality::ALL.into_iter().filter(member).collect()
}

/// The ceilings by enumeration of all cases. Only the features of `telling` modalities show
/// anything; the others are observed without learning from them.
pub(super) fn ceiling(telling: ModalitySet) -> Ceiling {
    let cells = joint();
    let subsets = (1_usize..8).map(|bits| {
        let members = Modality::ALL.into_iter().enumerate();
        let members = members.filter(|(k, _)| bits >> k & 1 == 1);
        members.map(|(_, m)| m).collect::<ModalitySet>()
    });
    Ceiling {
        multimodal_from: subsets
            .map(|s| (s.to_string(), accuracy(&cells, both(s, telling), vote)))
            .collect(),
        by_column: HeadMap::from_fn(|head: Head| {
            accuracy(&cells, telling, |shown| {
                head.modality()
                    .map_or_else(|| vote(shown), |m| *shown.get(m))
            })
        }),
        majority: accuracy(&cells, ModalitySet::default(), vote),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn the_distributions_sum_to_one() {
        assert!((PRIOR.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!((joint().iter().map(|(_, p)| p).sum::<f64>() - 1.0).abs() < 1e-12);
        for modality in Modality::ALL {
            for felt in 0..N {
                assert_eq!(CONFUSION.get(modality)[felt][felt], 0);
                let sum: f64 = (0..N).map(|s| show_probability(modality, felt, s)).sum();
                assert!((sum - 1.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn all_three_modalities_are_needed() {
        let c = ceiling(ModalitySet::ALL);
        let from = |set: &str| c.multimodal_from[set];
        for single in ["text", "audio", "vision"] {
            assert!(
                (0.6..0.75).contains(&from(single)),
                "{single}: {}",
                from(single)
            );
            assert!(from(single) > c.majority + 0.3);
        }
        for (pair, parts) in [
            ("text+audio", ["text", "audio"]),
            ("text+vision", ["text", "vision"]),
            ("audio+vision", ["audio", "vision"]),
        ] {
            assert!(parts.iter().all(|p| from(pair) > from(p) + 0.03));
            assert!(from("text+audio+vision") > from(pair) + 0.1);
        }
        // The vote is a function of what is shown: only the annotator's slips remain.
        assert!((from("text+audio+vision") - 0.96).abs() < 1e-12);
        assert!(c.by_column.iter().all(|(_, a)| (a - 0.96).abs() < 1e-12));
    }

    #[test]
    fn noise_tells_an_observer_nothing() {
        let all = ceiling(ModalitySet::ALL);
        let pair: ModalitySet = [Modality::Text, Modality::Audio].into_iter().collect();
        let deaf = ceiling(pair);
        let (full, from) = (&all.multimodal_from, &deaf.multimodal_from);
        assert_eq!(from["text+audio+vision"], full["text+audio"]);
        assert_eq!(from["text+vision"], full["text"]);
        assert_eq!(from["vision"], all.majority);
        // Summed over other cases, so equal but for rounding.
        assert!((deaf.by_column.text - all.by_column.text).abs() < 1e-12);
        // What vision shows can only be guessed from the others.
        assert!(deaf.by_column.vision < 0.7 && deaf.by_column.vision > 0.4);
        assert_eq!(
            ceiling(ModalitySet::default()).by_column.multimodal,
            all.majority
        );
        let felt = ceiling_of_felt(pair);
        assert_eq!(felt.multimodal_from["vision"], felt.majority);
    }

    /// Observers who estimate the most probable label from one half of a large sample reach the
    /// ceiling on the other half.
    #[test]
    fn simulation_agrees_with_enumeration() {
        const HALF: usize = 200_000;
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let scenes: Vec<_> = (0..2 * HALF)
            .map(|_| draw(None, &mut || rng.random::<f64>()))
            .collect();
        let (known, new) = scenes.split_at(HALF);
        let exact = ceiling(ModalitySet::ALL);
        for (name, expected) in &exact.multimodal_from {
            let observed: ModalitySet = name.split('+').map(|m| m.parse().unwrap()).collect();
            let seen = |s: &Scene| observed.iter().map(|m| *s.shown.get(m)).collect::<Vec<_>>();
            let mut counts: BTreeMap<Vec<usize>, [u32; N]> = BTreeMap::new();
            for scene in known {
                counts.entry(seen(scene)).or_default()[scene.labels.multimodal] += 1;
            }
            let guess = |s: &Scene| {
                let row = counts.get(&seen(s)).copied().unwrap_or_default();
                (0..N).max_by_key(|k| row[*k]).unwrap()
            };
            let right = new
                .iter()
                .filter(|s| guess(s) == s.labels.multimodal)
                .count();
            let found = right as f64 / HALF as f64;
            // The standard error is at most sqrt(0.25 / 200,000) = 0.0011; four of them.
            assert!(
                (found - expected).abs() < 0.0045,
                "{name}: {found} {expected}"
            );
        }
        for (head, expected) in exact.by_column.iter() {
            let Some(modality) = head.modality() else {
                continue;
            };
            let right = new
                .iter()
                .filter(|s| s.shown.get(modality) == s.labels.get(head));
            let found = right.count() as f64 / HALF as f64;
            assert!(
                (found - expected).abs() < 0.0045,
                "{head}: {found} {expected}"
            );
        }
    }
}
