//! Which hook of a pod comes next: a pure decision.

use std::time::Duration;

use tokio::time::Instant;
use velero_core::GoDuration;

use super::seen::Seen;
use super::tally::{HookStanding, Standing};

/// What to do about a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Run this hook.
    Run(usize),
    /// This hook has failed without having been run.
    Fail(usize, String),
    /// No hook can be run any more.
    End(String),
    /// Wait for a change of the pod, at most until then.
    Wait(Instant),
    /// None is left.
    Rest,
}

/// What is decided on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation<'a> {
    /// The hooks of the pod; each names its container.
    pub(super) hooks: &'a [HookStanding],
    /// The containers of the pod.
    pub(super) containers: &'a [String],
    /// Until when each hook waits for its container, and how long that is.
    pub(super) waits: &'a [(Instant, Duration)],
    pub(super) seen: &'a Seen,
    pub(super) now: Instant,
}

impl Situation<'_> {
    /// Decides. Hooks of one container run in their order, and those of a container that is up before those of one that is
    /// not. A container that came up in time has done so, even if other hooks of the pod ran until after that time.
    pub(super) fn next(&self) -> Next {
        let mut until = None;
        let mut runs = None;
        for (at, standing) in self.hooks.iter().enumerate() {
            if standing.state != Standing::Due {
                continue;
            }
            let container = standing.container();
            if !self.containers.iter().any(|name| name == container) {
                return Next::Fail(at, self.no_such_container());
            }
            let Some((due, wait)) = self.waits.get(at).copied() else {
                continue;
            };
            let ready = self.wants_ready(container);
            match self.seen.up_since(container, ready) {
                Some(since) if since <= due => runs = runs.or(Some(at)),
                None if self.seen.end().is_none() && self.now < due => {
                    until = Some(until.map_or(due, |until: Instant| until.min(due)));
                }
                None if self.seen.end().is_some() => {}
                _ => return Next::Fail(at, self.late(ready, wait)),
            }
        }
        let is_due = self.hooks.iter().any(|h| h.state == Standing::Due);
        match (self.seen.end(), runs, until) {
            (Some(reason), _, _) if is_due => Next::End(reason.to_owned()),
            (_, Some(at), _) => Next::Run(at),
            (_, None, Some(until)) => Next::Wait(until),
            (_, None, None) => Next::Rest,
        }
    }

    /// Whether one of its hooks wants a container to be ready; then all wait for that, as with the peer.
    fn wants_ready(&self, container: &str) -> bool {
        let mut hooks = self.hooks.iter();
        hooks.any(|standing| standing.container() == container && standing.hook.ready)
    }

    fn no_such_container(&self) -> String {
        format!(
            "the pod has no such container; it has {}",
            self.containers.join(", ")
        )
    }

    fn late(&self, ready: bool, wait: Duration) -> String {
        let wanted = if ready { "ready" } else { "running" };
        let wait = GoDuration::try_from(wait).unwrap_or(GoDuration::MAX);
        format!(
            "the container was not {wanted} within {wait}: {}",
            self.seen.in_words()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::seen::PodView;
    use serde_json::json;
    use velero_core::hook::RestoreHookCall;

    fn hook(container: &str, ready: bool, state: Standing) -> HookStanding {
        let hook: RestoreHookCall = serde_json::from_value(json!({
            "call": {"name": "h", "source": "Spec", "index": 0, "container": container, "command": ["x"],
                "on_error": null, "timeout": {"secs": 30, "nanos": 0}},
            "wait": null, "ready": ready,
        }))
        .unwrap();
        HookStanding {
            hook,
            state,
            reason: String::new(),
        }
    }

    /// A pod with containers a, b; which of them run and are ready.
    fn seen(phase: &str, a: Option<bool>, b: Option<bool>, at: Instant) -> Seen {
        let status = |name: &str, up: Option<bool>| {
            let state = match up {
                Some(_) => json!({"running": {}}),
                None => json!({"waiting": {}}),
            };
            json!({"name": name, "ready": up == Some(true), "state": state})
        };
        let pod: PodView = serde_json::from_value(json!({
            "status": {"phase": phase, "containerStatuses": [status("a", a), status("b", b)]}
        }))
        .unwrap();
        let mut seen = Seen::default();
        seen.update(&pod, at);
        seen
    }

    #[test]
    fn decisions() {
        use Standing::{Done, Due};
        let (start, minute) = (Instant::now(), Duration::from_secs(60));
        let fail = |at: usize, text: &str| Next::Fail(at, text.to_owned());
        let up = Some(false);
        let not_running = "the container was not running within 1m0s: the pod is Running";
        // Hooks; phase; containers; seconds at which that was seen, and now; expected.
        for (hooks, phase, (a, b), (at, now), expected) in [
            (vec![], "Running", (up, up), (0, 0), Next::Rest),
            (
                vec![hook("a", false, Done)],
                "Running",
                (up, up),
                (0, 0),
                Next::Rest,
            ),
            (
                vec![hook("a", false, Due), hook("a", false, Due)],
                "Running",
                (up, up),
                (0, 0),
                Next::Run(0),
            ),
            (
                vec![hook("a", false, Done), hook("a", false, Due)],
                "Running",
                (up, None),
                (0, 0),
                Next::Run(1),
            ),
            // The container that is up goes first.
            (
                vec![hook("a", false, Due), hook("b", false, Due)],
                "Running",
                (None, up),
                (0, 0),
                Next::Run(1),
            ),
            (
                vec![hook("a", false, Due)],
                "Pending",
                (None, up),
                (0, 59),
                Next::Wait(start + minute),
            ),
            (
                vec![hook("a", false, Due)],
                "Running",
                (None, up),
                (0, 60),
                fail(0, not_running),
            ),
            // It came up in time, while other hooks ran.
            (
                vec![hook("a", false, Due)],
                "Running",
                (up, up),
                (60, 300),
                Next::Run(0),
            ),
            (
                vec![hook("a", false, Due)],
                "Running",
                (up, up),
                (61, 300),
                fail(0, not_running),
            ),
            // One hook of the container wants it ready.
            (
                vec![hook("a", false, Due), hook("a", true, Due)],
                "Running",
                (up, up),
                (0, 0),
                Next::Wait(start + minute),
            ),
            (
                vec![hook("a", false, Due), hook("a", true, Done)],
                "Running",
                (Some(true), up),
                (0, 0),
                Next::Run(0),
            ),
            (
                vec![hook("a", true, Due)],
                "Running",
                (up, up),
                (0, 61),
                fail(
                    0,
                    "the container was not ready within 1m0s: the pod is Running",
                ),
            ),
            // Nobody waits for a container that never comes.
            (
                vec![hook("a", false, Due), hook("x", false, Due)],
                "Pending",
                (None, None),
                (0, 0),
                fail(1, "the pod has no such container; it has a, b"),
            ),
            (
                vec![hook("a", false, Due)],
                "Succeeded",
                (None, None),
                (0, 90),
                Next::End("the pod has run to its end (Succeeded)".to_owned()),
            ),
            (
                vec![hook("a", false, Done)],
                "Succeeded",
                (None, None),
                (0, 0),
                Next::Rest,
            ),
        ] {
            let second = Duration::from_secs(1);
            let seen = seen(phase, a, b, start + second * at);
            let waits = vec![(start + minute, minute); hooks.len()];
            let situation = Situation {
                hooks: &hooks,
                containers: &["a".to_owned(), "b".to_owned()],
                waits: &waits,
                seen: &seen,
                now: start + second * now,
            };
            assert_eq!(situation.next(), expected, "{hooks:?} {phase}");
        }
    }
}
