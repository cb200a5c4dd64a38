//! What the operator goes by.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use velero_cluster::ListOptions;
use velero_core::GoDuration;
use velero_core::action::{BackupItemAction, DeleteItemAction, RestoreItemAction};
use velero_restore::Priorities;

use super::controllers::Controller;
use super::election::LeaderElection;
use crate::features::Features;
use crate::runs::{Clock, system_clock};

/// What the operator goes by: the flags, and periods and a clock that tests replace.
#[derive(Clone)]
pub struct Settings {
    /// Namespace of the custom resources. Default `velero`.
    pub namespace: String,
    /// Where metrics and health are served. Default nowhere.
    pub metrics_address: Option<SocketAddr>,
    /// Life of backups that do not state theirs. Default 720 hours.
    pub default_backup_ttl: GoDuration,
    /// Longest asynchronous operation of an item, written into specs that do not state it. Default 4 hours.
    pub default_item_operation_timeout: GoDuration,
    /// Longest wait for single resources, and for the API server to take the outcome of a run. Default 10 minutes.
    pub resource_timeout: Duration,
    /// Longest wait for what is being deleted. Default 10 minutes.
    pub terminating_resource_timeout: Duration,
    /// Time between two looks for backups in a location; zero for never. Default none: names every 5 seconds, all every minute.
    pub backup_sync_period: Option<GoDuration>,
    /// Time between two checks of a location; zero for one check only. Default 1 minute.
    pub store_validation_frequency: GoDuration,
    /// Location of backups that name none, where none is marked as the default. Default `default`.
    pub default_location: String,
    /// Volume snapshot locations of backups that name none, by provider, where a provider has several. Default none.
    pub default_snapshot_locations: BTreeMap<String, String>,
    /// Most calls of the API server at the same time; as many as it takes well below 128 without it. Default none.
    pub max_calls: Option<usize>,
    /// Which kinds restores begin and end with. Default the peer's.
    pub restore_priorities: Priorities,
    /// Folder of the temporary files of restores that are too large for memory. Default the system's.
    pub spool_dir: Option<PathBuf>,
    /// Objects in a page of a list; without it 500, and more of them while a long list follows. Default none.
    pub page_size: Option<u32>,
    /// Time between two looks at operations that actions of a backup have left running. Default 10 seconds.
    pub item_operation_sync_frequency: Duration,
    /// Item blocks of a backup whose hooks run at the same time. Default 1.
    pub item_block_workers: usize,
    /// Label key by which volumes are put into one group snapshot. Default `velero.io/volume-group`.
    pub volume_group_label: String,
    /// How several servers of the namespace agree on the one that acts; none for a server that is the only one. Default none.
    pub leader_election: Option<LeaderElection>,
    /// Controllers that do not run. Default none.
    pub disabled: BTreeSet<Controller>,
    /// Features that are switched on. Default none.
    pub features: Features,
    /// Actions of backups beyond the built-in ones. Default none.
    pub backup_actions: Vec<Arc<dyn BackupItemAction>>,
    /// Actions of restores beyond the built-in ones. Default none.
    pub restore_actions: Vec<Arc<dyn RestoreItemAction>>,
    /// Actions that see the items of a backup before it is deleted. Default none.
    pub delete_actions: Vec<Arc<dyn DeleteItemAction>>,
    /// Backups that may run at the same time, where they have no namespace in common. Default 1.
    pub concurrent_backups: usize,
    /// Restores that may run at the same time, where they have no namespace in common. Default 4.
    pub concurrent_restores: usize,
    /// Time between two looks for backups that have expired. Default 1 hour.
    pub garbage_collection_period: Duration,
    /// Whether schedules that do not say so themselves leave out the run that is due when they are first seen. Default no.
    pub skip_immediately: bool,
    /// Longest time between two looks at a schedule. Default 1 minute.
    pub schedule_period: Duration,
    /// The time zone of schedules that name none, and of their backups' names. Default the system's.
    pub zone: TimeZone,
    /// How often due work is looked for. Default 10 seconds.
    pub tick: Duration,
    /// Least time between two writes of a run's progress. Default 1 second.
    pub progress_period: Duration,
    /// Life of download addresses. Default 10 minutes.
    pub download_ttl: Duration,
    /// Name of the Pod that the server runs in; what the server passes on of stores is reached by it. Default none.
    pub pod: Option<String>,
    /// Port of that Pod where it does so, open only while it is needed; 0 for any. Default 8086.
    pub download_port: u16,
    /// Longest wait for one answer of the API server about a custom resource. Default 30 seconds.
    pub request_timeout: Duration,
    /// Longest time without a sign of life of a server that works on a restore, before another one ends or goes on with
    /// it; a server whose process is known to have ended is not waited for. Default 2 minutes.
    pub restore_lease: Duration,
    /// How long a stopping server waits for runs to end. Default 25 seconds, less than Kubernetes' own 30.
    pub shutdown_grace: Duration,
    /// Tells the time.
    pub clock: Clock,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            namespace: velero_core::names::DEFAULT_NAMESPACE.to_owned(),
            metrics_address: None,
            default_backup_ttl: GoDuration::from_hours(720),
            default_item_operation_timeout: GoDuration::from_hours(4),
            resource_timeout: Duration::from_secs(600),
            terminating_resource_timeout: Duration::from_secs(600),
            backup_sync_period: None,
            store_validation_frequency: GoDuration::from_mins(1),
            default_location: "default".to_owned(),
            default_snapshot_locations: BTreeMap::new(),
            max_calls: None,
            restore_priorities: Priorities::default(),
            spool_dir: None,
            page_size: None,
            item_operation_sync_frequency: Duration::from_secs(10),
            item_block_workers: 1,
            volume_group_label: velero_core::names::labels::VOLUME_GROUP.to_owned(),
            leader_election: None,
            disabled: BTreeSet::new(),
            features: Features::default(),
            backup_actions: Vec::new(),
            restore_actions: Vec::new(),
            delete_actions: Vec::new(),
            concurrent_backups: 1,
            concurrent_restores: 4,
            garbage_collection_period: Duration::from_secs(3600),
            skip_immediately: false,
            schedule_period: Duration::from_secs(60),
            zone: TimeZone::system(),
            tick: Duration::from_secs(10),
            progress_period: Duration::from_secs(1),
            download_ttl: Duration::from_secs(600),
            pod: None,
            download_port: 8086,
            request_timeout: Duration::from_secs(30),
            restore_lease: Duration::from_secs(120),
            shutdown_grace: Duration::from_secs(25),
            clock: system_clock(),
        }
    }
}

impl Settings {
    /// How lists of the cluster are read.
    pub(super) fn list_options(&self) -> ListOptions {
        let options = ListOptions::default();
        match self.page_size {
            Some(objects) => options.page_size(objects),
            None => options,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// A setting that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{flag} {value:?} is not valid: {expected}")]
pub struct SettingsError {
    flag: &'static str,
    value: String,
    expected: &'static str,
}

impl SettingsError {
    pub(super) fn new(
        flag: &'static str,
        value: impl fmt::Display,
        expected: &'static str,
    ) -> Self {
        Self {
            flag,
            value: value.to_string(),
            expected,
        }
    }
}

/// Reads a listen address in Go's form, where `:8085` means the port on all addresses.
pub(super) fn parse_listen_address(text: &str) -> Result<Option<SocketAddr>, SettingsError> {
    let error = || {
        SettingsError::new(
            "--metrics-address",
            text,
            "an address such as :8085 or 127.0.0.1:8085",
        )
    };
    if text.is_empty() {
        return Ok(None);
    }
    if let Some(port) = text.strip_prefix(':') {
        let port = port.parse().map_err(|_| error())?;
        return Ok(Some(SocketAddr::new(
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            port,
        )));
    }
    let text = text.replacen("localhost:", "127.0.0.1:", 1);
    text.parse().map(Some).map_err(|_| error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses_have_gos_form() {
        for (text, expected) in [
            ("", None),
            (":8085", Some("[::]:8085")),
            ("127.0.0.1:0", Some("127.0.0.1:0")),
            ("localhost:6060", Some("127.0.0.1:6060")),
        ] {
            let parsed = parse_listen_address(text)
                .unwrap()
                .map(|address| address.to_string());
            assert_eq!(parsed.as_deref(), expected, "{text:?}");
        }
        assert!(parse_listen_address(":port").is_err());
    }
}
