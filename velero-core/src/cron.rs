//! When schedules are due: cron expressions as Velero takes them.

mod parse;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan as _};

/// Years in which the next time is looked for. Dates and days of the week come round in 28, over the turn of most centuries
/// in 40.
const YEARS: i16 = 40;

/// A cron expression: five fields, a descriptor such as `@daily`, or `@every` with a Go duration; in front of it, if it is
/// meant, a time zone.
///
/// Takes what the standard parser of `robfig/cron` v3 takes, with which the peer reads `Schedule.spec.schedule`
/// (`pkg/controller/schedule_controller.go`). What makes that library panic (a zone without an expression) or search without
/// end (a date that no year has) is an error here.
///
/// ```
/// use velero_core::{Cron, Timestamp};
/// use jiff::tz::TimeZone;
///
/// let nightly: Cron = "30 2 * * mon-fri".parse()?;
/// let friday: Timestamp = "2026-11-20T03:00:00Z".parse()?;
/// let monday: Timestamp = "2026-11-23T02:30:00Z".parse()?;
/// assert_eq!(nightly.next(friday, &TimeZone::UTC), Some(monday));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    zone: Option<String>,
    rule: Rule,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    /// Whole seconds from one time to the next.
    Every(Duration),
    Fields(Fields),
}

/// What the five fields allow; a bit for each value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// The day of the month may be any: the day of the week alone decides, and the other way round.
    any_day: bool,
    any_weekday: bool,
}

impl Cron {
    /// Name of the time zone that the expression asks for (`CRON_TZ=Europe/Berlin `), as it stands there. Whoever has a time
    /// zone database looks it up and gives it to [`Cron::next`].
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// The next time after `after`, in whole seconds, by the clock of `zone`.
    ///
    /// A local time that a change of the clock leaves out is passed over; one that comes twice counts twice. `@every` counts
    /// from `after` and knows no zone. `None` at the end of time alone: an expression that never comes is not parsed.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match &self.rule {
            Rule::Every(period) => {
                let whole = Timestamp::from_second(after.as_second()).ok()?;
                let period = SignedDuration::try_from(*period).ok()?;
                whole.checked_add(period).ok()
            }
            Rule::Fields(fields) => fields.next(after, zone),
        }
    }
}

impl Fields {
    fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut date = zone.to_datetime(after).date();
        let last = date.year().saturating_add(YEARS);
        while date.year() <= last {
            if self.allows(date) {
                let of_day = self.times(date, zone).filter(|time| *time > after);
                if let Some(first) = of_day.min() {
                    return Some(first);
                }
            }
            date = date.checked_add(1.day()).ok()?;
        }
        None
    }

    fn allows(&self, date: Date) -> bool {
        let has = |bits: u64, value: i8| u32::try_from(value).is_ok_and(|bit| has(bits, bit));
        if !has(self.months, date.month()) {
            return false;
        }
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        if self.any_day || self.any_weekday {
            day && weekday
        } else {
            day || weekday
        }
    }

    /// All times of a day, twice those that come twice.
    fn times<'a>(&'a self, date: Date, zone: &'a TimeZone) -> impl Iterator<Item = Timestamp> + 'a {
        let hours = (0..24i8).filter(|hour| has(self.hours, hour.unsigned_abs().into()));
        hours.flat_map(move |hour| {
            let minutes =
                (0..60i8).filter(|minute| has(self.minutes, minute.unsigned_abs().into()));
            minutes.flat_map(move |minute| instants(date.at(hour, minute, 0, 0), zone))
        })
    }
}

fn has(bits: u64, value: u32) -> bool {
    bits.checked_shr(value).unwrap_or(0) & 1 == 1
}

/// The instants at which the clocks of a zone show a time: one, none, or two.
fn instants(time: DateTime, zone: &TimeZone) -> impl Iterator<Item = Timestamp> {
    let offsets = match zone.to_ambiguous_timestamp(time).offset() {
        AmbiguousOffset::Unambiguous { offset } => [Some(offset), None],
        AmbiguousOffset::Gap { .. } => [None, None],
        AmbiguousOffset::Fold { before, after } => [Some(before), Some(after)],
    };
    let at = move |offset: jiff::tz::Offset| offset.to_timestamp(time).ok();
    offsets.into_iter().flatten().filter_map(at)
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
