//! Times as the peer prints them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use velero_core::api::Time;

/// A time in the local zone, or `otherwise` where there is none.
pub(crate) fn local(time: Option<&Time>, otherwise: &str) -> String {
    time.map_or_else(
        || otherwise.to_owned(),
        |time| zoned(time.0, TimeZone::system()),
    )
}

fn zoned(time: Timestamp, zone: TimeZone) -> String {
    time.to_zoned(zone)
        .strftime("%Y-%m-%d %H:%M:%S %z %Z")
        .to_string()
}

/// How far off a time is: `29d`, `3h ago`; `n/a` where there is none.
pub(crate) fn relative(time: Option<Timestamp>, now: Timestamp) -> String {
    match time {
        None => "n/a".to_owned(),
        Some(time) if time >= now => short(time.as_second() - now.as_second()),
        Some(time) => format!("{} ago", short(now.as_second() - time.as_second())),
    }
}

/// The largest unit that fits, cut to whole numbers.
fn short(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    match seconds {
        s if s < MINUTE => format!("{s}s"),
        s if s < HOUR => format!("{}m", s / MINUTE),
        s if s < DAY => format!("{}h", s / HOUR),
        s if s < 365 * DAY => format!("{}d", s / DAY),
        s => format!("{}y", s / (365 * DAY)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_cut_to_the_largest_unit() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3_599, "59m"),
            (86_399, "23h"),
            (30 * 86_400 - 1, "29d"),
            (366 * 86_400, "1y"),
            (-90, "1m ago"),
        ] {
            let time = Timestamp::from_second(now.as_second() + seconds).unwrap();
            assert_eq!(relative(Some(time), now), expected);
        }
        assert_eq!(relative(None, now), "n/a");
    }

    #[test]
    fn local_times_name_their_zone() {
        let time = "2026-11-22T05:49:12Z".parse().unwrap();
        assert_eq!(zoned(time, TimeZone::UTC), "2026-11-22 05:49:12 +0000 UTC");
    }
}
