//! The learning rate over time.

use crate::error::Result;
use serde::{Deserialize, Serialize};
use trimer_nn::config::check_range;

/// Shape of the learning rate over the epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Always `lr`.
    #[default]
    Constant,
    /// `lr / (epoch + 1)`, epochs from 0 (LFMIM's released code).
    InverseEpoch,
    /// Half a cosine from `lr` to `min_factor * lr` over all steps.
    Cosine,
    /// Multiplied by `factor` whenever validation has not improved for `patience` epochs.
    Plateau,
}

/// Learning-rate schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// The shape.
    pub shape: Shape,
    /// Epochs (parts of one count) over which the rate grows from zero; with every shape.
    pub warmup_epochs: f64,
    /// Cosine: the end, as a share of `lr`.
    pub min_factor: f64,
    /// Plateau: the multiplier.
    pub factor: f64,
    /// Plateau: epochs without improvement that are tolerated.
    pub patience: usize,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            shape: Shape::Constant,
            warmup_epochs: 0.0,
            min_factor: 0.0,
            factor: 0.5,
            patience: 2,
        }
    }
}

impl ScheduleConfig {
    /// Refuses values outside their range.
    ///
    /// # Errors
    /// Names key, value and range.
    pub fn check(&self) -> Result<()> {
        check_range(
            "train.schedule.warmup_epochs",
            self.warmup_epochs,
            0.0,
            10_000.0,
        )?;
        check_range("train.schedule.min_factor", self.min_factor, 0.0, 1.0)?;
        Ok(check_range("train.schedule.factor", self.factor, 0.0, 1.0)?)
    }

    /// The factor on `lr` at a step (from 0) of a run of `epochs` epochs.
    ///
    /// `plateau_factor` is what the plateau rule has come to.
    pub fn factor_at(
        &self,
        step: u64,
        steps_per_epoch: usize,
        epochs: usize,
        plateau_factor: f64,
    ) -> f64 {
        let per_epoch = steps_per_epoch.max(1) as f64;
        let at = step as f64 / per_epoch;
        let warmup = if self.warmup_epochs > 0.0 {
            ((step + 1) as f64 / (self.warmup_epochs * per_epoch)).min(1.0)
        } else {
            1.0
        };
        let shape = match self.shape {
            Shape::Constant => 1.0,
            Shape::InverseEpoch => 1.0 / (at.floor() + 1.0),
            Shape::Cosine => {
                let rest = (epochs as f64 - self.warmup_epochs).max(1e-9);
                let progress = ((at - self.warmup_epochs) / rest).clamp(0.0, 1.0);
                let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
                self.min_factor + (1.0 - self.min_factor) * cosine
            }
            Shape::Plateau => plateau_factor,
        };
        warmup * shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_released_schedule_divides_by_the_epoch() {
        let s = ScheduleConfig {
            shape: Shape::InverseEpoch,
            ..ScheduleConfig::default()
        };
        let lrs: Vec<f64> = [0, 9, 10, 20]
            .iter()
            .map(|&k| 0.005 * s.factor_at(k, 10, 20, 1.0))
            .collect();
        // PyTorch multiplies too, which rounds otherwise than dividing would.
        assert_eq!(lrs, [0.005, 0.005, 0.0025, 0.005 * (1.0 / 3.0)]);
    }

    #[test]
    fn cosine_rises_then_falls_to_its_floor() {
        let s = ScheduleConfig {
            shape: Shape::Cosine,
            warmup_epochs: 1.0,
            min_factor: 0.1,
            ..ScheduleConfig::default()
        };
        assert!((s.factor_at(0, 4, 5, 1.0) - 0.25).abs() < 1e-12);
        assert!((s.factor_at(4, 4, 5, 1.0) - 1.0).abs() < 1e-12);
        assert!((s.factor_at(20, 4, 5, 1.0) - 0.1).abs() < 1e-12);
    }
}
