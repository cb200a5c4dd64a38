//! From the text of a cron expression to what it allows.

use std::str::FromStr;
use std::time::Duration;

use super::{Cron, Fields, Rule, has};
use crate::{Error, GoDuration};

/// What a cron expression may be.
const FORM: &str = "write five fields (minute, hour, day of month, month, day of week), a descriptor such as @daily, or @every with a \
                    duration";

const MONTHS: &[&str] = &[
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Most days that a month has, from January on.
const LENGTHS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// One of the five fields: its name, its range, and names for values from its least one on.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const MINUTE: Field = field("minute", 0, 59, &[]);
const HOUR: Field = field("hour", 0, 23, &[]);
const DAY: Field = field("day of month", 1, 31, &[]);
const MONTH: Field = field("month", 1, 12, MONTHS);
const WEEKDAY: Field = field("day of week", 0, 6, WEEKDAYS);

const fn field(name: &'static str, least: u32, most: u32, names: &'static [&'static str]) -> Field {
    Field {
        name,
        least,
        most,
        names,
    }
}

impl FromStr for Cron {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fault = |reason: String| Error::invalid("cron expression", text, reason);
        let (zone, rest) = split_zone(text).map_err(fault)?;
        let rule = rule(rest.trim()).map_err(fault)?;
        Ok(Self {
            text: text.to_owned(),
            zone: zone.map(str::to_owned),
            rule,
        })
    }
}

/// Takes the time zone off an expression.
fn split_zone(text: &str) -> Result<(Option<&str>, &str), String> {
    let zoned = text.strip_prefix("TZ=").or(text.strip_prefix("CRON_TZ="));
    let Some(zoned) = zoned else {
        return Ok((None, text));
    };
    let (zone, rest) = zoned.split_once(' ').ok_or_else(|| {
        format!(
            "behind the time zone {zoned:?} comes nothing; put a space and the expression there"
        )
    })?;
    if zone.is_empty() {
        return Err("the time zone is empty; name one such as Europe/Berlin".to_owned());
    }
    Ok((Some(zone), rest))
}

fn rule(text: &str) -> Result<Rule, String> {
    if let Some(period) = text.strip_prefix("@every ") {
        return every(period);
    }
    let text = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        other if other.starts_with('@') => {
            return Err(format!(
                "{other:?} is no descriptor; there are @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly and @every"
            ));
        }
        fields => fields,
    };
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = parts[..] else {
        return Err(format!("it has {} fields; {FORM}", parts.len()));
    };
    let (days, any_day) = DAY.read(day)?;
    let (weekdays, any_weekday) = WEEKDAY.read(weekday)?;
    let fields = Fields {
        minutes: MINUTE.read(minute)?.0,
        hours: HOUR.read(hour)?.0,
        days,
        months: MONTH.read(month)?.0,
        weekdays,
        any_day,
        any_weekday,
    };
    match fields.ever_comes() {
        true => Ok(Rule::Fields(fields)),
        false => Err(format!(
            "no month of {month:?} has a day {day:?}, so it never comes; name a day that there is"
        )),
    }
}

/// At least a second, in whole seconds.
fn every(period: &str) -> Result<Rule, String> {
    let period: GoDuration = period
        .parse()
        .map_err(|error| format!("behind @every: {error}"))?;
    let period = Duration::try_from(period).unwrap_or_default();
    Ok(Rule::Every(Duration::from_secs(period.as_secs().max(1))))
}

impl Fields {
    /// Whether any year has a day that is allowed.
    fn ever_comes(&self) -> bool {
        if !self.any_day && !self.any_weekday {
            return true;
        }
        (1..)
            .zip(LENGTHS)
            .filter(|(month, _)| has(self.months, *month))
            .any(|(_, length)| (1..=length).any(|day| has(self.days, day)))
    }
}

impl Field {
    /// The values that a field allows, and whether it leaves its day open.
    fn read(&self, text: &str) -> Result<(u64, bool), String> {
        let (mut bits, mut any) = (0, false);
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (of_part, any_of_part) = self.part(part)?;
            bits |= of_part;
            any |= any_of_part;
        }
        match bits {
            0 => Err(format!(
                "{} {text:?} names no value; write one from {} to {}, or *",
                self.name, self.least, self.most
            )),
            bits => Ok((bits, any)),
        }
    }

    /// A value, a range or a star, with a step or without.
    fn part(&self, part: &str) -> Result<(u64, bool), String> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let is_any = matches!(range, "*" | "?");
        let (from, to) = match range.split_once('-') {
            _ if is_any => (self.least, self.most),
            Some((from, to)) => (self.value(from)?, self.value(to)?),
            // With a step, a single value goes on to the end.
            None => {
                let value = self.value(range)?;
                (value, if step.is_some() { self.most } else { value })
            }
        };
        if from > to {
            return Err(format!(
                "{} {part:?} begins behind its end; write the smaller value first",
                self.name
            ));
        }
        let step = match step {
            None => 1,
            Some(step) => match step.parse::<u32>() {
                Ok(step) if step > 0 => step,
                _ => {
                    return Err(format!(
                        "{} {part:?}: the step {step:?} is no number from 1 on",
                        self.name
                    ));
                }
            },
        };
        let step_by = usize::try_from(step).unwrap_or(usize::MAX);
        let bits = (from..=to)
            .step_by(step_by)
            .fold(0, |bits, value| bits | 1 << value);
        Ok((bits, is_any && step == 1))
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        let lower = text.to_lowercase();
        let named = self.names.iter().position(|name| *name == lower);
        let named = named.and_then(|place| u32::try_from(place).ok());
        let value = match named {
            Some(place) => Some(place + self.least),
            None => text.parse().ok(),
        };
        value
            .filter(|value| (self.least..=self.most).contains(value))
            .ok_or_else(|| {
                let names = match self.names {
                    [first, .., last] => format!(", or {first} to {last}"),
                    _ => String::new(),
                };
                format!(
                    "{} {text:?} is not from {} to {}{names}",
                    self.name, self.least, self.most
                )
            })
    }
}
