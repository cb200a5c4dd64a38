//! What a list or a watch shows of a pod.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::Instant;

/// The fields of a pod that hooks go by.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodView {
    pub(super) metadata: Metadata,
    status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: String,
    container_statuses: Option<Vec<ContainerStatus>>,
    /// Containers that run beside the others are among these.
    init_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    name: String,
    ready: bool,
    state: Option<ContainerState>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ContainerState {
    running: Option<IgnoredAny>,
}

/// Since when a container is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Up {
    running: Option<Instant>,
    ready: Option<Instant>,
}

/// What is known of a pod by now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// `status.phase`; empty while nothing has been seen.
    phase: String,
    containers: BTreeMap<String, Up>,
    /// Why nothing can be run in it any more.
    end: Option<String>,
    /// Why it could not be looked at the last time.
    trouble: Option<String>,
}

impl Seen {
    /// Takes in how the pod is at `now`.
    pub(super) fn update(&mut self, pod: &PodView, now: Instant) {
        self.trouble = None;
        self.phase.clone_from(&pod.status.phase);
        if matches!(self.phase.as_str(), "Succeeded" | "Failed") {
            self.end = Some(format!("the pod has run to its end ({})", self.phase));
        }
        let own = pod.status.container_statuses.iter().flatten();
        let init = pod.status.init_container_statuses.iter().flatten();
        let before = std::mem::take(&mut self.containers);
        for status in own.chain(init) {
            let running = status.state.as_ref().is_some_and(|s| s.running.is_some());
            let was = before.get(&status.name).copied().unwrap_or_default();
            let up = Up {
                running: running.then(|| was.running.unwrap_or(now)),
                ready: (running && status.ready).then(|| was.ready.unwrap_or(now)),
            };
            self.containers.insert(status.name.clone(), up);
        }
    }

    /// Notes that the pod is gone.
    pub(super) fn set_gone(&mut self) {
        self.end.get_or_insert("the pod was deleted".to_owned());
    }

    /// Notes why the pod cannot be looked at.
    pub(super) fn set_trouble(&mut self, reason: &str) {
        self.trouble = Some(reason.to_owned());
    }

    pub(super) fn end(&self) -> Option<&str> {
        self.end.as_deref()
    }

    /// Since when a container is running, or ready.
    pub(super) fn up_since(&self, container: &str, ready: bool) -> Option<Instant> {
        let up = self.containers.get(container)?;
        if ready { up.ready } else { up.running }
    }

    /// What is known of the pod, in words.
    pub(super) fn in_words(&self) -> String {
        let phase = match self.phase.as_str() {
            "" => "nothing was seen of the pod".to_owned(),
            phase => format!("the pod is {phase}"),
        };
        match &self.trouble {
            Some(reason) => format!("{phase}; it cannot be looked at: {reason}"),
            None => phase,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::time::Duration;

    fn pod(status: Value) -> PodView {
        serde_json::from_value(json!({"metadata": {"name": "p", "labels": null}, "status": status}))
            .unwrap()
    }

    #[test]
    fn containers_are_up_since_they_were_first_seen_so() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let container =
            |ready: bool, state: Value| json!({"name": "c", "ready": ready, "state": state});
        let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
        let mut seen = Seen::default();
        assert_eq!(seen.in_words(), "nothing was seen of the pod");
        for (at, status, up, ready) in [
            (0, json!({"phase": "Pending"}), None, None),
            (
                1,
                json!({"phase": "Pending", "containerStatuses": null}),
                None,
                None,
            ),
            (
                2,
                json!({"phase": "Running", "containerStatuses": [container(false, running.clone())]}),
                Some(2),
                None,
            ),
            (
                3,
                json!({"phase": "Running", "containerStatuses": [container(true, running.clone())]}),
                Some(2),
                Some(3),
            ),
            (
                4,
                json!({"phase": "Running", "containerStatuses": [container(true, running.clone())]}),
                Some(2),
                Some(3),
            ),
            (
                5,
                json!({"phase": "Running", "containerStatuses": [container(false, json!({"terminated": {}}))]}),
                None,
                None,
            ),
            (
                6,
                json!({"phase": "Running", "initContainerStatuses": [container(true, running.clone())]}),
                Some(6),
                Some(6),
            ),
        ] {
            seen.update(&pod(status.clone()), start + second * at);
            let since = |ready: bool| {
                let up = seen.up_since("c", ready)?;
                Some(up.duration_since(start).as_secs())
            };
            assert_eq!((since(false), since(true)), (up, ready), "{at} {status}");
            assert_eq!(seen.end(), None);
        }
        seen.set_trouble("no answer");
        assert_eq!(
            seen.in_words(),
            "the pod is Running; it cannot be looked at: no answer"
        );
    }

    #[test]
    fn pods_end() {
        for (phase, end) in [
            ("Succeeded", "the pod has run to its end (Succeeded)"),
            ("Failed", "the pod has run to its end (Failed)"),
        ] {
            let mut seen = Seen::default();
            seen.update(&pod(json!({"phase": phase})), Instant::now());
            seen.set_gone();
            assert_eq!(seen.end(), Some(end));
        }
        let mut seen = Seen::default();
        seen.set_gone();
        assert_eq!(seen.end(), Some("the pod was deleted"));
    }
}
