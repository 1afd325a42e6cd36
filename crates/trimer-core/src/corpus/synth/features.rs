//! Features that show an emotion: trajectories in time, plus speaker, plus noise.
//!
//! Only additions and multiplications are used, in a fixed order, so a corpus is the same to the bit
//! on every machine.

use super::emotion::N;
use crate::{Modality, random::GOLDEN_GAMMA};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Directions in feature space that all classes of a modality share: templates have a low rank.
const RANK: usize = 6;
/// Bumps in time per class, added to the part that stays.
const BUMPS: usize = 2;

/// A random stream of its own for each purpose, whatever order or thread asks for it.
pub(super) fn stream(seed: u64, purpose: u64, index: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ purpose.wrapping_mul(GOLDEN_GAMMA));
    rng.set_stream(index);
    rng
}

/// Uniform in [0, 1) with 53 random bits.
pub(super) fn uniform(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Nearly normal, mean 0, variance 1, bounded by 6: the sum of twelve uniforms.
pub(super) fn normal(rng: &mut impl Rng) -> f64 {
    (0..12).map(|_| uniform(rng)).sum::<f64>() - 6.0
}

/// How loud each part of the features is, relative to noise of standard deviation 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Strength {
    /// Root mean square of the part that stays through the utterance.
    pub(super) constant: f64,
    /// Root mean square of each bump at its height.
    pub(super) bump: f64,
    /// Standard deviation of what is peculiar to a speaker.
    pub(super) speaker: f64,
}

/// What the classes of one modality look like.
#[derive(Debug, Clone)]
pub(super) struct Templates {
    dim: usize,
    /// `[class][part][dim]`, part 0 constant, the others bumps.
    parts: Vec<[Vec<f32>; BUMPS + 1]>,
    /// `[class][bump]`: when, in [0, 1].
    centres: [[f64; BUMPS]; N],
    speaker: f64,
    seed: u64,
    purpose: u64,
}

impl Templates {
    pub(super) fn new(seed: u64, modality: Modality, dim: usize, strength: Strength) -> Self {
        let purpose = 16
            + Modality::ALL
                .iter()
                .position(|m| *m == modality)
                .unwrap_or(0) as u64;
        let mut rng = stream(seed, purpose, 0);
        let rank = RANK.min(dim);
        let basis: Vec<Vec<f64>> = (0..rank)
            .map(|_| (0..dim).map(|_| normal(&mut rng)).collect())
            .collect();
        let mut direction = |size: f64| -> Vec<f32> {
            let weights: Vec<f64> = (0..rank).map(|_| normal(&mut rng)).collect();
            let raw: Vec<f64> = (0..dim)
                .map(|d| weights.iter().zip(&basis).map(|(w, b)| w * b[d]).sum())
                .collect();
            let power = raw.iter().map(|v| v * v).sum::<f64>() / dim as f64;
            let scale = size / power.sqrt().max(1e-9);
            raw.iter().map(|v| (v * scale) as f32).collect()
        };
        let parts = (0..N)
            .map(|_| {
                std::array::from_fn(|part| {
                    direction(if part == 0 {
                        strength.constant
                    } else {
                        strength.bump
                    })
                })
            })
            .collect();
        let mut rng = stream(seed, purpose, 1);
        let centres = std::array::from_fn(|_| {
            std::array::from_fn(|b| (b as f64 + 0.15 + 0.7 * uniform(&mut rng)) / BUMPS as f64)
        });
        Self {
            dim,
            parts,
            centres,
            speaker: strength.speaker,
            seed,
            purpose,
        }
    }

    /// What is peculiar to a speaker, added to every frame.
    fn speaker_bias(&self, speaker: u64) -> Vec<f32> {
        let mut rng = stream(self.seed, self.purpose, (1 << 32) + speaker);
        (0..self.dim)
            .map(|_| (self.speaker * normal(&mut rng)) as f32)
            .collect()
    }

    /// The frames without speaker and noise, row-major `[time, dim]`.
    pub(super) fn clean(&self, class: usize, time: usize, intensity: f32) -> Vec<f32> {
        let mut out = Vec::with_capacity(time * self.dim);
        let parts = &self.parts[class];
        for t in 0..time {
            let place = (t as f64 + 0.5) / time as f64;
            let weight = |b: usize| intensity * bump(place - self.centres[class][b]) as f32;
            let weights: [f32; BUMPS] = std::array::from_fn(weight);
            for (d, constant) in parts[0].iter().enumerate() {
                let moving: f32 = (0..BUMPS).map(|b| weights[b] * parts[b + 1][d]).sum();
                out.push(intensity * constant + moving);
            }
        }
        out
    }

    /// The features of one utterance, row-major `[time, dim]`.
    pub(super) fn frames(
        &self,
        class: usize,
        time: usize,
        speaker: u64,
        rng: &mut ChaCha8Rng,
    ) -> Vec<f32> {
        let intensity = 0.7 + 0.6 * uniform(rng) as f32;
        let mut out = self.clean(class, time, intensity);
        let bias = self.speaker_bias(speaker);
        let mut noise = vec![0_u8; 4 * self.dim];
        for row in out.chunks_exact_mut(self.dim) {
            rng.fill_bytes(&mut noise);
            for ((value, bias), bytes) in row.iter_mut().zip(&bias).zip(noise.as_chunks::<4>().0) {
                *value += bias + noise_of(*bytes);
            }
        }
        out
    }
}

/// The sum of four bytes, brought to mean 0 and variance 1: close to normal, bounded by 3.5.
fn noise_of(bytes: [u8; 4]) -> f32 {
    // Four uniforms on 0..=255 have the mean 510 and the variance 4 * (256^2 - 1) / 12 = 21845.
    const SCALE: f32 = 1.0 / 147.80054;
    let sum: u16 = bytes.iter().map(|b| u16::from(*b)).sum();
    (f32::from(sum) - 510.0) * SCALE
}

/// 1 at 0, falling smoothly to 0 at a quarter on both sides.
fn bump(distance: f64) -> f64 {
    let x = distance * 4.0;
    let inside = (1.0 - x * x).max(0.0);
    inside * inside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_mean_zero_and_variance_one() {
        let mut rng = stream(3, 1, 0);
        let values: Vec<f64> = (0..200_000)
            .map(|_| f64::from(noise_of(rng.next_u32().to_le_bytes())))
            .collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64;
        // Standard errors: 1 / sqrt(200,000) = 0.0022 and about sqrt(2 / 200,000) = 0.0032.
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((variance - 1.0).abs() < 0.015, "{variance}");
    }

    #[test]
    fn streams_of_different_purpose_or_index_differ() {
        let first = |purpose, index| stream(7, purpose, index).next_u64();
        assert_ne!(first(1, 0), first(2, 0));
        assert_ne!(first(1, 0), first(1, 1));
        assert_eq!(first(1, 1), first(1, 1));
    }
}
