//! Exponential and logarithm by sums and products alone. Those of the standard library are the platform's, and differ in their last
//! bits from one to the next: a model that is trained again elsewhere, or a judgement that is repeated, would not be the same.

/// e to the power of x, within 1e-15 of it; x is taken between -700 and 700.
pub(super) fn exp(x: f64) -> f64 {
    let x = x.clamp(-700.0, 700.0);
    let halvings = (x / std::f64::consts::LN_2).round();
    let rest = x - halvings * std::f64::consts::LN_2;
    // Taylor's series: the rest is at most 0.35, whose 15th power by 15! is below a bit.
    let sum = (1..=15).rev().fold(1.0, |sum, n| 1.0 + sum * rest / f64::from(n));
    sum * power_of_two(halvings as i64)
}

/// The natural logarithm of a positive normal number, within 1e-15 of it; 0 of anything else.
pub(super) fn ln(x: f64) -> f64 {
    if !x.is_normal() || x < 0.0 {
        return 0.0;
    }
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut part = f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3ff0_0000_0000_0000);
    if part > std::f64::consts::SQRT_2 {
        part /= 2.0;
        exponent += 1;
    }
    // ln m = 2 artanh((m - 1) / (m + 1)); the quotient is at most 0.172, whose 23rd power is below a bit.
    let quotient = (part - 1.0) / (part + 1.0);
    let square = quotient * quotient;
    let series = (0..=11).rev().fold(0.0, |sum, n| sum * square + 1.0 / f64::from(2 * n + 1));
    2.0 * quotient * series + exponent as f64 * std::f64::consts::LN_2
}

/// 1 / (1 + e^-x).
pub(super) fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + exp(-x))
}

fn power_of_two(exponent: i64) -> f64 {
    let biased = (exponent + 1023).clamp(1, 2046);
    f64::from_bits((biased as u64) << 52)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_the_functions_of_the_library(x in -700.0..700.0_f64, y in 1e-9..1e15_f64) {
            prop_assert!((exp(x) / x.exp() - 1.0).abs() < 1e-12);
            prop_assert!((ln(y) - y.ln()).abs() < 1e-13 * y.ln().abs().max(1.0));
        }
    }

    #[test]
    fn ends_are_numbers() {
        assert_eq!(exp(0.0).to_bits(), 1.0f64.to_bits());
        assert_eq!(ln(1.0).to_bits(), 0.0f64.to_bits());
        assert!(exp(f64::INFINITY).is_finite() && exp(f64::NEG_INFINITY) > 0.0);
        assert_eq!(ln(0.0).to_bits(), 0.0f64.to_bits());
        assert!(logistic(800.0) <= 1.0 && logistic(-800.0) > 0.0);
    }
}
