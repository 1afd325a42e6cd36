//! Student's t and the normal distribution.

/// Natural logarithm of the gamma function for x > 0 (Lanczos' series, g = 7, nine terms).
pub fn ln_gamma(x: f64) -> f64 {
    const SERIES: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let t = x + 7.5;
    let sum = SERIES
        .iter()
        .enumerate()
        .skip(1)
        .fold(SERIES[0], |sum, (i, c)| sum + c / (x + i as f64));
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

/// Regularised incomplete beta function I_x(a, b) for x in 0..=1 and positive a, b.
pub fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front =
        (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    // the continued fraction converges fast only on this side; the other follows by symmetry
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(x, a, b) / a
    } else {
        1.0 - front * beta_fraction(1.0 - x, b, a) / b
    }
}

/// The continued fraction of the incomplete beta function by the modified Lentz method.
fn beta_fraction(x: f64, a: f64, b: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away_from_zero = |v: f64| if v.abs() < TINY { TINY } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for m in 1..500 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for numerator in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + numerator * d);
            c = away_from_zero(1.0 + numerator / c);
            fraction *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    fraction
}

/// Probability that a t variable with `freedom` degrees of freedom is below `t`.
pub fn cdf(t: f64, freedom: f64) -> f64 {
    if t.is_nan() || freedom.is_nan() || freedom <= 0.0 {
        return f64::NAN;
    }
    let tail = 0.5 * incomplete_beta(freedom / (freedom + t * t), freedom / 2.0, 0.5);
    if t > 0.0 { 1.0 - tail } else { tail }
}

/// The t below which a share `p` of the distribution lies.
pub fn quantile(p: f64, freedom: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) || freedom.is_nan() || freedom <= 0.0 {
        return f64::NAN;
    }
    if p < 0.5 {
        return -quantile(1.0 - p, freedom);
    }
    if p == 1.0 {
        return f64::INFINITY;
    }
    let (mut low, mut high) = (0.0, 1.0);
    while cdf(high, freedom) < p {
        low = high;
        high *= 2.0;
    }
    // 200 halvings leave nothing of the interval but rounding
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if cdf(middle, freedom) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// Probability that |t| or more comes about by chance: the two-sided p value.
pub fn two_sided(t: f64, freedom: f64) -> f64 {
    if t.is_infinite() {
        return 0.0;
    }
    incomplete_beta(freedom / (freedom + t * t), freedom / 2.0, 0.5)
}

/// Probability that a standard normal variable is above `z` (z ≥ 0), by the complementary error
/// function's continued fraction or series.
pub fn normal_upper_tail(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - normal_upper_tail(-z);
    }
    let density = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if z < 3.0 {
        // Φ(z) - ½ = φ(z) (z + z³/3 + z⁵/(3·5) + ...)
        let (mut term, mut sum) = (z, z);
        for k in 1..200 {
            term *= z * z / f64::from(2 * k + 1);
            sum += term;
        }
        0.5 - density * sum
    } else {
        // Laplace's fraction φ(z) / (z + 1/(z + 2/(z + 3/...))) from its far end
        let fraction = (1..=200).rev().fold(z, |rest, k| z + f64::from(k) / rest);
        density / fraction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_as_in_tables() {
        // scipy.stats.t.ppf
        for (p, freedom, expected) in [
            (0.975, 4.0, 2.776_445_105_197_799),
            (0.975, 1.0, 12.706_204_736_174_693),
            (0.95, 30.0, 1.697_260_886_593_957),
            (0.025, 9.0, -2.262_157_162_798_204),
            (0.5, 3.0, 0.0),
        ] {
            assert!(
                (quantile(p, freedom) - expected).abs() < 1e-9,
                "t({p}, {freedom})"
            );
        }
        assert!(quantile(1.2, 3.0).is_nan());
    }

    #[test]
    fn the_normal_tail_on_both_sides_of_the_switch() {
        // scipy.stats.norm.sf
        for (z, expected) in [
            (0.0, 0.5),
            (1.959_963_984_540_054, 0.025),
            (2.999_9, 0.001_350_341_282_95),
            (3.5, 2.326_290_790_355_4e-4),
            (-1.0, 0.841_344_746_068_543),
        ] {
            assert!(
                (normal_upper_tail(z) / expected - 1.0).abs() < 1e-6,
                "z = {z}"
            );
        }
    }
}
