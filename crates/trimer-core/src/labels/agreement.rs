//! How well annotators agree, beyond what chance would give: Fleiss' kappa and Krippendorff's alpha
//! for nominal classes, over all classes and for each class against the rest.
//!
//! With `n_ic` votes for class c on item i, `n_i` votes on it and `N` on all items of two or more
//! votes (others say nothing about agreement and are left out):
//!
//! ```text
//! P_i = Σ_c n_ic (n_ic - 1) / (n_i (n_i - 1))        agreement on an item
//! p_c = Σ_i n_ic / N
//! Fleiss' kappa          = (mean P_i - Σ p_c²) / (1 - Σ p_c²)
//!     of class c         = 1 - mean[n_ic (n_i - n_ic) / (n_i (n_i - 1))] / (p_c (1 - p_c))
//! Krippendorff's alpha   = 1 - D_o / D_e
//!     D_o = Σ_i Σ_c n_ic (n_i - n_ic) / (n_i - 1) / N
//!     D_e = Σ_c N_c (N - N_c) / (N (N - 1)),   N_c = Σ_i n_ic
//!     of class c         the same with the two classes c and not c
//! ```
//!
//! Deviation: \[Fleiss1971\] has the same number of votes on every item; with different numbers the
//! formulas above weigh every item alike. Alpha \[Krippendorff2011\] weighs every vote alike.

use crate::stats::BootstrapOptions;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Binomial, Distribution};
use serde::Serialize;
use std::collections::BTreeMap;

/// A number and its interval; `null` in JSON where it does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// Percentile bootstrap interval over items.
    pub ci: [f64; 2],
}

/// Agreement about one class against all others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassAgreement {
    /// Name of the class.
    pub class: String,
    /// Share of the votes that it has.
    pub share: f64,
    /// Fleiss' kappa of the class.
    pub fleiss_kappa: Estimate,
    /// Krippendorff's alpha of the class.
    pub krippendorff_alpha: Estimate,
}

/// Agreement in one label column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Agreement {
    /// Items with two or more votes.
    pub items: u64,
    /// Items with fewer, which are left out.
    pub left_out: u64,
    /// Votes on the items that count.
    pub votes: u64,
    /// Mean share of pairs of votes on an item that are equal.
    pub observed: Estimate,
    /// Fleiss' kappa.
    pub fleiss_kappa: Estimate,
    /// Krippendorff's alpha.
    pub krippendorff_alpha: Estimate,
    /// Each class against the rest.
    pub per_class: Vec<ClassAgreement>,
}

/// Measures the agreement of items that are given as votes per class, `[item][class]`.
///
/// A value is NaN where it is not defined: without items, or where chance alone would always agree.
/// Values are at most 1; below -1 they can only be where items have different numbers of votes.
/// Intervals hold `options.level` of the bootstrap over items.
pub fn agreement(
    items: impl IntoIterator<Item = Vec<u32>>,
    classes: &[String],
    options: &BootstrapOptions,
) -> Agreement {
    let mut patterns = BTreeMap::new();
    let (mut n_items, mut left_out, mut n_votes) = (0, 0, 0);
    for mut counts in items {
        counts.resize(classes.len(), 0);
        let n: u64 = counts.iter().map(|c| u64::from(*c)).sum();
        if n < 2 {
            left_out += 1;
            continue;
        }
        n_items += 1;
        n_votes += n;
        *patterns.entry(counts).or_insert(0u64) += 1;
    }
    let sums = Sums::new(patterns, classes.len());
    let multiplicities: Vec<u64> = sums.patterns.iter().map(|p| p.items).collect();
    let values = sums.values(&multiplicities);
    let intervals = sums.intervals(n_items, options);
    let estimate = |k: usize| Estimate {
        value: values[k],
        ci: intervals[k],
    };
    let shares = sums.shares(&multiplicities);
    Agreement {
        items: n_items,
        left_out,
        votes: n_votes,
        observed: estimate(0),
        fleiss_kappa: estimate(1),
        krippendorff_alpha: estimate(2),
        per_class: classes
            .iter()
            .enumerate()
            .map(|(c, class)| ClassAgreement {
                class: class.clone(),
                share: shares[c],
                fleiss_kappa: estimate(3 + 2 * c),
                krippendorff_alpha: estimate(4 + 2 * c),
            })
            .collect(),
    }
}

/// Items with the same votes are one pattern: what a pattern adds to the sums is computed once.
struct Pattern {
    items: u64,
    votes: f64,
    /// Classes that have votes, with `n_c`, `n_c (n - n_c) / (n (n - 1))` and
    /// `n_c (n - n_c) / (n - 1)`.
    parts: Vec<(usize, [f64; 3])>,
}

struct Sums {
    patterns: Vec<Pattern>,
    n_classes: usize,
}

impl Sums {
    fn new(patterns: BTreeMap<Vec<u32>, u64>, n_classes: usize) -> Self {
        let patterns = patterns
            .into_iter()
            .map(|(counts, items)| {
                let votes: f64 = counts.iter().map(|c| f64::from(*c)).sum();
                let part = |(class, count): (usize, u32)| {
                    let n = f64::from(count);
                    let unlike = n * (votes - n) / (votes - 1.0);
                    (class, [n, unlike / votes, unlike])
                };
                let present = counts.into_iter().enumerate().filter(|(_, n)| *n > 0);
                Pattern {
                    items,
                    votes,
                    parts: present.map(part).collect(),
                }
            })
            .collect();
        Self {
            patterns,
            n_classes,
        }
    }

    /// Items, votes and per class the three sums of the parts.
    fn accumulate(&self, multiplicities: &[u64]) -> (f64, f64, Vec<[f64; 3]>) {
        let (mut items, mut votes) = (0.0, 0.0);
        let mut classes = vec![[0.0; 3]; self.n_classes];
        for (pattern, &times) in self.patterns.iter().zip(multiplicities) {
            if times == 0 {
                continue;
            }
            let times = times as f64;
            items += times;
            votes += times * pattern.votes;
            for (class, parts) in &pattern.parts {
                for (sum, part) in classes[*class].iter_mut().zip(parts) {
                    *sum += times * part;
                }
            }
        }
        (items, votes, classes)
    }

    fn shares(&self, multiplicities: &[u64]) -> Vec<f64> {
        let (_, votes, classes) = self.accumulate(multiplicities);
        classes.iter().map(|c| c[0] / votes).collect()
    }

    /// Observed agreement, kappa, alpha, then kappa and alpha of each class.
    fn values(&self, multiplicities: &[u64]) -> Vec<f64> {
        let (items, votes, classes) = self.accumulate(multiplicities);
        // 0 / 0 is the undefined case, a chance that always agrees
        let ratio = |observed: f64, expected: f64| {
            if expected > 0.0 {
                1.0 - observed / expected
            } else {
                f64::NAN
            }
        };
        let sum = |f: &dyn Fn(&[f64; 3]) -> f64| classes.iter().map(f).sum::<f64>();
        let mean_unlike = sum(&|c| c[1]) / items;
        let chance_unlike = sum(&|c| c[0] / votes * (1.0 - c[0] / votes));
        let chance_pairs = |c: &[f64; 3]| c[0] * (votes - c[0]) / (votes * (votes - 1.0));
        let mut values = vec![
            1.0 - mean_unlike,
            ratio(mean_unlike, chance_unlike),
            ratio(sum(&|c| c[2]) / votes, sum(&chance_pairs)),
        ];
        for c in &classes {
            let share = c[0] / votes;
            values.push(ratio(c[1] / items, share * (1.0 - share)));
            // class and rest are two classes with the same disagreement: both sides double
            values.push(ratio(c[2] / votes, chance_pairs(c)));
        }
        values
    }

    /// Items are drawn with replacement: how often each pattern comes up is multinomial, and that
    /// is drawn pattern by pattern, which does not cost more with more items.
    fn intervals(&self, n_items: u64, options: &BootstrapOptions) -> Vec<[f64; 2]> {
        let n_values = 3 + 2 * self.n_classes;
        let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
        let chunk = options.n_resamples.div_ceil(n_threads).max(1);
        let mut rows: Vec<Vec<f64>> = vec![Vec::new(); options.n_resamples];
        std::thread::scope(|scope| {
            for (i, rows) in rows.chunks_mut(chunk).enumerate() {
                scope.spawn(move || {
                    let mut drawn = vec![0; self.patterns.len()];
                    for (j, row) in rows.iter_mut().enumerate() {
                        // a stream of its own for each resample, whatever the number of threads
                        let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
                        rng.set_stream((i * chunk + j) as u64);
                        self.draw(n_items, &mut rng, &mut drawn);
                        *row = self.values(&drawn);
                    }
                });
            }
        });
        (0..n_values)
            .map(|k| {
                let column = rows.iter().map(|row| row[k]);
                crate::stats::bootstrap::percentile_interval(column, options.level)
            })
            .collect()
    }

    fn draw(&self, n_items: u64, rng: &mut ChaCha8Rng, drawn: &mut [u64]) {
        let (mut left, mut mass) = (n_items, n_items);
        for (pattern, drawn) in self.patterns.iter().zip(drawn) {
            let share = pattern.items as f64 / mass.max(1) as f64;
            *drawn = if share >= 1.0 {
                left
            } else {
                Binomial::new(left, share).map_or(0, |b| b.sample(rng))
            };
            left -= *drawn;
            mass -= pattern.items;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn classes(n: usize) -> Vec<String> {
        (0..n).map(|k| format!("c{k}")).collect()
    }

    fn quick() -> BootstrapOptions {
        BootstrapOptions {
            n_resamples: 50,
            ..BootstrapOptions::default()
        }
    }

    #[test]
    fn the_worked_example_of_fleiss() {
        // 10 items, 14 votes each, 5 classes: the example of [Fleiss1971] as it is taught with these
        // rounded counts; kappa 0.210 (0.2099305...)
        let table = [
            [0, 0, 0, 0, 14],
            [0, 2, 6, 4, 2],
            [0, 0, 3, 5, 6],
            [0, 3, 9, 2, 0],
            [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0],
            [3, 2, 6, 3, 0],
            [2, 5, 3, 2, 2],
            [6, 5, 2, 1, 0],
            [0, 2, 2, 3, 7],
        ];
        let found = agreement(table.map(Vec::from), &classes(5), &quick());
        assert!((found.observed.value - 0.378_021_978_021_978).abs() < 1e-12);
        assert!(
            (found.fleiss_kappa.value - 0.2099306857139742).abs() < 1e-6,
            "{found:?}"
        );
        // with n votes on each of N items: alpha = 1 - (1 - kappa) (nN - 1) / (nN)
        let alpha = 1.0 - (1.0 - found.fleiss_kappa.value) * 139.0 / 140.0;
        assert!((found.krippendorff_alpha.value - alpha).abs() < 1e-12);
        // kappa is the mean of the classes' kappas, weighted by p (1 - p)
        let weight = |c: &ClassAgreement| c.share * (1.0 - c.share);
        let total: f64 = found.per_class.iter().map(weight).sum();
        let mean: f64 = found
            .per_class
            .iter()
            .map(|c| weight(c) * c.fleiss_kappa.value)
            .sum::<f64>()
            / total;
        assert!((mean - found.fleiss_kappa.value).abs() < 1e-12);
    }

    #[test]
    fn alpha_of_a_table_with_gaps_by_hand() {
        // votes: aa, ab, bbb, and one item with a single vote, which is left out
        // N = 7, N_a = 3, N_b = 4; D_o = (0 + (1·1 + 1·1)/1 + 0) / 7 = 2/7
        // D_e = 2·3·4 / (7·6) = 24/42; alpha = 1 - (2/7) / (4/7) = 0.5
        let items = [vec![2, 0], vec![1, 1], vec![0, 3], vec![1, 0]];
        let found = agreement(items, &classes(2), &quick());
        assert_eq!((found.items, found.left_out, found.votes), (3, 1, 7));
        assert!((found.krippendorff_alpha.value - 0.5).abs() < 1e-12);
        assert!((found.observed.value - 2.0 / 3.0).abs() < 1e-12);
        // two classes: each against the rest is the whole
        for class in &found.per_class {
            assert!((class.krippendorff_alpha.value - 0.5).abs() < 1e-12);
            assert!((class.fleiss_kappa.value - found.fleiss_kappa.value).abs() < 1e-12);
        }
        // kappa: mean unlike pairs 1/3, chance 2·(3/7)(4/7) = 24/49
        assert!((found.fleiss_kappa.value - (1.0 - 49.0 / 72.0)).abs() < 1e-12);
    }

    #[test]
    fn perfect_agreement_is_one_and_a_single_class_is_undefined() {
        let both = agreement([vec![3, 0], vec![0, 2]], &classes(2), &quick());
        assert_eq!(both.fleiss_kappa.value, 1.0);
        assert_eq!(both.krippendorff_alpha.value, 1.0);
        let one = agreement([vec![3, 0], vec![2, 0]], &classes(2), &quick());
        assert!(one.fleiss_kappa.value.is_nan() && one.krippendorff_alpha.value.is_nan());
        let none = agreement([], &classes(2), &quick());
        assert!(none.fleiss_kappa.value.is_nan() && none.observed.value.is_nan());
        assert_eq!(
            serde_json::to_value(&none).unwrap()["fleiss_kappa"]["value"],
            serde_json::Value::Null
        );
    }

    #[test]
    fn the_interval_holds_the_value_and_does_not_change() {
        let items: Vec<Vec<u32>> = (0..300u32)
            .map(|i| {
                if i % 3 == 0 {
                    vec![2, 1, i % 2]
                } else {
                    vec![3, 0, u32::from(i % 7 == 0) * 3]
                }
            })
            .collect();
        let options = BootstrapOptions {
            n_resamples: 400,
            ..BootstrapOptions::default()
        };
        let found = agreement(items.clone(), &classes(3), &options);
        let Estimate {
            value,
            ci: [low, high],
        } = found.fleiss_kappa;
        assert!(
            low < value && value < high && high - low < 0.4,
            "{:?}",
            found.fleiss_kappa
        );
        assert_eq!(found, agreement(items, &classes(3), &options));
    }

    proptest! {
        #[test]
        fn values_stay_in_their_range_whatever_the_votes(
            items in prop::collection::vec(prop::collection::vec(0u32..4, 3), 0..12)
        ) {
            // Only with equally many votes for each item the observed disagreement is at most twice that of chance.
            let mut votes = items.iter().map(|item| item.iter().sum::<u32>()).filter(|n| *n > 1);
            let first = votes.next();
            let least = if votes.all(|n| Some(n) == first) { -1.0 - 1e-9 } else { f64::NEG_INFINITY };
            let found = agreement(items, &classes(3), &quick());
            let all = found.per_class.iter().flat_map(|c| [c.fleiss_kappa, c.krippendorff_alpha]);
            for e in all.chain([found.fleiss_kappa, found.krippendorff_alpha, found.observed]) {
                prop_assert!(e.value.is_nan() || (least..=1.0 + 1e-9).contains(&e.value), "{:?}", e);
            }
        }
    }
}
