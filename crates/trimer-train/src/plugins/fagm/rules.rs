//! The formulas of FAGM, on plain numbers in the precision of the reference.

use trimer_core::{Modality, ModalityMap};

use trimer_nn::layers::turns::JOINT_ORDER;

/// `c_m = (r_m - min_j r_j)^γ` with `r = softmax(scale * score)`: how much the gradients of each modality
/// are weakened; zero for the weakest one and for modalities that are not there.
pub fn coefficients(scores: &ModalityMap<Option<f64>>, scale: f64, gamma: f64) -> ModalityMap<f32> {
    let present: Vec<f64> = JOINT_ORDER
        .into_iter()
        .filter_map(|m| *scores.get(m))
        .collect();
    let largest = present.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exps = |score: f64| (scale * (score - largest)).exp();
    let sum: f64 = present.iter().map(|score| exps(*score)).sum();
    // The reference computes in f32; a difference below its resolution is none.
    let share = |score: f64| (exps(score) / sum) as f32;
    let least = present
        .iter()
        .map(|score| share(*score))
        .fold(f32::INFINITY, f32::min);
    ModalityMap::from_fn(|m| match scores.get(m) {
        Some(score) => f64::from(share(*score) - least).powf(gamma) as f32,
        None => 0.0,
    })
}

/// Which neurons are penalised: with `P` positive differences and `n = ⌊P β⌋`, those that exceed the
/// `n`-th largest difference, or the largest where `n < 1`. Without ties that is `n - 1` of them.
pub fn penalty_mask(differences: &[f32], beta: f64) -> Vec<bool> {
    if differences.is_empty() {
        return Vec::new();
    }
    let positive = differences.iter().filter(|x| **x > 0.0).count();
    let n = (positive as f64 * beta) as usize;
    let mut sorted = differences.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let threshold = sorted[n.saturating_sub(1).min(sorted.len() - 1)];
    differences.iter().map(|x| *x > threshold).collect()
}

/// `Δ_m = δ_m - max_{j ≠ m} δ_j` over all three modalities; one that is not read counts as zero.
pub fn dominance(delta: &ModalityMap<Option<Vec<f32>>>, of: Modality) -> Option<Vec<f32>> {
    let own = delta.get(of).as_ref()?;
    let others: Vec<Option<&Vec<f32>>> = Modality::ALL
        .into_iter()
        .filter(|m| *m != of)
        .map(|m| delta.get(m).as_ref())
        .collect();
    let other = |i: usize| {
        others
            .iter()
            .map(|delta| delta.and_then(|d| d.get(i)).copied().unwrap_or(0.0))
            .fold(f32::NEG_INFINITY, f32::max)
    };
    Some(own.iter().enumerate().map(|(i, d)| d - other(i)).collect())
}

/// `1 - Σ_m mask_m c_m` per neuron.
///
/// With `stale`, the text's mask is the vision's, as in the released BiDDIN script.
pub fn penalty(
    masks: &ModalityMap<Option<Vec<bool>>>,
    coefficients: &ModalityMap<f32>,
    stale: bool,
) -> Vec<f32> {
    let mask_of = |m: Modality| match m {
        Modality::Text if stale => masks.vision.as_ref(),
        other => masks.get(other).as_ref(),
    };
    let width = Modality::ALL
        .into_iter()
        .filter_map(|m| masks.get(m).as_ref())
        .map(Vec::len)
        .max()
        .unwrap_or(0);
    let mut penalty = vec![1.0_f32; width];
    for modality in JOINT_ORDER {
        let coefficient = coefficients.get(modality);
        if let Some(mask) = mask_of(modality) {
            for (p, _) in penalty.iter_mut().zip(mask).filter(|(_, hit)| **hit) {
                *p -= coefficient;
            }
        }
    }
    penalty
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(audio: f64, vision: f64, text: f64) -> ModalityMap<Option<f64>> {
        ModalityMap {
            text: Some(text),
            audio: Some(audio),
            vision: Some(vision),
        }
    }

    /// The numbers of the specification: softmax of 0.05, 0.01 and 0.1.
    #[test]
    fn coefficients_follow_the_score() {
        for (gamma, expected) in [
            (0.5, [0.114_096, 0.0, 0.173_320]),
            (0.05, [0.804_872, 0.0, 0.839_237]),
            (0.001, [0.995_668, 0.0, 0.996_501]),
        ] {
            let c = coefficients(&scores(0.5, 0.1, 1.0), 0.1, gamma);
            for (ours, expected) in [c.audio, c.vision, c.text].into_iter().zip(expected) {
                assert!((ours - expected).abs() < 2e-6, "{ours} for {expected}");
            }
        }
        let mut two = scores(0.5, 0.1, 0.0);
        two.text = None;
        let c = coefficients(&two, 0.1, 0.5);
        assert_eq!((c.vision, c.text), (0.0, 0.0));
        assert!(c.audio > 0.0);
    }

    #[test]
    fn a_fraction_of_the_positive_differences_is_penalised_less_one() {
        let input = [0.9, 0.5, 0.4, 0.1, -0.2];
        for (beta, hits) in [(0.5, 1), (1.0, 3), (0.25, 0)] {
            let mask = penalty_mask(&input, beta);
            assert_eq!(mask.iter().filter(|hit| **hit).count(), hits, "{beta}");
            assert!(mask[..hits].iter().all(|hit| *hit));
        }
        assert!(!penalty_mask(&[-1.0, -0.5, 0.0], 1.0).contains(&true));
    }

    #[test]
    fn a_neuron_belongs_to_the_modality_whose_absence_moves_it_most() {
        let delta = ModalityMap {
            text: Some(vec![0.5, 0.1]),
            audio: Some(vec![0.2, 0.4]),
            vision: None,
        };
        assert_eq!(dominance(&delta, Modality::Text).unwrap(), [0.3, -0.3]);
        assert_eq!(dominance(&delta, Modality::Vision), None);
        let masks = ModalityMap {
            text: Some(vec![true, false]),
            audio: Some(vec![false, true]),
            vision: Some(vec![false, false]),
        };
        let c = ModalityMap {
            text: 0.25,
            audio: 0.5,
            vision: 0.0,
        };
        assert_eq!(penalty(&masks, &c, false), [0.75, 0.5]);
        assert_eq!(penalty(&masks, &c, true), [1.0, 0.5]);
    }
}
