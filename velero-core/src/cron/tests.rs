use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;

fn cron(text: &str) -> Cron {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Central Europe's rule, so that no test needs a time zone database.
fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

/// The first times after one.
fn run(text: &str, after: &str, zone: &TimeZone, count: usize) -> Vec<String> {
    let (cron, mut time) = (cron(text), at(after));
    (0..count)
        .map(|_| {
            time = cron.next(time, zone).unwrap();
            time.to_string()
        })
        .collect()
}

#[test]
fn next_times() {
    for (text, after, expected) in [
        ("* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
        (
            "* * * * *",
            "2026-01-01T00:00:59.9Z",
            "2026-01-01T00:01:00Z",
        ),
        ("0 7 * * *", "2026-01-01T07:00:00Z", "2026-01-02T07:00:00Z"),
        ("0 7 * * *", "2026-01-01T06:59:59Z", "2026-01-01T07:00:00Z"),
        (
            "*/15 * * * *",
            "2026-01-01T00:46:00Z",
            "2026-01-01T01:00:00Z",
        ),
        (
            "20-35/15 * * * *",
            "2026-01-01T00:21:00Z",
            "2026-01-01T00:35:00Z",
        ),
        (
            "5/20 * * * *",
            "2026-01-01T00:26:00Z",
            "2026-01-01T00:45:00Z",
        ),
        (
            "0,30 12 * * ?",
            "2026-01-01T12:00:00Z",
            "2026-01-01T12:30:00Z",
        ),
        ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("0 0 31 * *", "2026-01-31T00:00:00Z", "2026-03-31T00:00:00Z"),
        (
            "0 0 1 JAN,Jul *",
            "2026-01-01T00:00:00Z",
            "2026-07-01T00:00:00Z",
        ),
        (
            "0 0 * * mon-wed",
            "2026-11-25T00:00:00Z",
            "2026-11-30T00:00:00Z",
        ),
        // A day of the month and one of the week: either will do.
        (
            "0 0 13 * fri",
            "2026-11-09T00:00:00Z",
            "2026-11-13T00:00:00Z",
        ),
        (
            "0 0 13 * fri",
            "2026-11-13T00:00:00Z",
            "2026-11-20T00:00:00Z",
        ),
        // A star with a step is a day like others.
        (
            "0 0 */10 * fri",
            "2026-11-20T00:00:00Z",
            "2026-11-21T00:00:00Z",
        ),
        (
            "0 0 */1 * fri",
            "2026-11-20T00:00:00Z",
            "2026-11-27T00:00:00Z",
        ),
        ("@yearly", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("@annually", "2026-05-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("@monthly", "2026-01-15T00:00:00Z", "2026-02-01T00:00:00Z"),
        ("@weekly", "2026-11-23T00:00:00Z", "2026-11-29T00:00:00Z"),
        ("@daily", "2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z"),
        ("@midnight", "2026-11-23T05:00:00Z", "2026-11-24T00:00:00Z"),
        ("@hourly", "2026-11-23T05:00:01Z", "2026-11-23T06:00:00Z"),
        (
            "@every 1h30m",
            "2026-11-23T05:00:01.5Z",
            "2026-11-23T06:30:01Z",
        ),
        (
            "@every 1.9s",
            "2026-11-23T05:00:00Z",
            "2026-11-23T05:00:01Z",
        ),
        ("@every 1ms", "2026-11-23T05:00:00Z", "2026-11-23T05:00:01Z"),
        ("@every -5m", "2026-11-23T05:00:00Z", "2026-11-23T05:00:01Z"),
        (
            "  0   7 * * *  ",
            "2026-01-01T00:00:00Z",
            "2026-01-01T07:00:00Z",
        ),
        (
            "TZ=UTC 0 7 * * *",
            "2026-01-01T00:00:00Z",
            "2026-01-01T07:00:00Z",
        ),
    ] {
        let found = cron(text).next(at(after), &TimeZone::UTC).unwrap();
        assert_eq!(found.to_string(), expected, "{text:?} after {after}");
    }
}

#[test]
fn clocks_that_change() {
    let zone = berlin();
    // Half past two is left out on 29 March, and comes twice on 25 October.
    assert_eq!(
        run("30 2 * * *", "2026-03-28T00:00:00Z", &zone, 2),
        ["2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z"]
    );
    assert_eq!(
        run("30 2 * * *", "2026-10-24T12:00:00Z", &zone, 3),
        [
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-26T01:30:00Z"
        ]
    );
    assert_eq!(
        run("0,30 2 * * *", "2026-10-24T12:00:00Z", &zone, 4),
        [
            "2026-10-25T00:00:00Z",
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T01:30:00Z"
        ]
    );
    assert_eq!(
        run("0 0 * * *", "2026-07-01T12:00:00Z", &zone, 1),
        ["2026-07-01T22:00:00Z"]
    );
}

#[test]
fn zones_and_texts_stay() {
    for (text, zone) in [
        ("CRON_TZ=Europe/Berlin 0 7 * * *", Some("Europe/Berlin")),
        ("TZ=Asia/Tokyo @daily", Some("Asia/Tokyo")),
        ("@every 5m", None),
    ] {
        let cron = cron(text);
        assert_eq!(cron.zone(), zone);
        assert_eq!(cron.to_string(), text);
    }
}

#[test]
fn faults_name_what_would_be_right() {
    for (text, expected) in [
        ("", "it has 0 fields; write five fields"),
        ("* * * *", "it has 4 fields"),
        ("* * * * * *", "it has 6 fields"),
        ("60 * * * *", "minute \"60\" is not from 0 to 59"),
        ("* 24 * * *", "hour \"24\" is not from 0 to 23"),
        ("* * 0 * *", "day of month \"0\" is not from 1 to 31"),
        (
            "* * * 13 *",
            "month \"13\" is not from 1 to 12, or jan to dec",
        ),
        (
            "* * * * 7",
            "day of week \"7\" is not from 0 to 6, or sun to sat",
        ),
        ("* * * * L", "day of week \"L\" is not"),
        ("* * L * *", "day of month \"L\" is not"),
        ("-1 * * * *", "minute \"\" is not"),
        ("5-1 * * * *", "minute \"5-1\" begins behind its end"),
        ("1-2-3 * * * *", "minute \"2-3\" is not"),
        ("*/0 * * * *", "the step \"0\" is no number from 1 on"),
        ("*/x * * * *", "the step \"x\" is no number from 1 on"),
        ("1/2/3 * * * *", "the step \"2/3\" is no number from 1 on"),
        (", * * * *", "minute \",\" names no value"),
        ("0 0 30 2 *", "no month of \"2\" has a day \"30\""),
        ("0 0 31 4,6 *", "no month of \"4,6\" has a day \"31\""),
        ("@dayly", "\"@dayly\" is no descriptor"),
        ("@every", "\"@every\" is no descriptor"),
        ("@every soon", "behind @every: "),
        (
            "TZ=Europe/Berlin",
            "behind the time zone \"Europe/Berlin\" comes nothing",
        ),
        ("CRON_TZ= 0 7 * * *", "the time zone is empty"),
    ] {
        let error = text.parse::<Cron>().unwrap_err().to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    assert!("0 0 30 2 mon".parse::<Cron>().is_ok());
}

proptest! {
    #[test]
    fn the_next_time_is_the_first_that_matches(
        minute in 0u32..60, hour in 0u32..24, day in 1u32..29, start in 0i64..4_000_000_000,
    ) {
        let text = format!("{minute} {hour} {day} * *");
        let zone = TimeZone::UTC;
        let after = Timestamp::from_second(start).unwrap();
        let next = cron(&text).next(after, &zone).unwrap();
        prop_assert!(next > after);
        let shown = zone.to_datetime(next);
        prop_assert_eq!(
            (shown.minute(), shown.hour(), shown.day(), shown.second()),
            (minute as i8, hour as i8, day as i8, 0)
        );
        // Months are no longer than that.
        prop_assert!(next.as_second() - start <= 31 * 86_400);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,40}", start in -10_000_000_000i64..10_000_000_000) {
        if let Ok(cron) = text.parse::<Cron>() {
            let after = Timestamp::from_second(start).unwrap();
            let _ = cron.next(after, &berlin());
        }
    }
}
