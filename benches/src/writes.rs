//! What a client wrote in which time, by the audit log: the window in which others are disturbed.

use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use velero_e2e::{AuditEvent, AuditFilter, AuditLog};

/// How long a client has to find out how much is good for the API server, before its calls at a time count.
pub(crate) const BEGINNING: Duration = Duration::from_secs(5);

/// The objects that a client has created, and when.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Writes {
    /// When the API server got the first of them.
    pub(crate) first: Timestamp,
    /// When it had answered the last one.
    pub(crate) last: Timestamp,
    /// How many there are.
    pub(crate) created: usize,
    /// Most calls that were under way at a time, refused ones too, after [`BEGINNING`]; nothing when all were over by then.
    pub(crate) at_once: Option<usize>,
}

impl Writes {
    /// What a client has created since the log began.
    ///
    /// # Errors
    /// When it has created nothing, or the log cannot be read.
    pub(crate) fn of(log: &AuditLog, user_agent: &str) -> Result<Self> {
        let events = log.events(&AuditFilter::objects_of(user_agent))?;
        let calls: Vec<Call> = events
            .iter()
            .filter(|event| event.verb == "create" && !event.is_dry_run())
            .map(Call::of)
            .collect::<Result<_>>()?;
        Self::from_calls(&calls)
            .with_context(|| format!("no client called {user_agent:?} has created objects"))
    }

    fn from_calls(calls: &[Call]) -> Option<Self> {
        let done = || calls.iter().filter(|call| call.is_done);
        let first = done().map(|call| call.begin).min()?;
        let after = first.checked_add(BEGINNING).ok()?;
        let late: Vec<&Call> = calls.iter().filter(|call| call.begin >= after).collect();
        Some(Self {
            first,
            last: done().map(|call| call.end).max()?,
            created: done().count(),
            at_once: most_at_once(&late),
        })
    }

    /// Objects a second.
    pub(crate) fn rate(&self) -> f64 {
        let time = self.last.duration_since(self.first).as_secs_f64();
        self.created as f64 / time.max(0.001)
    }

    /// Whether something was written at that time.
    pub(crate) fn covers(&self, time: Timestamp) -> bool {
        (self.first..=self.last).contains(&time)
    }
}

/// One call that creates.
struct Call {
    begin: Timestamp,
    end: Timestamp,
    is_done: bool,
}

impl Call {
    fn of(event: &AuditEvent) -> Result<Self> {
        let time = |text: &str| -> Result<Timestamp> {
            text.parse().with_context(|| format!("{text:?} is no time"))
        };
        Ok(Self {
            begin: time(&event.request_received_timestamp)?,
            end: time(&event.stage_timestamp)?,
            is_done: event.code() == 201,
        })
    }
}

fn most_at_once(calls: &[&Call]) -> Option<usize> {
    // What ends when another begins is over.
    let mut steps: Vec<(Timestamp, bool)> = calls
        .iter()
        .flat_map(|call| [(call.begin, true), (call.end, false)])
        .collect();
    steps.sort_unstable();
    let (mut now, mut most) = (0_usize, None);
    for (_, begins) in steps {
        now = if begins {
            now + 1
        } else {
            now.saturating_sub(1)
        };
        most = most.max(Some(now));
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(begin: i64, end: i64, is_done: bool) -> Call {
        let time = |ms| Timestamp::from_millisecond(ms).unwrap();
        Call {
            begin: time(begin),
            end: time(end),
            is_done,
        }
    }

    #[test]
    fn the_window_is_that_of_what_was_created() {
        assert_eq!(Writes::from_calls(&[]), None);
        assert_eq!(Writes::from_calls(&[call(1, 2, false)]), None);
        // Many at the beginning, then three at most, one of which is refused; the last call creates nothing.
        let calls = [
            call(0, 5, false),
            call(1000, 1010, true),
            call(1001, 1011, true),
            call(1002, 1012, true),
            call(1003, 1013, true),
            call(6000, 6010, true),
            call(6005, 6020, true),
            call(6006, 6008, false),
            call(6010, 6015, true),
            call(9000, 9001, false),
        ];
        let writes = Writes::from_calls(&calls).unwrap();
        let ms = |time: Timestamp| time.as_millisecond();
        assert_eq!((ms(writes.first), ms(writes.last)), (1000, 6020));
        assert_eq!((writes.created, writes.at_once), (7, Some(3)));
        assert!((writes.rate() - 7.0 / 5.02).abs() < 1e-9);
        for (time, covered) in [(999, false), (1000, true), (6020, true), (6021, false)] {
            let time = Timestamp::from_millisecond(time).unwrap();
            assert_eq!(writes.covers(time), covered, "{time}");
        }
        let short = Writes::from_calls(&calls[..5]).unwrap();
        assert_eq!(short.at_once, None);
    }
}
