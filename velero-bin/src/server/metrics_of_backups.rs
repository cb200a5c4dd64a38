//! What is measured at the end of each backup.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::metrics::ScheduleLabel;

/// Bounds of durations in seconds: a minute to four hours.
const BUCKETS: [f64; 9] = [
    60.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 10800.0, 14400.0,
];

/// How a backup has ended.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BackupEnd {
    /// Seconds from its start to its end.
    pub seconds: f64,
    /// Items that belong in it.
    pub items: i64,
    /// Errors.
    pub errors: i64,
    /// Whether it is `Completed`.
    pub good: bool,
    /// Native snapshots that were tried, and those that came about.
    pub snapshots: (i64, i64),
}

type Gauges = Family<ScheduleLabel, Gauge>;
type Counters = Family<ScheduleLabel, Counter>;

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

/// The series about ends of backups.
pub(super) struct BackupEnds {
    durations: Family<ScheduleLabel, Histogram, fn() -> Histogram>,
    size: Gauges,
    items: Gauges,
    errors: Gauges,
    last_status: Gauges,
    attempts: Counters,
    successes: Counters,
    failures: Counters,
}

impl BackupEnds {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let ends = Self {
            durations: Family::new_with_constructor(histogram),
            size: Gauges::default(),
            items: Gauges::default(),
            errors: Gauges::default(),
            last_status: Gauges::default(),
            attempts: Counters::default(),
            successes: Counters::default(),
            failures: Counters::default(),
        };
        registry.register(
            "velero_backup_duration_seconds",
            "How long backups took",
            ends.durations.clone(),
        );
        for (family, name, help) in [
            (&ends.size, "tarball_size_bytes", "Size of the last archive"),
            (&ends.items, "items_total", "Items of the last backup"),
            (&ends.errors, "items_errors", "Errors of the last backup"),
            (
                &ends.last_status,
                "last_status",
                "Whether the last backup ended well: 1 or 0",
            ),
        ] {
            registry.register(format!("velero_backup_{name}"), help, family.clone());
        }
        for (family, name, help) in [
            (&ends.attempts, "attempt", "Volume snapshots tried"),
            (&ends.successes, "success", "Volume snapshots made"),
            (&ends.failures, "failure", "Volume snapshots that failed"),
        ] {
            drop(family.get_or_create(&ScheduleLabel::of("")));
            registry.register(
                format!("velero_volume_snapshot_{name}"),
                help,
                family.clone(),
            );
        }
        // Nothing has failed yet.
        ends.last_status
            .get_or_create(&ScheduleLabel::of(""))
            .set(1);
        ends
    }

    /// Begins the series of a schedule unless they are there.
    pub(super) fn add(&self, label: &ScheduleLabel) {
        for family in [&self.attempts, &self.successes, &self.failures] {
            drop(family.get_or_create(label));
        }
        for family in [&self.items, &self.errors] {
            drop(family.get_or_create(label));
        }
        if self.last_status.get(label).is_none() {
            // Nothing has failed yet.
            self.last_status.get_or_create(label).set(1);
        }
    }

    /// Ends the series of a schedule.
    pub(super) fn remove(&self, label: &ScheduleLabel) {
        self.durations.remove(label);
        for family in [&self.size, &self.items, &self.errors, &self.last_status] {
            family.remove(label);
        }
        for family in [&self.attempts, &self.successes, &self.failures] {
            family.remove(label);
        }
    }

    pub(super) fn set(&self, schedule: &str, end: &BackupEnd) {
        let label = ScheduleLabel::of(schedule);
        self.durations.get_or_create(&label).observe(end.seconds);
        self.items.get_or_create(&label).set(end.items);
        self.errors.get_or_create(&label).set(end.errors);
        self.last_status
            .get_or_create(&label)
            .set(i64::from(end.good));
        let (tried, made) = end.snapshots;
        for (family, count) in [
            (&self.attempts, tried),
            (&self.successes, made),
            (&self.failures, tried - made),
        ] {
            family
                .get_or_create(&label)
                .inc_by(u64::try_from(count).unwrap_or_default());
        }
    }

    pub(super) fn set_archive_size(&self, schedule: &str, bytes: u64) {
        self.size
            .get_or_create(&ScheduleLabel::of(schedule))
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
