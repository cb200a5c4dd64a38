use std::time::Duration;

use proptest::prelude::*;
use velero_core::GoDuration;

#[track_caller]
fn parses(text: &str, nanos: i64) {
    assert_eq!(
        text.parse::<GoDuration>().map(GoDuration::as_nanos),
        Ok(nanos),
        "{text}"
    );
}

#[track_caller]
fn fails(text: &str, message: &str) {
    assert_eq!(
        text.parse::<GoDuration>().unwrap_err().to_string(),
        message,
        "{text}"
    );
}

const S: i64 = 1_000_000_000;

#[test]
fn reads_go_grammar() {
    parses("0", 0);
    parses("-0", 0);
    parses("+0", 0);
    parses("5s", 5 * S);
    parses("1478s", 1478 * S);
    parses("-5s", -5 * S);
    parses("+5s", 5 * S);
    parses("5.0s", 5 * S);
    parses("5.6s", 5_600_000_000);
    parses("5.s", 5 * S);
    parses(".5s", S / 2);
    parses("1.004s", 1_004_000_000);
    parses("100.00100s", 100_001_000_000);
    parses("10ns", 10);
    parses("11us", 11_000);
    parses("12\u{b5}s", 12_000);
    parses("12\u{3bc}s", 12_000);
    parses("13ms", 13_000_000);
    parses("15m", 15 * 60 * S);
    parses("16h", 16 * 3600 * S);
    parses("3h30m", 12_600 * S);
    parses("10.5s4m", 250_500_000_000);
    parses("-2m3.4s", -123_400_000_000);
    parses("1h2m3s4ms5us6ns", 3_723_004_005_006);
    parses("39h9m14.425s", 140_954_425_000_000);
    parses("52763797000ns", 52_763_797_000);
    // More decimals than fit are cut, as Go does.
    parses("0.3333333333333333333h", 20 * 60 * S);
    parses("0.9223372036854775807h", 3_320_413_933_267);
    parses("0.100000000000000000000h", 360 * S);
    parses("9007199254740993ns", 9_007_199_254_740_993);
    parses("9223372036854775807ns", i64::MAX);
    parses("9223372036s854ms775us807ns", i64::MAX);
    parses("-9223372036854775808ns", i64::MIN);
    parses("-9223372036854775.808us", i64::MIN);
    parses("-9223372036854ms775us808ns", i64::MIN);
}

#[test]
fn refuses_what_go_refuses_in_the_same_words() {
    fails("", r#"time: invalid duration """#);
    fails("3", r#"time: missing unit in duration "3""#);
    fails(
        "99999999999999999999",
        r#"time: invalid duration "99999999999999999999""#,
    );
    fails("-", r#"time: invalid duration "-""#);
    fails("--1h", r#"time: invalid duration "--1h""#);
    fails("s", r#"time: invalid duration "s""#);
    fails(".", r#"time: invalid duration ".""#);
    fails("-.", r#"time: invalid duration "-.""#);
    fails(".s", r#"time: invalid duration ".s""#);
    fails("+.s", r#"time: invalid duration "+.s""#);
    fails("1d", r#"time: unknown unit "d" in duration "1d""#);
    fails(" 1h", r#"time: invalid duration " 1h""#);
    fails("1h ", r#"time: unknown unit "h " in duration "1h ""#);
    fails(
        "1h\"\\\n",
        r#"time: unknown unit "h\"\\\x0a" in duration "1h\"\\\x0a""#,
    );
    fails(
        "\u{85}\u{85}",
        r#"time: invalid duration "\xc2\x85\xc2\x85""#,
    );
    fails(
        "hello \u{fffd} world",
        r#"time: invalid duration "hello \xef\xbf\xbd world""#,
    );
    fails(
        "9223372036854775810ns",
        r#"time: invalid duration "9223372036854775810ns""#,
    );
    fails(
        "9223372036854775808ns",
        r#"time: invalid duration "9223372036854775808ns""#,
    );
    fails(
        "-9223372036854775809ns",
        r#"time: invalid duration "-9223372036854775809ns""#,
    );
    fails(
        "9223372036854776us",
        r#"time: invalid duration "9223372036854776us""#,
    );
    fails("3000000h", r#"time: invalid duration "3000000h""#);
    fails(
        "9223372036854775.808us",
        r#"time: invalid duration "9223372036854775.808us""#,
    );
    fails(
        "99999999999999999999h",
        r#"time: invalid duration "99999999999999999999h""#,
    );
}

#[test]
fn writes_go_form() {
    for (nanos, text) in [
        (0, "0s"),
        (1, "1ns"),
        (1_100, "1.1µs"),
        (2_200_000, "2.2ms"),
        (3_300_000_000, "3.3s"),
        (245 * S, "4m5s"),
        (245_001_000_000, "4m5.001s"),
        (18_367_001_000_000, "5h6m7.001s"),
        (480_000_000_001, "8m0.000000001s"),
        (2_592_000 * S, "720h0m0s"),
        (600 * S, "10m0s"),
        (-1_500_000_000, "-1.5s"),
        (i64::MAX, "2562047h47m16.854775807s"),
        (i64::MIN, "-2562047h47m16.854775808s"),
    ] {
        assert_eq!(GoDuration::from_nanos(nanos).to_string(), text);
    }
}

#[test]
fn json_takes_empty_and_null_for_zero() {
    for text in ["null", "\"\"", "\"0s\"", "\"0\""] {
        assert_eq!(
            serde_json::from_str::<GoDuration>(text).unwrap(),
            GoDuration::ZERO,
            "{text}"
        );
    }
    assert_eq!(
        serde_json::from_str::<GoDuration>(r#""1\u0068""#).unwrap(),
        GoDuration::from_hours(1)
    );
    assert_eq!(
        serde_json::to_string(&GoDuration::from_hours(720)).unwrap(),
        r#""720h0m0s""#
    );
    let error = serde_json::from_str::<GoDuration>("\"1d\"")
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(r#"time: unknown unit "d" in duration "1d""#),
        "{error}"
    );
    assert!(serde_json::from_str::<GoDuration>("5").is_err());
}

#[test]
fn converts_to_other_types() {
    assert_eq!(GoDuration::from_secs(-3).to_std(), Duration::ZERO);
    assert_eq!(GoDuration::from_mins(2).to_std(), Duration::from_secs(120));
    assert!(Duration::try_from(GoDuration::from_nanos(-1)).is_err());
    assert!(GoDuration::try_from(Duration::MAX).is_err());
    assert_eq!(
        GoDuration::try_from(Duration::from_millis(1500)),
        Ok(GoDuration::from_millis(1500))
    );
    assert_eq!(
        jiff::SignedDuration::from(GoDuration::from_hours(-1)),
        jiff::SignedDuration::from_hours(-1)
    );
    assert!(GoDuration::try_from(jiff::SignedDuration::MAX).is_err());
    assert_eq!(GoDuration::from_hours(i64::MAX), GoDuration::MAX);
    assert_eq!(
        GoDuration::ZERO.or(GoDuration::from_hours(4)),
        GoDuration::from_hours(4)
    );
    assert_eq!(
        GoDuration::from_secs(1).or(GoDuration::from_hours(4)),
        GoDuration::from_secs(1)
    );
}

proptest! {
    /// Exact for the whole range: seconds are written as an integer and at most nine decimals. Go's own
    /// reading of those decimals goes through floating point, which is exact for nine digits.
    #[test]
    fn text_round_trips(nanos: i64) {
        let duration = GoDuration::from_nanos(nanos);
        prop_assert_eq!(duration.to_string().parse::<GoDuration>(), Ok(duration));
    }

    #[test]
    fn small_text_round_trips(nanos in -5_000_000_000i64..5_000_000_000) {
        let duration = GoDuration::from_nanos(nanos);
        prop_assert_eq!(duration.to_string().parse::<GoDuration>(), Ok(duration));
    }

    #[test]
    fn never_panics(text in "[-+]?([0-9]{0,25}(\\.[0-9]{0,25})?[a-zµ. ]{0,3}){0,4}") {
        let _ = text.parse::<GoDuration>();
    }

    #[test]
    fn never_panics_on_any_text(text: String) {
        if let Err(error) = text.parse::<GoDuration>() {
            prop_assert!(error.to_string().starts_with("time: "));
        }
    }
}
