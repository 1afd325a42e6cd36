//! Numbers as people read them.

/// What stands for a number that does not exist.
pub(crate) const UNDEFINED: &str = "–";

/// `value` with `decimals` digits after the point and a typographic minus.
pub(crate) fn fixed(value: f64, decimals: usize) -> String {
    if value.is_nan() {
        return UNDEFINED.into();
    }
    if value.is_infinite() {
        return if value > 0.0 {
            "∞".into()
        } else {
            "−∞".into()
        };
    }
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        // -0.00 is zero to the reader
        Some(rest) if rest.bytes().all(|b| b == b'0' || b == b'.') => rest.into(),
        Some(rest) => format!("−{rest}"),
        None => text,
    }
}

/// `value` with about `digits` significant digits, without trailing zeros.
pub(crate) fn significant(value: f64, digits: usize) -> String {
    if !value.is_finite() || value == 0.0 {
        return fixed(value, 0);
    }
    let magnitude = value.abs().log10().floor() as i32;
    if !(-5..=9).contains(&magnitude) {
        let text = format!("{value:.*e}", digits.saturating_sub(1));
        return text.replace('-', "−");
    }
    let decimals = (digits as i32 - 1 - magnitude).max(0) as usize;
    let text = fixed(value, decimals);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').into()
    } else {
        text
    }
}

/// `value` so that it reads back as the same number, for CSV; empty where it does not exist.
pub(crate) fn exact(value: f64) -> String {
    if value.is_nan() {
        String::new()
    } else {
        format!("{value}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_zeros_and_absences() {
        assert_eq!(fixed(-1.25, 1), "−1.2");
        assert_eq!(fixed(-0.001, 2), "0.00");
        assert_eq!(fixed(f64::NAN, 2), "–");
        assert_eq!(exact(f64::NAN), "");
        assert_eq!(exact(0.1), "0.1");
    }

    #[test]
    fn significant_digits() {
        assert_eq!(significant(0.123456, 3), "0.123");
        assert_eq!(significant(71.0, 3), "71");
        assert_eq!(significant(12345.6, 3), "12346");
        assert_eq!(significant(-2.5e-9, 2), "−2.5e−9");
        assert_eq!(significant(0.0, 3), "0");
    }
}
