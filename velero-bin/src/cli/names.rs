//! Names of the objects that commands make.

use anyhow::{Result, bail};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// The longest name of an object.
const LONGEST: usize = 253;

/// Checks that a name is one that Kubernetes takes: a DNS-1123 subdomain.
///
/// # Errors
/// When it is not, in one line that says what would be.
pub(crate) fn check(what: &str, name: &str) -> Result<()> {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = |part: &str| {
        part.starts_with(edge) && part.ends_with(edge) && part.chars().all(|c| edge(c) || c == '-')
    };
    if name.len() <= LONGEST && name.split('.').all(good) {
        return Ok(());
    }
    bail!(
        "{what} name {name:?} is not valid: it needs lower-case letters, digits, '-' and '.', a letter or digit at both ends, \
         and at most {LONGEST} characters"
    )
}

/// The default name of a backup: the schedule that it is made from, and the time in UTC.
pub(crate) fn backup_name(schedule: &str, now: Timestamp) -> String {
    timed(schedule, &now.to_zoned(TimeZone::UTC))
}

/// The default name of a restore: what it is made from, and the local time.
pub(crate) fn restore_name(source: &str, now: &Zoned) -> String {
    timed(source, now)
}

/// A name that tells what something is made from, and when, by the clock of the time's own zone.
pub(crate) fn timed(source: &str, now: &Zoned) -> String {
    format!("{source}-{}", now.strftime("%Y%m%d%H%M%S"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_dns() {
        for (name, good) in [
            ("a", true),
            ("nightly-2026.01", true),
            ("", false),
            ("A", false),
            ("a_b", false),
            ("-a", false),
            ("a-", false),
            ("a..b", false),
            ("a/b", false),
            ("../x", false),
        ] {
            assert_eq!(check("backup", name).is_ok(), good, "{name:?}");
        }
        assert!(check("backup", &"a".repeat(254)).is_err());
    }

    #[test]
    fn backups_are_named_after_their_schedule_and_the_time_in_utc() {
        let now = "2026-11-22T05:49:12+01:00".parse().unwrap();
        assert_eq!(backup_name("nightly", now), "nightly-20261122044912");
    }

    #[test]
    fn restores_are_named_after_their_source_and_the_time() {
        let now = "2026-11-22T05:49:12+01:00[Europe/Berlin]".parse().unwrap();
        assert_eq!(restore_name("nightly", &now), "nightly-20261122054912");
    }
}
