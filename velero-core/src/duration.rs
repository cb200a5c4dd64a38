//! Durations in the text form of Go, which every Velero object and flag uses.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A signed length of time in nanoseconds, read and written as Go does it.
///
/// `Display` gives the one canonical text (`720h0m0s`, `1.5s`, `0s`); [`FromStr`] takes Go's grammar: an optional sign and one
/// or more decimal numbers, each with a unit out of `ns`, `us`, `µs`, `ms`, `s`, `m`, `h`. The range is about ±292 years.
///
/// In JSON it is a string. Reading from JSON is more lenient than [`FromStr`]: `null` and `""` give zero, because both
/// stand for "not set" in stored objects.
///
/// ```
/// use velero_core::GoDuration;
///
/// let ttl: GoDuration = "1.5h".parse()?;
/// assert_eq!(ttl.to_string(), "1h30m0s");
/// assert_eq!(ttl, GoDuration::from_secs(5400));
/// # Ok::<(), velero_core::ParseDurationError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(i64);

/// Why a text is not a Go duration; the wording is that of Go's `time.ParseDuration`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseDurationError {
    /// The text does not follow the grammar, or the value does not fit in 64 bits of nanoseconds.
    #[error("time: invalid duration {}", quote(.0))]
    Invalid(String),
    /// A number has no unit behind it.
    #[error("time: missing unit in duration {}", quote(.0))]
    MissingUnit(String),
    /// A number has a unit that Go does not know, such as `d`.
    #[error("time: unknown unit {} in duration {}", quote(.unit), quote(.input))]
    UnknownUnit {
        /// The unit as written.
        unit: String,
        /// The whole text.
        input: String,
    },
}

/// A duration is negative or too long for the type it should become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("duration is out of range")]
pub struct DurationRangeError;

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
/// One above the largest positive value; the magnitude of the smallest negative one.
const LIMIT: u64 = 1 << 63;

impl GoDuration {
    /// No time at all; in most Velero fields it means "use the default".
    pub const ZERO: Self = Self(0);
    /// The longest duration, about 292 years.
    pub const MAX: Self = Self(i64::MAX);

    /// Makes a duration of `nanos` nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Makes a duration of `millis` milliseconds, cut to the representable range.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(MILLISECOND as i64))
    }

    /// Makes a duration of `secs` seconds, cut to the representable range.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(SECOND as i64))
    }

    /// Makes a duration of `mins` minutes, cut to the representable range.
    pub const fn from_mins(mins: i64) -> Self {
        Self(mins.saturating_mul(MINUTE as i64))
    }

    /// Makes a duration of `hours` hours, cut to the representable range.
    pub const fn from_hours(hours: i64) -> Self {
        Self(hours.saturating_mul(HOUR as i64))
    }

    /// Gives the length in nanoseconds.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Says whether the length is exactly zero.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Says whether the length is below zero.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Gives `default` when the length is zero, as Velero does with unset fields, and the duration itself otherwise.
    #[must_use]
    pub const fn or(self, default: Self) -> Self {
        if self.is_zero() { default } else { self }
    }

    /// Converts to a standard duration; a negative length becomes zero.
    pub const fn to_std(self) -> Duration {
        Duration::from_nanos(if self.0 < 0 { 0 } else { self.0 as u64 })
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_str("-")?;
        }
        match self.0.unsigned_abs() {
            0 => f.write_str("0s"),
            nanos if nanos < MICROSECOND => write!(f, "{nanos}ns"),
            nanos if nanos < MILLISECOND => write_decimal(f, nanos, MICROSECOND, "µs"),
            nanos if nanos < SECOND => write_decimal(f, nanos, MILLISECOND, "ms"),
            nanos => {
                if nanos >= HOUR {
                    write!(f, "{}h", nanos / HOUR)?;
                }
                if nanos >= MINUTE {
                    write!(f, "{}m", nanos % HOUR / MINUTE)?;
                }
                write_decimal(f, nanos % MINUTE, SECOND, "s")
            }
        }
    }
}

/// Writes `nanos / unit` with as many decimals as needed and no trailing zeros.
fn write_decimal(f: &mut fmt::Formatter<'_>, nanos: u64, unit: u64, name: &str) -> fmt::Result {
    write!(f, "{}", nanos / unit)?;
    let mut rest = nanos % unit;
    if rest > 0 {
        f.write_str(".")?;
    }
    let mut digit = unit;
    while rest > 0 {
        digit /= 10;
        write!(f, "{}", rest / digit)?;
        rest %= digit;
    }
    f.write_str(name)
}

impl FromStr for GoDuration {
    type Err = ParseDurationError;

    fn from_str(input: &str) -> Result<Self, Self::Err> {
        let invalid = || ParseDurationError::Invalid(input.to_owned());
        let (negative, mut rest) = match input.as_bytes().first() {
            Some(b'-') => (true, &input[1..]),
            Some(b'+') => (false, &input[1..]),
            _ => (false, input),
        };
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let (term, tail) = parse_term(rest, input)?;
            rest = tail;
            total = total
                .checked_add(term)
                .filter(|total| *total <= LIMIT)
                .ok_or_else(invalid)?;
        }
        if negative {
            // The magnitude 2^63 is legal below zero: it is `i64::MIN`.
            return Ok(Self(0i64.wrapping_sub_unsigned(total)));
        }
        i64::try_from(total).map(Self).map_err(|_| invalid())
    }
}

/// Reads one number with its unit off the front of `rest`; gives nanoseconds and what follows.
fn parse_term<'a>(rest: &'a str, input: &str) -> Result<(u64, &'a str), ParseDurationError> {
    let invalid = || ParseDurationError::Invalid(input.to_owned());
    let (whole, rest) = split_digits(rest);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(after) => split_digits(after),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(invalid());
    }
    // Overflow is reported before a fault of the unit, as in Go.
    let whole = if whole.is_empty() {
        Ok(0)
    } else {
        whole.parse()
    };
    let whole: u64 = whole
        .ok()
        .filter(|whole| *whole <= LIMIT)
        .ok_or_else(invalid)?;
    let end = rest
        .find(|c: char| c == '.' || c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (unit, tail) = rest.split_at(end);
    let scale = match unit {
        "" => return Err(ParseDurationError::MissingUnit(input.to_owned())),
        "ns" => 1,
        // Go takes the micro sign (U+00B5) and the Greek letter mu (U+03BC).
        "us" | "\u{b5}s" | "\u{3bc}s" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => {
            return Err(ParseDurationError::UnknownUnit {
                unit: unit.to_owned(),
                input: input.to_owned(),
            });
        }
    };
    let nanos = whole
        .checked_mul(scale)
        .and_then(|nanos| nanos.checked_add(fraction_nanos(fraction, scale)))
        .filter(|nanos| *nanos <= LIMIT)
        .ok_or_else(invalid)?;
    Ok((nanos, tail))
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// Turns the digits behind a point into nanoseconds of a unit, in floating point and with a silent cut of
/// digits that do not fit, both as Go does (`leadingFraction` in `time/format.go`).
fn fraction_nanos(digits: &str, unit: u64) -> u64 {
    let mut value: u64 = 0;
    let mut scale: f64 = 1.0;
    for digit in digits.bytes() {
        if value > (LIMIT - 1) / 10 {
            break;
        }
        let next = value * 10 + u64::from(digit - b'0');
        if next > LIMIT {
            break;
        }
        value = next;
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u64
}

/// Quotes a text the way Go's `time` package does in its errors.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='\u{7f}' => quoted.push(c),
            _ => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    quoted.push_str(&format!("\\x{byte:02x}"));
                }
            }
        }
    }
    quoted.push('"');
    quoted
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: Option<Cow<'de, str>> = Option::deserialize(deserializer)?;
        match text.as_deref() {
            None | Some("") => Ok(Self::ZERO),
            Some(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for GoDuration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "GoDuration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

impl TryFrom<Duration> for GoDuration {
    type Error = DurationRangeError;

    fn try_from(duration: Duration) -> Result<Self, Self::Error> {
        i64::try_from(duration.as_nanos())
            .map(Self)
            .map_err(|_| DurationRangeError)
    }
}

impl TryFrom<GoDuration> for Duration {
    type Error = DurationRangeError;

    fn try_from(duration: GoDuration) -> Result<Self, Self::Error> {
        u64::try_from(duration.0)
            .map(Self::from_nanos)
            .map_err(|_| DurationRangeError)
    }
}

impl From<GoDuration> for jiff::SignedDuration {
    fn from(duration: GoDuration) -> Self {
        Self::from_nanos(duration.0)
    }
}

impl TryFrom<jiff::SignedDuration> for GoDuration {
    type Error = DurationRangeError;

    fn try_from(duration: jiff::SignedDuration) -> Result<Self, Self::Error> {
        i64::try_from(duration.as_nanos())
            .map(Self)
            .map_err(|_| DurationRangeError)
    }
}
