//! Counters and gauges under the peer's names. Mirrors `pkg/metrics/metrics.go`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

pub use super::metrics_of_backups::BackupEnd;
use super::metrics_of_backups::BackupEnds;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The label of everything that can come from a schedule; empty for what a user asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ScheduleLabel {
    schedule: String,
}

impl ScheduleLabel {
    pub(super) fn of(schedule: &str) -> Self {
        Self {
            schedule: schedule.to_owned(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LocationLabel {
    backup_location_name: String,
}

/// What is counted, once for each schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Count {
    /// Backups begun.
    BackupAttempt,
    /// Backups that ended well.
    BackupSuccess,
    /// Backups that ended with errors of single items.
    BackupPartialFailure,
    /// Backups that failed.
    BackupFailure,
    /// Backups whose spec is at fault.
    BackupValidationFailure,
    /// Backups with warnings.
    BackupWarning,
    /// Deletions begun.
    BackupDeletionAttempt,
    /// Deletions that ended well.
    BackupDeletionSuccess,
    /// Deletions that failed.
    BackupDeletionFailure,
    /// Restores begun, whether their spec is at fault or not.
    RestoreAttempt,
    /// Restores that ended well.
    RestoreSuccess,
    /// Restores that ended with errors of single items.
    RestorePartialFailure,
    /// Restores that failed.
    RestoreFailed,
    /// Restores whose spec is at fault.
    RestoreValidationFailed,
}

/// Names without `_total`, which the encoder appends to counters.
const COUNTS: [(Count, &str, &str); 14] = [
    (
        Count::BackupAttempt,
        "velero_backup_attempt",
        "Backups begun",
    ),
    (
        Count::BackupSuccess,
        "velero_backup_success",
        "Backups that ended well",
    ),
    (
        Count::BackupPartialFailure,
        "velero_backup_partial_failure",
        "Backups that ended with errors of items",
    ),
    (
        Count::BackupFailure,
        "velero_backup_failure",
        "Backups that failed",
    ),
    (
        Count::BackupValidationFailure,
        "velero_backup_validation_failure",
        "Backups whose spec is at fault",
    ),
    (
        Count::BackupWarning,
        "velero_backup_warning",
        "Backups with warnings",
    ),
    (
        Count::BackupDeletionAttempt,
        "velero_backup_deletion_attempt",
        "Deletions of backups begun",
    ),
    (
        Count::BackupDeletionSuccess,
        "velero_backup_deletion_success",
        "Deletions of backups that ended well",
    ),
    (
        Count::BackupDeletionFailure,
        "velero_backup_deletion_failure",
        "Deletions of backups that failed",
    ),
    (
        Count::RestoreAttempt,
        "velero_restore_attempt",
        "Restores begun",
    ),
    (
        Count::RestoreSuccess,
        "velero_restore_success",
        "Restores that ended well",
    ),
    (
        Count::RestorePartialFailure,
        "velero_restore_partial_failure",
        "Restores that ended with errors of items",
    ),
    (
        Count::RestoreFailed,
        "velero_restore_failed",
        "Restores that failed",
    ),
    (
        Count::RestoreValidationFailed,
        "velero_restore_validation_failed",
        "Restores whose spec is at fault",
    ),
];

type Counters = Family<ScheduleLabel, Counter>;

/// The operator's metrics. A cheap clone; clones share the numbers.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Mutex<Registry>,
    counts: Vec<(Count, Counters)>,
    locations: Family<LocationLabel, Gauge>,
    backups: Gauge,
    restores: Gauge,
    last_success: Family<ScheduleLabel, Gauge>,
    ages: Family<ScheduleLabel, Gauge>,
    ends: BackupEnds,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let counts = COUNTS
            .iter()
            .map(|(count, name, help)| {
                let family = Counters::default();
                // The series of what no schedule made is there from the start, at zero.
                drop(family.get_or_create(&ScheduleLabel::of("")));
                registry.register(*name, *help, family.clone());
                (*count, family)
            })
            .collect();
        let locations = Family::<LocationLabel, Gauge>::default();
        let (backups, restores) = (Gauge::default(), Gauge::default());
        let last_success = Family::<ScheduleLabel, Gauge>::default();
        let ages = Family::<ScheduleLabel, Gauge>::default();
        drop(last_success.get_or_create(&ScheduleLabel::of("")));
        registry.register(
            "velero_backup_location_status_gauge",
            "Whether a backup storage location is available: 1 or 0",
            locations.clone(),
        );
        registry.register("velero_backup_total", "Backups there are", backups.clone());
        registry.register(
            "velero_restore_total",
            "Restores there are",
            restores.clone(),
        );
        let ends = BackupEnds::register(&mut registry);
        registry.register(
            "velero_backup_last_successful_timestamp",
            "When a backup last ended well, in seconds since 1970",
            last_success.clone(),
        );
        registry.register(
            "velero_backup_age_seconds",
            "Seconds since the end of the last backup that ended well, at the last look into the stores",
            ages.clone(),
        );
        let registry = Mutex::new(registry);
        Self {
            inner: Arc::new(Inner {
                registry,
                counts,
                locations,
                backups,
                restores,
                last_success,
                ages,
                ends,
            }),
        }
    }
}

impl Metrics {
    /// Counts one event; `schedule` is empty for what no schedule made.
    pub fn count(&self, count: Count, schedule: &str) {
        if let Some((_, family)) = self
            .inner
            .counts
            .iter()
            .find(|(candidate, _)| *candidate == count)
        {
            family.get_or_create(&ScheduleLabel::of(schedule)).inc();
        }
    }

    /// The number of events so far.
    pub fn value(&self, count: Count, schedule: &str) -> u64 {
        let label = ScheduleLabel::of(schedule);
        let family = self
            .inner
            .counts
            .iter()
            .find(|(candidate, _)| *candidate == count);
        family.map_or(0, |(_, family)| family.get_or_create(&label).get())
    }

    /// Begins the series of a schedule, at zero, unless they are there.
    pub fn add_schedule(&self, schedule: &str) {
        let label = ScheduleLabel::of(schedule);
        for (_, family) in &self.inner.counts {
            drop(family.get_or_create(&label));
        }
        self.inner.ends.add(&label);
    }

    /// Ends the series of a schedule that is gone.
    pub fn remove_schedule(&self, schedule: &str) {
        let label = ScheduleLabel::of(schedule);
        for (_, family) in &self.inner.counts {
            family.remove(&label);
        }
        self.inner.last_success.remove(&label);
        self.inner.ages.remove(&label);
        self.inner.ends.remove(&label);
    }

    /// Replaces what is known of locations: name, and whether it is available.
    pub fn set_locations<'a>(&self, locations: impl IntoIterator<Item = (&'a str, bool)>) {
        self.inner.locations.clear();
        for (name, available) in locations {
            let label = LocationLabel {
                backup_location_name: name.to_owned(),
            };
            self.inner
                .locations
                .get_or_create(&label)
                .set(i64::from(available));
        }
    }

    /// Sets how many backups there are.
    pub fn set_backups(&self, count: usize) {
        self.inner
            .backups
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets how many restores there are.
    pub fn set_restores(&self, count: usize) {
        self.inner
            .restores
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets when a backup of a schedule last ended well.
    pub fn set_last_success(&self, schedule: &str, seconds: i64) {
        self.inner
            .last_success
            .get_or_create(&ScheduleLabel::of(schedule))
            .set(seconds);
    }

    /// Sets when backups of each schedule last ended well, by what there is in the cluster and its stores at a time.
    pub fn set_successes(&self, last: &BTreeMap<&str, i64>, now: i64) {
        self.inner.ages.clear();
        for (schedule, seconds) in last {
            let label = ScheduleLabel::of(schedule);
            // One may have ended since the look began.
            let gauge = self.inner.last_success.get_or_create_owned(&label);
            gauge.set(gauge.get().max(*seconds));
            let age = now.saturating_sub(*seconds).max(0);
            self.inner.ages.get_or_create(&label).set(age);
        }
    }

    /// Sets what is measured at the end of each backup of a schedule.
    pub fn set_backup_end(&self, schedule: &str, end: &BackupEnd) {
        self.inner.ends.set(schedule, end);
    }

    /// Sets the size of the archive of a schedule's last backup.
    pub fn set_archive_size(&self, schedule: &str, bytes: u64) {
        self.inner.ends.set_archive_size(schedule, bytes);
    }

    /// Everything in the text form of OpenMetrics.
    pub fn render(&self) -> String {
        let mut out = String::new();
        let registry = self
            .inner
            .registry
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if encode(&mut out, &registry).is_err() {
            tracing::error!("metrics could not be written");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_come_and_go_with_their_schedule() {
        let metrics = Metrics::default();
        let before = metrics.render();
        metrics.add_schedule("daily");
        let series = |metrics: &Metrics| {
            let text = metrics.render();
            text.matches("schedule=\"daily\"").count()
        };
        // What the peer begins, but for the three about CSI snapshots.
        assert_eq!(series(&metrics), 20);
        assert!(
            metrics
                .render()
                .contains("velero_backup_last_status{schedule=\"daily\"} 1\n")
        );
        metrics.count(Count::BackupFailure, "daily");
        metrics.set_backup_end("daily", &BackupEnd::default());
        metrics.set_archive_size("daily", 7);
        metrics.set_last_success("daily", 1);
        metrics.add_schedule("daily");
        let text = metrics.render();
        for line in [
            "velero_backup_failure_total{schedule=\"daily\"} 1",
            "velero_backup_last_status{schedule=\"daily\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        metrics.remove_schedule("daily");
        assert_eq!(metrics.render(), before);
    }

    #[test]
    fn ages_are_those_of_what_there_is() {
        let metrics = Metrics::default();
        metrics.set_last_success("daily", 950);
        metrics.set_successes(&[("", 400), ("daily", 900)].into(), 1000);
        let text = metrics.render();
        for line in [
            "velero_backup_last_successful_timestamp{schedule=\"\"} 400",
            "velero_backup_last_successful_timestamp{schedule=\"daily\"} 950",
            "velero_backup_age_seconds{schedule=\"\"} 600",
            "velero_backup_age_seconds{schedule=\"daily\"} 100",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        metrics.set_successes(&[("", 2000)].into(), 1000);
        let text = metrics.render();
        assert!(
            !text.contains("velero_backup_age_seconds{schedule=\"daily\"}"),
            "{text}"
        );
        assert!(
            text.contains("velero_backup_age_seconds{schedule=\"\"} 0\n"),
            "{text}"
        );
    }

    #[test]
    fn names_are_the_peers() {
        let metrics = Metrics::default();
        metrics.count(Count::BackupAttempt, "");
        metrics.count(Count::BackupAttempt, "daily");
        metrics.count(Count::RestoreValidationFailed, "");
        metrics.set_locations([("default", true), ("other", false)]);
        metrics.set_backups(3);
        let text = metrics.render();
        for line in [
            "velero_backup_attempt_total{schedule=\"\"} 1",
            "velero_backup_attempt_total{schedule=\"daily\"} 1",
            "velero_backup_success_total{schedule=\"\"} 0",
            "velero_backup_partial_failure_total{schedule=\"\"} 0",
            "velero_backup_failure_total{schedule=\"\"} 0",
            "velero_backup_validation_failure_total{schedule=\"\"} 0",
            "velero_restore_validation_failed_total{schedule=\"\"} 1",
            "velero_restore_failed_total{schedule=\"\"} 0",
            "velero_backup_location_status_gauge{backup_location_name=\"default\"} 1",
            "velero_backup_location_status_gauge{backup_location_name=\"other\"} 0",
            "velero_backup_total 3",
            "velero_backup_last_status{schedule=\"\"} 1",
            "velero_volume_snapshot_attempt_total{schedule=\"\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        metrics.set_backup_end(
            "daily",
            &BackupEnd {
                seconds: 90.0,
                items: 12,
                errors: 2,
                good: false,
                snapshots: (3, 2),
            },
        );
        metrics.set_archive_size("daily", 4096);
        let text = metrics.render();
        for line in [
            "velero_backup_duration_seconds_bucket{le=\"60.0\",schedule=\"daily\"} 0",
            "velero_backup_duration_seconds_bucket{le=\"300.0\",schedule=\"daily\"} 1",
            "velero_backup_duration_seconds_count{schedule=\"daily\"} 1",
            "velero_backup_items_total{schedule=\"daily\"} 12",
            "velero_backup_items_errors{schedule=\"daily\"} 2",
            "velero_backup_last_status{schedule=\"daily\"} 0",
            "velero_backup_tarball_size_bytes{schedule=\"daily\"} 4096",
            "velero_volume_snapshot_attempt_total{schedule=\"daily\"} 3",
            "velero_volume_snapshot_success_total{schedule=\"daily\"} 2",
            "velero_volume_snapshot_failure_total{schedule=\"daily\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        metrics.set_locations([("default", true)]);
        assert!(!metrics.render().contains("\"other\""));
        assert_eq!(metrics.value(Count::BackupAttempt, "daily"), 1);
    }
}
