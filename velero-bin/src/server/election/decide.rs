//! Decisions about the Lease, without IO.

use velero_core::names::labels;

use super::*;

/// Tells processes of one identity apart.
const PROCESS: &str = "x.velero.io/process";

/// What to do about a Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bid {
    /// Take it.
    Take,
    /// It is another's; look again after that time.
    Wait(Duration),
}

/// Decides about the Lease, which has been the same for `unchanged`.
pub(super) fn bid(lease: Option<&Lease>, rules: &LeaderElection, unchanged: Duration) -> Bid {
    let Some(lease) = lease else {
        return Bid::Take;
    };
    let leader = holder(lease);
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
    let duration = seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let duration = duration.map_or(rules.duration, Duration::from_secs);
    if leader.is_empty() || leader == rules.identity || unchanged >= duration {
        return Bid::Take;
    }
    Bid::Wait(rules.retry.min(duration - unchanged))
}

/// Whom a Lease names.
pub(super) fn holder(lease: &Lease) -> &str {
    let spec = lease.spec.as_ref();
    spec.and_then(|spec| spec.holder_identity.as_deref())
        .unwrap_or_default()
}

/// Whether a Lease is held by this very process.
pub(super) fn is_of_process(lease: &Lease, process: &str) -> bool {
    let annotations = lease.metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get(PROCESS))
        .is_some_and(|of| of == process)
}

/// A Lease as this process takes it, or renews it.
pub(super) fn taken(lease: Option<Lease>, rules: &LeaderElection, process: &str) -> Lease {
    let now = Some(MicroTime(jiff::Timestamp::now()));
    let mut lease = lease.unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            name: Some(rules.lease.clone()),
            ..ObjectMeta::default()
        },
        spec: None,
    });
    // Restored into another cluster it would name a leader that is not there.
    let labels = lease.metadata.labels.get_or_insert_default();
    labels.insert(labels::EXCLUDE_FROM_BACKUP.to_owned(), "true".to_owned());
    let is_new = !is_of_process(&lease, process);
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    if is_new {
        let before = spec.lease_transitions;
        spec.lease_transitions = Some(before.map_or(0, |count| count.saturating_add(1)));
        spec.acquire_time = now.clone();
    }
    spec.holder_identity = Some(rules.identity.clone());
    // Whole seconds, and at least one: 0 is not valid.
    let seconds = rules.duration.as_secs_f64().ceil().max(1.0);
    spec.lease_duration_seconds = Some(seconds as i32);
    spec.renew_time = now;
    let annotations = lease.metadata.annotations.get_or_insert_default();
    annotations.insert(PROCESS.to_owned(), process.to_owned());
    lease.metadata.managed_fields = None;
    lease
}

/// A Lease that nobody holds.
pub(super) fn given_back(mut lease: Lease) -> Lease {
    if let Some(spec) = &mut lease.spec {
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(jiff::Timestamp::now()));
    }
    if let Some(annotations) = &mut lease.metadata.annotations {
        annotations.remove(PROCESS);
    }
    lease.metadata.managed_fields = None;
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(identity: &str) -> LeaderElection {
        LeaderElection::new(identity)
    }

    #[test]
    fn a_lease_is_left_to_its_holder_while_it_is_renewed() {
        let seconds = Duration::from_secs;
        let of_a = taken(None, &rules("a"), "1");
        let wait = |n| Bid::Wait(seconds(n));
        for (lease, identity, unchanged, expected) in [
            (None, "a", 0, Bid::Take),
            (Some(of_a.clone()), "b", 0, wait(2)),
            (Some(of_a.clone()), "b", 14, wait(1)),
            (Some(of_a.clone()), "b", 15, Bid::Take),
            // A later process of the same pod.
            (Some(of_a.clone()), "a", 0, Bid::Take),
            (Some(given_back(of_a.clone())), "b", 0, Bid::Take),
            (Some(Lease::default()), "b", 0, Bid::Take),
        ] {
            let found = bid(lease.as_ref(), &rules(identity), seconds(unchanged));
            assert_eq!(found, expected, "{lease:?} {identity} {unchanged}");
        }
    }

    #[test]
    fn the_lease_tells_who_took_it_and_how_often_it_went_on() {
        let first = taken(None, &rules("a"), "1");
        let spec = first.spec.clone().unwrap();
        assert_eq!(
            (
                holder(&first),
                spec.lease_transitions,
                spec.lease_duration_seconds
            ),
            ("a", Some(0), Some(15))
        );
        assert!(is_of_process(&first, "1") && !is_of_process(&first, "2"));
        let labels = first.metadata.labels.clone().unwrap();
        assert_eq!(labels["velero.io/exclude-from-backup"], "true");
        let renewed = taken(Some(first.clone()), &rules("a"), "1").spec.unwrap();
        assert_eq!(
            (renewed.acquire_time, renewed.lease_transitions),
            (spec.acquire_time, Some(0))
        );
        let second = taken(Some(first), &rules("a"), "2");
        assert_eq!(second.spec.as_ref().unwrap().lease_transitions, Some(1));
        let free = given_back(second);
        assert_eq!(holder(&free), "");
        assert!(!is_of_process(&free, "2"));
        assert_eq!(
            taken(Some(free), &rules("b"), "3")
                .spec
                .unwrap()
                .lease_transitions,
            Some(2)
        );
    }
}
