//! What users write: selectors, schedules, durations, quantities, patterns, policies and modifiers.
#![no_main]

use std::collections::BTreeMap;

use jiff::{Timestamp, tz::TimeZone};
use libfuzzer_sys::fuzz_target;
use velero_core::filter::Pattern;
use velero_core::modifier::ResourceModifiers;
use velero_core::policy::ResourcePolicies;
use velero_core::{Cron, GoDuration, Quantity, Selector};

fuzz_target!(|text: &str| {
    if let Ok(selector) = text.parse::<Selector>() {
        let again = selector.to_string().parse::<Selector>();
        assert!(again.is_ok_and(|again| again == selector), "{selector}");
        let _ = selector.matches(&BTreeMap::new());
    }
    if let Ok(duration) = text.parse::<GoDuration>() {
        let again = duration.to_string().parse::<GoDuration>();
        assert!(again.is_ok_and(|again| again == duration), "{duration}");
    }
    if let Ok(cron) = text.parse::<Cron>() {
        let after = Timestamp::UNIX_EPOCH;
        let next = cron.next(after, &TimeZone::UTC);
        assert!(next.is_none_or(|next| next > after));
    }
    let _ = text.parse::<Quantity>();
    let (pattern, name) = text.split_once('\n').unwrap_or((text, text));
    let _ = Pattern::new(pattern).matches(name);
    let _ = ResourcePolicies::parse(text);
    let _ = ResourceModifiers::parse(text);
});
