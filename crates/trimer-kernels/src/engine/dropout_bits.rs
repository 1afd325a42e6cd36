//! Dropout without stored masks: every decision is a hash of where it applies.
//!
//! A decision depends on the caller's seed, the place in the network (a [`DropoutStream`]), the row and the column, and on
//! nothing else: forward and backward agree, and neither the number of threads nor the instruction set matters.

/// Odd multiplier that spreads the counters (2^32 over the golden ratio).
pub(crate) const LANE_STEP: u32 = 0x9e37_79b9;
/// Multipliers of the 32-bit mixer.
pub(crate) const MIX: [u32; 2] = [0x21f0_aaad, 0xd35a_2d97];

/// Mixes 64 bits (the finaliser of SplitMix64).
fn mix64(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Thirty-two decisions of one row: bit `b` belongs to column `32 * group + b`.
pub(crate) fn row_bits(key: [u32; 2], group: u32, threshold: u16) -> u32 {
    let mut bits = 0;
    for lane in 0..16 {
        let counter = group.wrapping_mul(16).wrapping_add(lane);
        let mut x = counter.wrapping_mul(LANE_STEP) ^ key[0];
        x = (x ^ (x >> 16)).wrapping_mul(MIX[0]).wrapping_add(key[1]);
        x = (x ^ (x >> 15)).wrapping_mul(MIX[1]);
        x ^= x >> 15;
        bits |= u32::from(x as u16 >= threshold) << (2 * lane);
        bits |= u32::from((x >> 16) as u16 >= threshold) << (2 * lane + 1);
    }
    bits
}

/// Where in a network a dropout sits: the random bits of each place are independent of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropoutSite {
    /// On the attention weights.
    Attention,
    /// Behind the activation of the feed-forward part.
    Hidden,
    /// On the output of the attention branch, before the residual sum.
    AttentionResidual,
    /// On the output of the feed-forward branch, before the residual sum.
    HiddenResidual,
    /// On any other tensor.
    Values,
}

/// The decisions of one dropout: a probability, and a key from seed and place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DropoutStream {
    key: u64,
    threshold: u16,
    scale: f32,
}

impl DropoutStream {
    /// The stream of a dropout with probability `p`, or `None` where it drops nothing.
    ///
    /// Decisions have 16 bits, so the probability applied is `round(65536 p) / 65536`; kept values are scaled by
    /// the inverse of exactly what is kept.
    ///
    /// # Panics
    /// If `p` is not in `0..1`.
    pub fn new(seed: u64, site: DropoutSite, p: f64) -> Option<Self> {
        assert!(
            (0.0..1.0).contains(&p),
            "dropout probability {p} is not in 0..1"
        );
        let threshold = (p * 65536.0).round().min(65535.0) as u16;
        let site = match site {
            DropoutSite::Attention => 1,
            DropoutSite::Hidden => 2,
            DropoutSite::AttentionResidual => 3,
            DropoutSite::HiddenResidual => 4,
            DropoutSite::Values => 5,
        };
        (threshold > 0).then(|| Self {
            key: mix64(mix64(seed ^ 0x7472_696d_6572) ^ site),
            threshold,
            scale: (65536.0 / (65536.0 - f64::from(threshold))) as f32,
        })
    }

    /// What kept values are multiplied by.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    pub(crate) fn threshold(&self) -> u16 {
        self.threshold
    }

    /// The key of a row. Rows of attention weights are numbered `(sample * heads + head) * keys + key position`,
    /// and their columns are the query positions; all other rows are numbered `sample * time + t`.
    pub(crate) fn row_key(&self, row: u64) -> [u32; 2] {
        let x = mix64(self.key ^ row.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        [x as u32, (x >> 32) as u32]
    }

    /// Thirty-two decisions (true = keep): bit `b` belongs to column `32 * group + b` of `row`.
    pub fn bits(&self, row: u64, group: u32) -> u32 {
        row_bits(self.row_key(row), group, self.threshold)
    }

    /// The factors (0 or [`Self::scale`]) of `rows` rows of `cols` columns, row after row.
    pub fn factors(&self, rows: usize, cols: usize) -> Vec<f32> {
        let mut out = Vec::with_capacity(rows * cols);
        for row in 0..rows as u64 {
            let key = self.row_key(row);
            for col in 0..cols {
                if col % 32 == 0 {
                    let bits = row_bits(key, (col / 32) as u32, self.threshold);
                    let n = (cols - col).min(32);
                    out.extend((0..n).map(|b| if bits >> b & 1 == 1 { self.scale } else { 0.0 }));
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_stated_share_and_the_mean() {
        for p in [0.1, 0.2, 0.25, 0.5, 0.9] {
            let stream = DropoutStream::new(7, DropoutSite::Attention, p).expect("p > 0");
            let factors = stream.factors(500, 245);
            let n = factors.len() as f64;
            let kept = factors.iter().filter(|&&f| f > 0.0).count() as f64 / n;
            let mean = factors.iter().map(|&f| f64::from(f)).sum::<f64>() / n;
            // Five standard deviations of a binomial share.
            let bound = 5.0 * (p * (1.0 - p) / n).sqrt();
            assert!((kept - (1.0 - p)).abs() < bound, "p {p}: kept {kept}");
            assert!((mean - 1.0).abs() < bound / (1.0 - p), "p {p}: mean {mean}");
        }
    }

    #[test]
    fn neighbours_in_every_direction_are_uncorrelated() {
        let (rows, cols) = (512_usize, 512_usize);
        let stream = DropoutStream::new(1, DropoutSite::Attention, 0.5).expect("p > 0");
        let other = DropoutStream::new(2, DropoutSite::Attention, 0.5).expect("p > 0");
        let site = DropoutStream::new(1, DropoutSite::Hidden, 0.5).expect("p > 0");
        let sign = |s: &DropoutStream| -> Vec<f64> {
            s.factors(rows, cols)
                .iter()
                .map(|&f| if f > 0.0 { 1.0 } else { -1.0 })
                .collect()
        };
        let x = sign(&stream);
        let bound = 5.0 / ((rows * cols) as f64).sqrt();
        for lag in [
            1,
            2,
            3,
            16,
            31,
            32,
            33,
            64,
            cols,
            cols + 1,
            2 * cols,
            7 * cols + 5,
        ] {
            let r = x.iter().zip(&x[lag..]).map(|(a, b)| a * b).sum::<f64>();
            assert!((r / (x.len() - lag) as f64).abs() < bound, "lag {lag}");
        }
        for y in [sign(&other), sign(&site)] {
            let r = x.iter().zip(&y).map(|(a, b)| a * b).sum::<f64>() / x.len() as f64;
            assert!(r.abs() < bound, "correlation {r} with another stream");
        }
    }

    #[test]
    fn zero_probability_is_no_stream() {
        assert_eq!(DropoutStream::new(1, DropoutSite::Hidden, 0.0), None);
    }

    #[test]
    #[should_panic(expected = "dropout probability 1 is not in 0..1")]
    fn probability_one_is_refused() {
        let _ = DropoutStream::new(1, DropoutSite::Hidden, 1.0);
    }
}
