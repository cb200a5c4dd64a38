//! Flags of `velero server`, with the peer's names and defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::filter::LevelFilter;
use velero_core::GoDuration;
use velero_core::names::labels;
use velero_restore::Priorities;

use super::controllers::disabled;
use super::election::LeaderElection;
use super::pod;
use super::settings::{Settings, SettingsError, parse_listen_address};
use super::unbuilt::UnbuiltArgs;
use crate::cli::values::Mappings;
use crate::logfile::{LogFormat, LogOptions};

/// Objects in a page, as the peer has it.
const PAGE_SIZE: u32 = 500;

const PRIORITIES: &str = "--restore-resource-priorities";

/// Flags of `velero server`.
///
/// Durations have Go's form (`720h`, `1h30m`). Flags of what the operator does not do yet are those of [`UnbuiltArgs`]:
/// none is taken and then ignored.
#[derive(Debug, Clone, clap::Args)]
pub struct ServerArgs {
    /// Address that /metrics, /healthz and /readyz are served on; empty for none
    #[arg(long, value_name = "ADDRESS", default_value = ":8085")]
    pub metrics_address: String,
    /// How long backups are kept that do not say so themselves
    #[arg(long, value_name = "DURATION", default_value = "720h")]
    pub default_backup_ttl: GoDuration,
    /// How long asynchronous operations of one item may take
    #[arg(long, value_name = "DURATION", default_value = "4h")]
    pub default_item_operation_timeout: GoDuration,
    /// Item blocks of a backup whose hooks run at the same time
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 1,
        allow_negative_numbers = true
    )]
    pub item_block_worker_count: i64,
    /// Backups that may run at the same time, where they have no namespace in common
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 1,
        allow_negative_numbers = true
    )]
    pub concurrent_backups: i64,
    /// Restores that may run at the same time, where they have no namespace in common
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    pub concurrent_restores: u32,
    /// Label key by which volumes are put into one group snapshot
    #[arg(long, value_name = "KEY", default_value = labels::VOLUME_GROUP)]
    pub volume_group_snapshot_label_key: String,
    /// How often it is looked how far asynchronous operations are; 10 s without it, and for 0 and less
    #[arg(long, value_name = "DURATION")]
    pub item_operation_sync_frequency: Option<GoDuration>,
    /// How long to wait for resources such as CustomResourceDefinitions, and to try to write the outcome of a run
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub resource_timeout: GoDuration,
    /// How long a restore waits for namespaces and volumes that are being deleted
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub terminating_resource_timeout: GoDuration,
    /// Folder of the temporary files that hold the items of restores too large for memory; the system's without it
    #[arg(long, value_name = "FOLDER")]
    pub spool_dir: Option<PathBuf>,
    /// How often locations are searched for backups that the cluster does not know; every 5 s by names without it; 0 for never
    #[arg(long, value_name = "DURATION")]
    pub backup_sync_period: Option<GoDuration>,
    /// How often locations are checked; 0 checks each one once
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    pub store_validation_frequency: GoDuration,
    /// How often it is looked for backups that have expired; 1 h without it, and for 0 and less
    #[arg(long, value_name = "DURATION")]
    pub garbage_collection_frequency: Option<GoDuration>,
    /// Schedules that do not say so themselves leave out the backup that is due when they are first seen
    #[arg(long)]
    pub schedule_skip_immediately: bool,
    /// Location of backups that name none, where no location is marked as the default
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub default_backup_storage_location: String,
    /// Volume snapshot locations of backups that name none, such as aws:default,gcp:main, where a provider has several
    #[arg(long, value_name = "PROVIDER:NAME", value_parser = provider_names)]
    pub default_volume_snapshot_locations: Vec<BTreeMap<String, String>>,
    /// Port of the server's Pod for files of stores that whoever asks cannot reach, open while it is needed; 0 for any
    #[arg(long, value_name = "PORT", default_value_t = 8086)]
    pub download_port: u16,
    /// Most calls of the API server at the same time; as many as it takes well without it
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_concurrent_k8s_connections: Option<u32>,
    /// Kinds to restore first, in this order, separated by commas; what follows a "-" is restored last
    #[arg(long, value_name = "RESOURCES")]
    pub restore_resource_priorities: Option<String>,
    /// Objects asked for in one page of a list; 500, and 1000 where more than 5000 follow, without it
    #[arg(long, value_name = "COUNT", default_value_t = PAGE_SIZE)]
    pub client_page_size: u32,
    /// Let one of several servers in the namespace act, by a Lease; without it this server must be the only one
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub leader_elect: bool,
    /// Controllers that do not run, by their names, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub disable_controllers: Vec<String>,
    /// Neither make nor delete backups: only look for them in stores, and restore
    #[arg(long)]
    pub restore_only: bool,
    /// Lowest level that is logged
    #[arg(long, value_enum, default_value_t = LogLevel::Info, ignore_case = true)]
    pub log_level: LogLevel,
    /// Form of log lines
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Flags of the peer for what the operator does not do.
    #[command(flatten)]
    pub unbuilt: UnbuiltArgs,
}

/// Reads `provider:name` pairs. Repeated flags are merged, and the last name of a provider counts.
fn provider_names(text: &str) -> Result<BTreeMap<String, String>, String> {
    Mappings::pairs(text)
}

/// Levels of the log, in the peer's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What happens.
    #[default]
    Info,
    /// What should not happen but is lived with.
    #[value(alias = "warn")]
    Warning,
    /// What failed.
    Error,
    /// The same as `error`.
    Fatal,
    /// The same as `error`.
    Panic,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Trace => Self::TRACE,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Info => Self::INFO,
            LogLevel::Warning => Self::WARN,
            LogLevel::Error | LogLevel::Fatal | LogLevel::Panic => Self::ERROR,
        }
    }
}

impl ServerArgs {
    /// How the process is to log.
    pub fn log_options(&self) -> LogOptions {
        LogOptions {
            format: self.log_format,
            level: self.log_level.into(),
            stderr: true,
        }
    }

    /// Checks the flags and turns them into settings for one namespace.
    ///
    /// # Errors
    /// When a value cannot work; the message names the flag.
    pub fn settings(&self, namespace: &str) -> Result<Settings, SettingsError> {
        let positive = |flag: &'static str, value: GoDuration| -> Result<Duration, SettingsError> {
            if value.is_negative() || value.is_zero() {
                return Err(SettingsError::new(
                    flag,
                    value,
                    "a duration above zero, such as 10m",
                ));
            }
            Ok(value.to_std())
        };
        self.unbuilt.check()?;
        let defaults = Settings::default();
        Ok(Settings {
            namespace: namespace.to_owned(),
            metrics_address: parse_listen_address(&self.metrics_address)?,
            default_backup_ttl: self.default_backup_ttl.or(defaults.default_backup_ttl),
            default_item_operation_timeout: self
                .default_item_operation_timeout
                .or(defaults.default_item_operation_timeout),
            resource_timeout: positive("--resource-timeout", self.resource_timeout)?,
            terminating_resource_timeout: positive(
                "--terminating-resource-timeout",
                self.terminating_resource_timeout,
            )?,
            backup_sync_period: self
                .backup_sync_period
                .filter(|period| !period.is_negative()),
            store_validation_frequency: unless_negative(
                self.store_validation_frequency,
                defaults.store_validation_frequency,
            ),
            default_location: self.default_backup_storage_location.clone(),
            default_snapshot_locations: self
                .default_volume_snapshot_locations
                .iter()
                .flatten()
                .map(|(provider, name)| (provider.clone(), name.clone()))
                .collect(),
            max_calls: self.max_concurrent_k8s_connections.map(|n| n as usize),
            restore_priorities: self.priorities()?,
            spool_dir: self.folder()?,
            pod: pod::name(),
            download_port: self.download_port,
            leader_election: self.leader_elect.then(LeaderElection::of_process),
            disabled: disabled(&self.disable_controllers, self.restore_only)?,
            item_operation_sync_frequency: positive_or(
                self.item_operation_sync_frequency,
                defaults.item_operation_sync_frequency,
            ),
            garbage_collection_period: positive_or(
                self.garbage_collection_frequency,
                defaults.garbage_collection_period,
            ),
            skip_immediately: self.schedule_skip_immediately,
            concurrent_backups: at_least_one(self.concurrent_backups),
            concurrent_restores: self.concurrent_restores as usize,
            // With none, as the peer takes it, no block would ever be worked on.
            item_block_workers: at_least_one(self.item_block_worker_count),
            volume_group_label: self.volume_group_snapshot_label_key.clone(),
            page_size: Some(self.client_page_size).filter(|size| !matches!(*size, 0 | PAGE_SIZE)),
            ..defaults
        })
    }
}

impl ServerArgs {
    /// The folder of temporary files, which must be there.
    fn folder(&self) -> Result<Option<PathBuf>, SettingsError> {
        match &self.spool_dir {
            Some(folder) if !folder.is_dir() => Err(SettingsError::new(
                "--spool-dir",
                folder.display(),
                "a folder that is there",
            )),
            folder => Ok(folder.clone()),
        }
    }

    fn priorities(&self) -> Result<Priorities, SettingsError> {
        let Some(text) = &self.restore_resource_priorities else {
            return Ok(Priorities::default());
        };
        text.parse().map_err(|_| {
            SettingsError::new(
                PRIORITIES,
                text,
                "resource names, separated by commas, and at most one \"-\" among them",
            )
        })
    }
}

fn at_least_one(count: i64) -> usize {
    usize::try_from(count.max(1)).unwrap_or(usize::MAX)
}

/// A period; the default for none, and for what is none.
fn positive_or(value: Option<GoDuration>, default: Duration) -> Duration {
    value
        .filter(|period| !period.is_zero() && !period.is_negative())
        .map_or(default, GoDuration::to_std)
}

fn unless_negative(value: GoDuration, default: GoDuration) -> GoDuration {
    if value.is_negative() { default } else { value }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        server: ServerArgs,
    }

    fn parse(args: &[&str]) -> Result<ServerArgs, String> {
        let args = ["server"].iter().chain(args);
        Cli::try_parse_from(args)
            .map(|cli| cli.server)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_the_peers() {
        let settings = parse(&[]).unwrap().settings("velero").unwrap();
        assert_eq!(settings.default_backup_ttl.to_string(), "720h0m0s");
        assert_eq!(
            settings.default_item_operation_timeout.to_string(),
            "4h0m0s"
        );
        assert_eq!(settings.resource_timeout, Duration::from_secs(600));
        assert_eq!(
            settings.terminating_resource_timeout,
            Duration::from_secs(600)
        );
        assert_eq!(settings.backup_sync_period, None);
        for (value, expected) in [("2s", Some("2s")), ("0", Some("0s")), ("-1s", None)] {
            let args = format!("--backup-sync-period={value}");
            let settings = parse(&[&args]).unwrap().settings("velero").unwrap();
            let period = settings.backup_sync_period.map(|period| period.to_string());
            assert_eq!(period.as_deref(), expected, "{value}");
        }
        assert_eq!(settings.store_validation_frequency.to_string(), "1m0s");
        assert_eq!(settings.default_location, "default");
        assert_eq!(settings.page_size, None);
        assert_eq!(
            settings.item_operation_sync_frequency,
            Duration::from_secs(10)
        );
        for (value, expected) in [("30m", 1800), ("0s", 3600), ("-1s", 3600)] {
            let args = format!("--garbage-collection-frequency={value}");
            let settings = parse(&[&args]).unwrap().settings("velero").unwrap();
            let period = settings.garbage_collection_period;
            assert_eq!(period, Duration::from_secs(expected), "{value}");
        }
        assert!(!settings.skip_immediately);
        assert!(settings.leader_election.is_some());
        for (flag, elects) in [("--leader-elect", true), ("--leader-elect=false", false)] {
            let settings = parse(&[flag]).unwrap().settings("velero").unwrap();
            assert_eq!(settings.leader_election.is_some(), elects, "{flag}");
        }
        let skipping = parse(&["--schedule-skip-immediately"]).unwrap();
        assert!(skipping.settings("velero").unwrap().skip_immediately);
        assert_eq!(settings.item_block_workers, 1);
        assert_eq!(settings.volume_group_label, "velero.io/volume-group");
        for (value, expected) in [(0, 1), (4, 4)] {
            let args = format!("--item-block-worker-count={value}");
            let settings = parse(&[&args]).unwrap().settings("velero").unwrap();
            assert_eq!(settings.item_block_workers, expected);
        }
        for (value, expected) in [(-1, 1), (0, 1), (4, 4)] {
            let args = format!("--concurrent-backups={value}");
            let settings = parse(&[&args]).unwrap().settings("velero").unwrap();
            assert_eq!(settings.concurrent_backups, expected);
        }
        assert_eq!(
            (settings.concurrent_backups, settings.concurrent_restores),
            (1, 4)
        );
        assert!(parse(&["--concurrent-restores", "0"]).is_err());
        for (value, expected) in [("3s", 3), ("0s", 10), ("-1s", 10)] {
            let args = format!("--item-operation-sync-frequency={value}");
            let settings = parse(&[&args]).unwrap().settings("velero").unwrap();
            assert_eq!(
                settings.item_operation_sync_frequency,
                Duration::from_secs(expected),
                "{value}"
            );
        }
        assert_eq!(
            settings.metrics_address.map(|address| address.port()),
            Some(8085)
        );
    }

    #[test]
    fn wrong_values_name_their_flag() {
        for (args, expected) in [
            (
                &["--resource-timeout", "0s"][..],
                "--resource-timeout \"0s\"",
            ),
            (
                &["--terminating-resource-timeout=-1m"],
                "--terminating-resource-timeout \"-1m0s\"",
            ),
            (
                &["--spool-dir", "/nowhere/at/all"],
                "--spool-dir \"/nowhere/at/all\"",
            ),
            (
                &["--metrics-address", "nowhere"],
                "--metrics-address \"nowhere\"",
            ),
            (
                &["--restore-resource-priorities=pods,-,a,-"],
                "--restore-resource-priorities \"pods,-,a,-\"",
            ),
        ] {
            let error = parse(args)
                .unwrap()
                .settings("velero")
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        assert!(
            parse(&["--default-backup-ttl", "30d"])
                .unwrap_err()
                .contains("unknown unit")
        );
        assert!(parse(&["--client-page-size", "-1"]).is_err());
    }

    #[test]
    fn levels_have_the_peers_names() {
        for (name, level) in [
            ("warn", LevelFilter::WARN),
            ("warning", LevelFilter::WARN),
            ("Debug", LevelFilter::DEBUG),
            ("panic", LevelFilter::ERROR),
        ] {
            let args = parse(&["--log-level", name]).unwrap();
            assert_eq!(args.log_options().level, level, "{name}");
        }
    }
}
