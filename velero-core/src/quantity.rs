//! Amounts of storage and the like, as Kubernetes writes them.

use std::str::FromStr;

use crate::Error;

/// An amount such as `10Gi`, `500m` or `1e3`, to be compared with others.
///
/// Holds billionths exactly, rounded up beyond that; what no field of Kubernetes can hold saturates. Mirrors
/// `resource.Quantity` of `k8s.io/apimachinery`.
///
/// ```
/// use velero_core::Quantity;
///
/// let (small, big): (Quantity, Quantity) = ("1.5Gi".parse()?, "2G".parse()?);
/// assert!(small < big);
/// # Ok::<_, velero_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Quantity {
    nano: i128,
}

impl Quantity {
    /// Whether the amount is nothing.
    pub fn is_zero(&self) -> bool {
        self.nano == 0
    }
}

/// How many decimal digits a quantity keeps behind the point.
const SCALE: i32 = 9;

impl FromStr for Quantity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).map(|nano| Self { nano }).ok_or_else(|| {
            Error::invalid(
                "quantity",
                text,
                "write a number with a suffix such as Mi, Gi, M, G or m, or with an exponent: 10Gi, 1.5G, 1e9",
            )
        })
    }
}

fn parse(text: &str) -> Option<i128> {
    let (negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let number_end = rest
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(number_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let (binary, exponent) = unit(suffix)?;
    let mut mantissa: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        mantissa = mantissa
            .saturating_mul(10)
            .saturating_add(i128::from(digit - b'0'));
    }
    let fraction = i32::try_from(fraction.len()).unwrap_or(i32::MAX);
    let power = SCALE.saturating_add(exponent).saturating_sub(fraction);
    let value = scaled(mantissa.saturating_mul(1_i128 << binary), power);
    Some(if negative { -value } else { value })
}

/// What a suffix stands for: a power of two, and one of ten.
fn unit(suffix: &str) -> Option<(u32, i32)> {
    let units = [
        ("", 0, 0),
        ("n", 0, -9),
        ("u", 0, -6),
        ("m", 0, -3),
        ("k", 0, 3),
        ("M", 0, 6),
        ("G", 0, 9),
        ("T", 0, 12),
        ("P", 0, 15),
        ("E", 0, 18),
        ("Ki", 10, 0),
        ("Mi", 20, 0),
        ("Gi", 30, 0),
        ("Ti", 40, 0),
        ("Pi", 50, 0),
        ("Ei", 60, 0),
    ];
    if let Some((_, two, ten)) = units.iter().find(|(name, _, _)| *name == suffix) {
        return Some((*two, *ten));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    exponent.parse().ok().map(|ten| (0, ten))
}

/// `value` times ten to the power of `power`, rounded up.
fn scaled(value: i128, power: i32) -> i128 {
    if value == 0 {
        return 0;
    }
    let factor = 10_i128.checked_pow(power.unsigned_abs());
    match (factor, power >= 0) {
        (Some(factor), true) => value.saturating_mul(factor),
        (None, true) => i128::MAX,
        (Some(factor), false) => value / factor + i128::from(value % factor != 0),
        (None, false) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Ordering;

    #[test]
    fn amounts_compare_by_what_they_stand_for() {
        for (left, right, expected) in [
            ("1Gi", "1024Mi", Ordering::Equal),
            ("1Gi", "1G", Ordering::Greater),
            ("1.5Gi", "1536Mi", Ordering::Equal),
            ("0.5", "500m", Ordering::Equal),
            ("1e3", "1k", Ordering::Equal),
            ("1E3", "1000", Ordering::Equal),
            ("1E", "1000P", Ordering::Equal),
            ("12e-1", "1.2", Ordering::Equal),
            (".5", "5.", Ordering::Less),
            ("-1", "0", Ordering::Less),
            ("+1", "1", Ordering::Equal),
            ("1n", "0.1n", Ordering::Equal),
            ("8Ei", "9Ei", Ordering::Less),
            ("1e99", "1e98", Ordering::Equal),
            ("0e99", "0", Ordering::Equal),
        ] {
            let parsed: [Quantity; 2] = [left, right].map(|text| text.parse().unwrap());
            assert_eq!(parsed[0].cmp(&parsed[1]), expected, "{left} {right}");
        }
        assert!("0Gi".parse::<Quantity>().unwrap().is_zero());
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "", "-", ".", "Gi", "1gi", "1 Gi", "1.2.3", "1e", "1ee3", "0x10", "1Gib", "--1", "１",
        ] {
            let error = text.parse::<Quantity>().unwrap_err().to_string();
            assert!(error.starts_with("invalid quantity"), "{error}");
        }
    }
}
