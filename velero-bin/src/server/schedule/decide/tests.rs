use serde_json::{Value, json};

use super::*;

/// A Monday.
const CREATED: &str = "2026-11-23T10:00:30Z";

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn schedule(spec: Value, status: Value) -> Schedule {
    serde_json::from_value(json!({
        "metadata": {"name": "nightly", "namespace": "velero", "creationTimestamp": CREATED},
        "spec": spec, "status": status,
    }))
    .unwrap()
}

fn zone(name: Option<&str>) -> Result<TimeZone, String> {
    match name {
        None | Some("UTC") => Ok(TimeZone::UTC),
        Some("East") => Ok(TimeZone::fixed(jiff::tz::offset(5))),
        Some(other) => Err(format!("no time zone {other:?}")),
    }
}

fn decided(spec: Value, status: Value, now: &str, skip: bool) -> Next {
    next(&schedule(spec, status), at(now), zone, skip)
}

#[test]
fn runs_are_due_from_the_last_one_on() {
    let wait = |seconds| Then::Wait(Duration::from_secs(seconds));
    let due = |time| Then::Submit(at(time));
    for (cron, status, now, expected) in [
        // One that is new does not run at once.
        ("@every 5m", json!({}), CREATED, wait(300)),
        ("@every 5m", json!({}), "2026-11-23T10:05:29Z", wait(1)),
        (
            "@every 5m",
            json!({}),
            "2026-11-23T10:05:30Z",
            due("2026-11-23T10:05:30Z"),
        ),
        ("0 * * * *", json!({}), "2026-11-23T10:59:59Z", wait(1)),
        // Many missed hours are one run.
        (
            "0 * * * *",
            json!({}),
            "2026-11-23T15:20:00Z",
            due("2026-11-23T11:00:00Z"),
        ),
        (
            "0 * * * *",
            json!({"lastBackup": "2026-11-23T15:20:00Z"}),
            "2026-11-23T15:20:00Z",
            wait(2400),
        ),
        // What was left out counts when it is later, and only then.
        (
            "0 * * * *",
            json!({"lastSkipped": "2026-11-23T11:30:00Z"}),
            "2026-11-23T11:40:00Z",
            wait(1200),
        ),
        (
            "0 * * * *",
            json!({"lastBackup": "2026-11-23T12:00:00Z", "lastSkipped": "2026-11-23T11:30:00Z"}),
            "2026-11-23T12:40:00Z",
            wait(1200),
        ),
        // The day begins earlier in the east.
        (
            "CRON_TZ=East 0 0 * * *",
            json!({}),
            "2026-11-23T18:59:00Z",
            wait(60),
        ),
        (
            "0 0 * * *",
            json!({}),
            "2026-11-23T18:59:00Z",
            wait(5 * 3600 + 60),
        ),
    ] {
        let next = decided(json!({"schedule": cron}), status.clone(), now, false);
        assert_eq!(next.then, expected, "{cron} {status} {now}");
        assert_eq!(next.schedule.status.phase, Some(SchedulePhase::Enabled));
        assert_eq!(
            next.schedule.spec.skip_immediately, None,
            "nothing is written that nobody asked for"
        );
    }
}

#[test]
fn faults_are_told_and_heal() {
    for (spec, expected) in [
        (json!({}), "spec.schedule: invalid cron expression \"\""),
        (
            json!({"schedule": "at noon"}),
            "spec.schedule: invalid cron expression \"at noon\"",
        ),
        (
            json!({"schedule": "TZ=Mars 0 * * * *"}),
            "spec.schedule: no time zone \"Mars\"",
        ),
        (
            json!({"schedule": "TZ=UTC"}),
            "spec.schedule: invalid cron expression \"TZ=UTC\"",
        ),
        (
            json!({"schedule": "0 0 30 2 *", "paused": true}),
            "spec.schedule: invalid cron expression \"0 0 30 2 *\"",
        ),
    ] {
        let next = decided(
            spec.clone(),
            json!({"phase": "Enabled"}),
            "2026-11-25T00:00:00Z",
            false,
        );
        assert_eq!(next.then, Then::Rest, "{spec}");
        let status = &next.schedule.status;
        assert_eq!(status.phase, Some(SchedulePhase::FailedValidation));
        assert_eq!(status.validation_errors.len(), 1);
        assert!(
            status.validation_errors[0].starts_with(expected),
            "{}",
            status.validation_errors[0]
        );
    }
    for phase in ["", "New", "Enabled", "FailedValidation"] {
        let status = json!({"phase": phase, "validationErrors": ["old"]});
        let next = decided(json!({"schedule": "@daily"}), status, CREATED, false);
        assert_eq!(
            next.schedule.status.phase,
            Some(SchedulePhase::Enabled),
            "{phase}"
        );
        assert_eq!(next.schedule.status.validation_errors, [""; 0]);
    }
}

#[test]
fn names_must_fit_into_the_label_of_backups() {
    for (length, phase) in [
        (63, SchedulePhase::Enabled),
        (64, SchedulePhase::FailedValidation),
    ] {
        let mut schedule = schedule(json!({"schedule": "@daily"}), json!({}));
        schedule.metadata.name = Some("n".repeat(length));
        let next = next(&schedule, at(CREATED), zone, false);
        assert_eq!(next.schedule.status.phase, Some(phase), "{length}");
    }
}

#[test]
fn a_run_is_left_out_once_where_that_is_asked_for() {
    let (late, skipped) = (
        "2026-11-23T15:20:00Z",
        Some(Time(at("2026-11-23T15:20:00Z"))),
    );
    for (own, server, left_out) in [
        (Value::Null, false, false),
        (Value::Null, true, true),
        (json!(true), false, true),
        (json!(false), true, false),
    ] {
        let spec = json!({"schedule": "0 * * * *", "skipImmediately": own});
        let next = decided(spec, json!({}), late, server);
        let due = next.then == Then::Submit(at("2026-11-23T11:00:00Z"));
        assert_eq!(due, !left_out, "{own} {server}");
        if left_out {
            assert_eq!(next.schedule.spec.skip_immediately, Some(false));
            assert_eq!(next.schedule.status.last_skipped, skipped);
            assert_eq!(next.then, Then::Wait(Duration::from_secs(2400)));
        }
    }
}

#[test]
fn what_is_paused_makes_no_backups_and_keeps_its_wish_to_leave_one_out() {
    let spec = json!({"schedule": "0 * * * *", "paused": true, "skipImmediately": true});
    let next = decided(spec, json!({}), "2026-11-23T15:20:00Z", true);
    assert_eq!(next.then, Then::Rest);
    assert_eq!(next.schedule.spec.skip_immediately, Some(true));
    assert_eq!(next.schedule.status.last_skipped, None);
    assert_eq!(next.schedule.status.phase, Some(SchedulePhase::Enabled));
}

#[test]
fn backups_that_have_not_been_read_hold_the_next_one_back() {
    let due = at("2026-11-23T11:00:00Z");
    let made = |phase: &str, of: &str, created: &str| -> Backup {
        serde_json::from_value(json!({
            "metadata": {"name": "b", "creationTimestamp": created, "annotations": {"x.velero.io/due": of}},
            "spec": {}, "status": {"phase": phase},
        }))
        .unwrap()
    };
    let earlier = "2026-11-23T10:00:00Z";
    for (phase, held) in [
        ("", true),
        ("New", true),
        ("Queued", true),
        ("ReadyToStart", true),
        ("InProgress", true),
        ("WaitingForPluginOperations", false),
        ("WaitingForPluginOperationsPartiallyFailed", false),
        ("Finalizing", false),
        ("Completed", false),
        ("Failed", false),
        ("FailedValidation", false),
    ] {
        let expected = if held {
            Turn::Held("b".to_owned())
        } else {
            Turn::Make
        };
        assert_eq!(
            turn(due, &[made(phase, earlier, earlier)]),
            expected,
            "{phase}"
        );
    }
    // The same instant however it is written; and a clock that runs behind does not lead to the same run again.
    for (of, created, expected) in [
        (
            "2026-11-23T11:00:00Z",
            "2026-11-23T11:00:07Z",
            "2026-11-23T11:00:07Z",
        ),
        (
            "2026-11-23T12:00:00+01:00",
            "2026-11-23T10:50:00Z",
            "2026-11-23T11:00:00Z",
        ),
    ] {
        let backups = [
            made("Queued", earlier, earlier),
            made("Queued", of, created),
        ];
        assert_eq!(turn(due, &backups), Turn::Made(at(expected)));
    }
    assert_eq!(turn(due, &[made("Completed", "soon", earlier)]), Turn::Make);
    assert_eq!(turn(due, &[]), Turn::Make);
}
