//! A generator of 64 bits of state for what needs numbers that differ rather than a source of
//! chance: start values, subsets, seeds derived from seeds.
//!
//! What models the world (synthetic corpora, bootstrap samples) uses ChaCha instead.

/// 2^64 over the golden ratio, rounded to an odd number: consecutive multiples are spread evenly.
pub const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of SplitMix64: a bijection of 64 bits that passes statistical tests as a hash. It maps 0 to 0; [`mix`] does not.
pub const fn finalise(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The first number of [`SplitMix64`] whose seed is `x`: makes a seed of a seed or of a counter.
pub const fn mix(x: u64) -> u64 {
    finalise(x.wrapping_add(GOLDEN_GAMMA))
}

/// SplitMix64 of Steele, Lea and Flood (OOPSLA 2014): every seed gives a stream with the period 2^64.
///
/// ```
/// use trimer_core::random::{SplitMix64, mix};
///
/// let mut stream = SplitMix64::new(7);
/// assert_eq!(stream.next_u64(), mix(7));
/// assert!((0.0..1.0).contains(&stream.next_f64()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// The stream of a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub const fn next_u64(&mut self) -> u64 {
        let bits = mix(self.0);
        self.0 = self.0.wrapping_add(GOLDEN_GAMMA);
        bits
    }

    /// Uniform in 0..1, of the upper 53 bits.
    pub const fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_that_of_the_reference() {
        // java.util.SplittableRandom and https://prng.di.unimi.it/splitmix64.c, seed 1234567
        let mut stream = SplitMix64::new(1_234_567);
        let found = [(); 5].map(|()| stream.next_u64());
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn zero_is_the_fixed_point_of_the_finaliser_alone() {
        assert_eq!(finalise(0), 0);
        assert_ne!(mix(0), 0);
    }
}
