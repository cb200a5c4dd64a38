//! Who goes next where several may run at once, without IO.
//!
//! Mirrors the rule of upstream's `pkg/controller/backup_queue_controller.go`: runs that have a namespace in common go one
//! after the other, in their order.

use std::collections::BTreeSet;

/// The namespaces that a run takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Span {
    /// All, or unknown ones.
    All,
    Names(BTreeSet<String>),
}

impl Span {
    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Names(one), Self::Names(other)) => !one.is_disjoint(other),
            _ => true,
        }
    }

    fn add(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::Names(all), Self::Names(more)) => all.extend(more),
            (_, Self::All) => *self = Self::All,
            (Self::All, _) => {}
        }
    }
}

/// Whether a run is to begin. `queue` has those that wait, in their order; `running` those under way; `limit` of them may
/// be at the same time.
///
/// What waits for another one holds back all behind it that meet it, so that nobody waits for ever.
pub(super) fn is_turn<'a>(
    name: &str,
    queue: impl IntoIterator<Item = (&'a str, Span)>,
    running: &[Span],
    limit: usize,
) -> bool {
    let mut slots = limit.saturating_sub(running.len());
    let mut taken: Option<Span> = None;
    let take = |taken: &mut Option<Span>, span: Span| match taken {
        Some(all) => all.add(span),
        None => *taken = Some(span),
    };
    for span in running {
        take(&mut taken, span.clone());
    }
    for (candidate, span) in queue {
        let is_free = taken.as_ref().is_none_or(|taken| !taken.meets(&span));
        if slots == 0 || candidate == name {
            return slots > 0 && is_free;
        }
        if is_free {
            slots -= 1;
        }
        take(&mut taken, span);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(names: &str) -> Span {
        match names {
            "*" => Span::All,
            names => Span::Names(names.split_whitespace().map(str::to_owned).collect()),
        }
    }

    /// Those of a queue whose turn it is.
    fn turns(queue: &[&'static str], running: &[&str], limit: usize) -> Vec<&'static str> {
        let running: Vec<Span> = running.iter().map(|names| span(names)).collect();
        let is = |name: &&&str| {
            let queue = queue.iter().map(|names| (*names, span(names)));
            is_turn(name, queue, &running, limit)
        };
        queue.iter().filter(is).copied().collect()
    }

    #[test]
    fn what_has_nothing_in_common_runs_side_by_side() {
        for (queue, running, limit, expected) in [
            (&["a", "b", "c"][..], &[][..], 1, &["a"][..]),
            (&["a", "b", "c"], &[], 2, &["a", "b"]),
            (&["a", "b", "c"], &["x"], 2, &["a"]),
            (&["a", "b"], &["x", "y"], 2, &[]),
            // One that shares a namespace waits, and holds back who shares one with it.
            (&["a b", "b c", "d"], &["a"], 9, &["d"]),
            (&["b c", "c", "d"], &["b"], 9, &["d"]),
            (&["a", "a b", "b"], &[], 9, &["a"]),
            // All namespaces meet everything, from both sides.
            (&["*", "a"], &[], 9, &["*"]),
            (&["a", "*", "b"], &[], 9, &["a"]),
            (&["*"], &["a"], 9, &[]),
            (&["a"], &["*"], 9, &[]),
            // A backup of nothing meets nobody but those of everything.
            (&["", "a"], &["a"], 9, &[""]),
            (&[""], &["*"], 9, &[]),
            (&[], &[], 9, &[]),
        ] {
            assert_eq!(
                turns(queue, running, limit),
                expected,
                "{queue:?} {running:?} {limit}"
            );
        }
    }
}
