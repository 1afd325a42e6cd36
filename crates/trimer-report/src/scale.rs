//! From values to positions: round tick values and linear scales.

use crate::number::fixed;

/// Positions of ticks that are multiples of 1, 2 or 5 times a power of ten.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ticks {
    pub(crate) values: Vec<f64>,
    decimals: usize,
}

impl Ticks {
    /// About `wanted` ticks from the first at or below `low` to the last at or above `high`.
    ///
    /// With `integers` no step is smaller than 1.
    pub(crate) fn covering(low: f64, high: f64, wanted: usize, integers: bool) -> Self {
        let (low, high) = if !(low.is_finite() && high.is_finite()) {
            (0.0, 1.0)
        } else if low < high {
            (low, high)
        } else {
            // a single value gets room on both sides
            let room = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
            (low.min(high) - room, low.max(high) + room)
        };
        let (step, decimals) = round_step((high - low) / wanted.max(1) as f64, integers);
        let first = (low / step + 1e-9).floor() as i64;
        let last = (high / step - 1e-9).ceil() as i64;
        // an enormous offset with a tiny range can leave no distinct multiples
        let last = last.clamp(first.saturating_add(1), first.saturating_add(100));
        Self {
            values: (first..=last).map(|i| i as f64 * step).collect(),
            decimals,
        }
    }

    /// The ticks that lie within `low..=high`, without reaching beyond.
    pub(crate) fn within(low: f64, high: f64, wanted: usize, integers: bool) -> Self {
        let mut ticks = Self::covering(low, high, wanted, integers);
        let room = (high - low).abs() * 1e-9;
        ticks
            .values
            .retain(|v| (low - room..=high + room).contains(v));
        ticks
    }

    pub(crate) fn low(&self) -> f64 {
        self.values.first().copied().unwrap_or(0.0)
    }

    pub(crate) fn high(&self) -> f64 {
        self.values.last().copied().unwrap_or(1.0)
    }

    pub(crate) fn label(&self, value: f64) -> String {
        if value.abs() >= 1e7 {
            return crate::number::significant(value, 3);
        }
        fixed(value, self.decimals)
    }
}

/// The smallest of 1, 2, 5 times a power of ten that is not below `raw`, and how many decimals its
/// multiples have.
fn round_step(raw: f64, integers: bool) -> (f64, usize) {
    let raw = raw.max(f64::MIN_POSITIVE * 1e20);
    let mut exponent = raw.log10().floor() as i32;
    let mut factor = raw / 10f64.powi(exponent);
    factor = match factor {
        f if f <= 1.0 + 1e-9 => 1.0,
        f if f <= 2.0 + 1e-9 => 2.0,
        f if f <= 5.0 + 1e-9 => 5.0,
        _ => {
            exponent += 1;
            1.0
        }
    };
    if integers && exponent < 0 {
        return (1.0, 0);
    }
    (
        factor * 10f64.powi(exponent),
        (-exponent).clamp(0, 12) as usize,
    )
}

/// A linear map from values to pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    start: f64,
    end: f64,
}

impl Scale {
    /// Maps `low` to `start` and `high` to `end`.
    pub(crate) fn new(low: f64, high: f64, start: f64, end: f64) -> Self {
        Self {
            low,
            high,
            start,
            end,
        }
    }

    /// The pixel of a value; values beyond the ends are held there.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let span = self.high - self.low;
        let share = if span == 0.0 {
            0.5
        } else {
            (value - self.low) / span
        };
        self.start + share.clamp(0.0, 1.0) * (self.end - self.start)
    }
}

/// Lowest and highest finite value; `None` without any.
pub(crate) fn extent(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    values
        .into_iter()
        .filter(|v| v.is_finite())
        .fold(None, |range, v| {
            Some(range.map_or((v, v), |(low, high): (f64, f64)| (low.min(v), high.max(v))))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_one_two_five() {
        assert_eq!(
            Ticks::covering(0.0, 1.0, 5, false).values,
            [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]
        );
        assert_eq!(
            Ticks::covering(0.13, 0.78, 4, false).values,
            [0.0, 0.2, 0.4, 0.6000000000000001, 0.8]
        );
        assert_eq!(
            Ticks::covering(1.0, 30.0, 6, true).values,
            [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0]
        );
        assert_eq!(Ticks::within(1.0, 3.0, 10, true).values, [1.0, 2.0, 3.0]);
    }

    #[test]
    fn labels_have_the_decimals_of_the_step() {
        let ticks = Ticks::covering(-0.05, 0.1, 3, false);
        let labels: Vec<_> = ticks.values.iter().map(|v| ticks.label(*v)).collect();
        assert_eq!(labels, ["−0.05", "0.00", "0.05", "0.10"]);
    }

    #[test]
    fn odd_ranges_still_give_ticks() {
        for (low, high) in [
            (0.7, 0.7),
            (0.0, 0.0),
            (f64::NAN, 1.0),
            (1e300, 1e300),
            (-1e-300, 1e-300),
        ] {
            let ticks = Ticks::covering(low, high, 5, false);
            assert!(ticks.values.len() >= 2, "{low}..{high}: {ticks:?}");
            assert!(ticks.values.len() <= 101);
        }
    }
}
