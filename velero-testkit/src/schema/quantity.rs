//! The canonical text of a quantity, as `resource.Quantity` writes it.

/// Exponents beyond this are no amounts of anything.
const EXPONENT_LIMIT: i32 = 100;

/// Returns the canonical form of a quantity (`1024Mi` -> `1Gi`, `0.5` -> `500m`), or nothing when it is none.
pub(crate) fn canonical(text: &str) -> Option<String> {
    let split = text
        .find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let (negative, digits) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    if digits.is_empty()
        || digits.matches('.').count() > 1
        || digits == "."
        || digits.contains(['+', '-'])
    {
        return None;
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = i32::try_from(fraction.len()).ok()?;
    let body = match binary_power(suffix) {
        Some(power) => {
            let value = mantissa.checked_mul(1i128.checked_shl(power)?)?;
            let divisor = 10i128.checked_pow(u32::try_from(scale).ok()?)?;
            if value % divisor == 0 {
                binary(value / divisor)
            } else {
                decimal(value, -scale)?
            }
        }
        None => decimal(mantissa, decimal_exponent(suffix)? - scale).map(|plain| {
            match suffix.get(..1) {
                Some("e" | "E") if suffix.len() > 1 => {
                    exponent_form(mantissa, suffix, scale).unwrap_or(plain)
                }
                _ => plain,
            }
        })?,
    };
    Some(if negative && body != "0" {
        format!("-{body}")
    } else {
        body
    })
}

fn binary_power(suffix: &str) -> Option<u32> {
    Some(match suffix {
        "Ki" => 10,
        "Mi" => 20,
        "Gi" => 30,
        "Ti" => 40,
        "Pi" => 50,
        "Ei" => 60,
        _ => return None,
    })
}

fn decimal_exponent(suffix: &str) -> Option<i32> {
    Some(match suffix {
        "n" => -9,
        "u" => -6,
        "m" => -3,
        "" => 0,
        "k" => 3,
        "M" => 6,
        "G" => 9,
        "T" => 12,
        "P" => 15,
        "E" => 18,
        other => {
            let exponent: i32 = other.strip_prefix(['e', 'E'])?.parse().ok()?;
            return (-EXPONENT_LIMIT..=EXPONENT_LIMIT)
                .contains(&exponent)
                .then_some(exponent);
        }
    })
}

fn binary(value: i128) -> String {
    const NAMES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let mut value = value;
    let mut index = 0;
    while value != 0 && value % 1024 == 0 && index + 1 < NAMES.len() {
        value /= 1024;
        index += 1;
    }
    format!("{value}{}", NAMES[index])
}

/// Writes `mantissa * 10^exponent` with the largest suffix that leaves a whole number.
fn decimal(mut mantissa: i128, mut exponent: i32) -> Option<String> {
    if mantissa == 0 {
        return Some("0".into());
    }
    while mantissa % 10 == 0 {
        mantissa /= 10;
        exponent += 1;
    }
    while exponent < -9 {
        mantissa = mantissa / 10 + i128::from(mantissa % 10 != 0);
        exponent += 1;
    }
    while exponent.rem_euclid(3) != 0 || exponent > 18 {
        mantissa = mantissa.checked_mul(10)?;
        exponent -= 1;
    }
    let suffix = match exponent {
        -9 => "n",
        -6 => "u",
        -3 => "m",
        0 => "",
        3 => "k",
        6 => "M",
        9 => "G",
        12 => "T",
        15 => "P",
        _ => "E",
    };
    Some(format!("{mantissa}{suffix}"))
}

fn exponent_form(mantissa: i128, suffix: &str, scale: i32) -> Option<String> {
    let exponent: i32 = suffix[1..].parse().ok()?;
    let (mut mantissa, mut exponent) = (mantissa, exponent - scale);
    while mantissa != 0 && mantissa % 10 == 0 {
        mantissa /= 10;
        exponent += 1;
    }
    while exponent.rem_euclid(3) != 0 {
        mantissa = mantissa.checked_mul(10)?;
        exponent -= 1;
    }
    Some(if exponent == 0 {
        mantissa.to_string()
    } else {
        format!("{mantissa}e{exponent}")
    })
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn canonical_forms() {
        for (text, want) in [
            ("1", "1"),
            ("1024Mi", "1Gi"),
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1.5Gi", "1536Mi"),
            ("100M", "100M"),
            ("1000M", "1G"),
            ("1E", "1E"),
            ("0", "0"),
            ("0Gi", "0"),
            ("1000000", "1M"),
            ("-5m", "-5m"),
            ("1e3", "1e3"),
            ("128974848", "128974848"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(want), "{text}");
        }
        for text in [
            "",
            "x",
            "1.2.3",
            "1Qi",
            "--1",
            "1 Gi",
            "10e2147483647",
            "1.1e-2147483648",
        ] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }
}
