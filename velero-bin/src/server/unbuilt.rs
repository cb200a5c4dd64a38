//! Flags of the peer for what the operator does not do, or does by other means.

use velero_core::GoDuration;

use super::settings::SettingsError;

/// Flags of the peer for what this operator does not do, or does by other means.
///
/// They are taken, so that a deployment that states the peer's defaults starts. A value that asks for something else
/// stops the server with one line, so that none is taken and then ignored.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct UnbuiltArgs {
    #[arg(long, hide = true, allow_negative_numbers = true)]
    client_qps: Option<f32>,
    #[arg(long, hide = true, allow_negative_numbers = true)]
    client_burst: Option<i64>,
    #[arg(long, hide = true)]
    backup_repository_configmap: Option<String>,
    #[arg(long, hide = true)]
    repo_maintenance_job_configmap: Option<String>,
    #[arg(long, hide = true)]
    default_repo_maintain_frequency: Option<GoDuration>,
    #[arg(long, hide = true)]
    default_snapshot_move_data: bool,
    #[arg(long, hide = true)]
    default_volumes_to_fs_backup: bool,
    #[arg(long, hide = true)]
    fs_backup_timeout: Option<GoDuration>,
    #[arg(long, hide = true)]
    uploader_type: Option<String>,
    /// Says nothing here: objects are never cached.
    #[arg(long, hide = true)]
    pub disable_informer_cache: bool,
    #[arg(long, hide = true)]
    plugin_dir: Option<String>,
    #[arg(long, hide = true)]
    profiler_address: Option<String>,
}

/// A value that asks for what is not there: the flag, the value, and what can be done.
type Refusal = (&'static str, Option<String>, &'static str);

impl UnbuiltArgs {
    /// Refuses values that ask for something.
    ///
    /// # Errors
    /// For the first one, with the name of its flag.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let refusals = [self.of_calls(), self.of_volumes(), self.of_the_rest()];
        for (flag, value, expected) in refusals.into_iter().flatten() {
            if let Some(value) = value {
                return Err(SettingsError::new(flag, value, expected));
            }
        }
        Ok(())
    }

    /// There is no rate to set: as many calls are under way as the API server takes well. Who asks for more than the
    /// peer's default gets it; who asks for less would not.
    fn of_calls(&self) -> Vec<Refusal> {
        const RATE: &str = "calls follow how fast the API server answers, and a rate below the default of 100 cannot be set; \
                            --max-concurrent-k8s-connections limits them";
        vec![
            (
                "--client-qps",
                given(self.client_qps.as_ref(), |rate| *rate >= 100.0),
                RATE,
            ),
            (
                "--client-burst",
                given(self.client_burst.as_ref(), |burst| *burst >= 100),
                RATE,
            ),
        ]
    }

    fn of_volumes(&self) -> Vec<Refusal> {
        const DATA: &str = "this version does not store the data of volumes; leave the flag out";
        let hours = GoDuration::from_hours(4);
        vec![
            (
                "--backup-repository-configmap",
                given(self.backup_repository_configmap.as_ref(), String::is_empty),
                DATA,
            ),
            (
                "--repo-maintenance-job-configmap",
                given(
                    self.repo_maintenance_job_configmap.as_ref(),
                    String::is_empty,
                ),
                DATA,
            ),
            (
                "--default-repo-maintain-frequency",
                given(self.default_repo_maintain_frequency.as_ref(), |frequency| {
                    frequency.is_zero()
                }),
                DATA,
            ),
            (
                "--default-snapshot-move-data",
                on(self.default_snapshot_move_data),
                DATA,
            ),
            (
                "--default-volumes-to-fs-backup",
                on(self.default_volumes_to_fs_backup),
                DATA,
            ),
            (
                "--fs-backup-timeout",
                given(self.fs_backup_timeout.as_ref(), |timeout| *timeout == hours),
                DATA,
            ),
            (
                "--uploader-type",
                given(self.uploader_type.as_ref(), |kind| kind == "kopia"),
                "kopia is the only type there is; leave the flag out",
            ),
        ]
    }

    fn of_the_rest(&self) -> Vec<Refusal> {
        vec![
            (
                "--plugin-dir",
                given(self.plugin_dir.as_ref(), |dir| dir == "/plugins"),
                "this version runs no plugins; leave the flag out",
            ),
            (
                "--profiler-address",
                given(self.profiler_address.as_ref(), |address| {
                    address.is_empty() || address == "localhost:6060"
                }),
                "there is no profiler; leave the flag out, or empty",
            ),
        ]
    }
}

/// A value that asks for something.
fn given<T: ToString>(value: Option<&T>, asks_for_nothing: impl Fn(&T) -> bool) -> Option<String> {
    value
        .filter(|value| !asks_for_nothing(value))
        .map(T::to_string)
}

fn on(switch: bool) -> Option<String> {
    switch.then(|| "true".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::ServerArgs;
    use crate::cli::peer_flags::peer;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        server: ServerArgs,
    }

    fn settings(flag: &str, value: &str) -> Result<(), String> {
        let arg = match value {
            "true" => format!("--{flag}"),
            value => format!("--{flag}={value}"),
        };
        let cli = Cli::try_parse_from(["server", &arg]).map_err(|error| error.to_string())?;
        let settings = cli.server.settings("velero");
        settings.map(drop).map_err(|error| error.to_string())
    }

    /// What becomes of a value other than the default.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Then {
        Taken,
        Refused,
    }
    use Then::{Refused, Taken};

    /// Each flag of the peer's server: values that a deployment with its defaults may state, and another one.
    const FLAGS: &[(&str, &[&str], &str, Then)] = &[
        ("backup-repository-configmap", &[""], "c", Refused),
        ("backup-sync-period", &["1m"], "5m", Taken),
        ("client-burst", &["100", "300"], "10", Refused),
        ("client-page-size", &["500", "0"], "100", Taken),
        ("client-qps", &["100", "300.5"], "20", Refused),
        ("concurrent-backups", &["1", "0", "-1"], "2", Taken),
        ("default-backup-storage-location", &["default"], "b", Taken),
        ("default-backup-ttl", &["720h"], "1h", Taken),
        ("default-item-operation-timeout", &["4h"], "1h", Taken),
        ("default-repo-maintain-frequency", &["0s"], "1h", Refused),
        ("default-snapshot-move-data", &[], "true", Refused),
        (
            "default-volume-snapshot-locations",
            &["a:b"],
            "a:b,c:d",
            Taken,
        ),
        ("default-volumes-to-fs-backup", &[], "true", Refused),
        ("disable-controllers", &[""], "gc", Taken),
        ("disable-informer-cache", &[], "true", Taken),
        ("fs-backup-timeout", &["4h", "240m"], "1h", Refused),
        ("garbage-collection-frequency", &["0s"], "1h", Taken),
        ("item-block-worker-count", &["1", "0", "-1"], "4", Taken),
        ("item-operation-sync-frequency", &["0s"], "3s", Taken),
        ("log-format", &["text"], "json", Taken),
        ("log-level", &["info"], "debug", Taken),
        ("max-concurrent-k8s-connections", &["30"], "5", Taken),
        ("metrics-address", &[":8085"], "127.0.0.1:1", Taken),
        ("plugin-dir", &["/plugins"], "/x", Refused),
        (
            "profiler-address",
            &["localhost:6060", ""],
            ":6060",
            Refused,
        ),
        ("repo-maintenance-job-configmap", &[""], "c", Refused),
        ("resource-timeout", &["10m"], "1m", Taken),
        ("restore-only", &[], "true", Taken),
        (
            "restore-resource-priorities",
            &["pods,-,secrets"],
            "pods",
            Taken,
        ),
        ("schedule-skip-immediately", &[], "true", Taken),
        ("store-validation-frequency", &["1m"], "5m", Taken),
        ("terminating-resource-timeout", &["10m"], "1m", Taken),
        ("uploader-type", &["kopia"], "restic", Refused),
        (
            "volume-group-snapshot-label-key",
            &["velero.io/volume-group"],
            "a",
            Taken,
        ),
    ];

    #[test]
    fn every_flag_of_the_peers_server_is_taken_or_refused_by_name() {
        let known: Vec<&str> = FLAGS.iter().map(|(flag, ..)| *flag).collect();
        let peer = peer();
        let theirs: Vec<&str> = peer["velero server"]
            .keys()
            .map(String::as_str)
            .filter(|flag| *flag != "help")
            .collect();
        assert_eq!(known, theirs);
        for (flag, defaults, other, then) in FLAGS {
            for value in *defaults {
                assert_eq!(settings(flag, value), Ok(()), "--{flag} {value:?}");
            }
            match (settings(flag, other), then) {
                (Ok(()), Taken) => {}
                (Err(line), Refused) => assert!(
                    line.starts_with(&format!("--{flag} \""))
                        && line.contains("\" is not valid: ")
                        && line.lines().count() == 1,
                    "{line}"
                ),
                (found, _) => panic!("--{flag} {other}: {found:?}"),
            }
        }
    }

    #[test]
    fn what_stops_the_peers_server_stops_ours() {
        for (flag, value) in [
            ("client-qps", "-1"),
            ("client-burst", "0"),
            ("client-page-size", "-1"),
            ("max-concurrent-k8s-connections", "0"),
            ("default-volume-snapshot-locations", "aws"),
            ("disable-controllers", "gc,gc"),
        ] {
            let line = settings(flag, value).unwrap_err();
            assert!(line.contains(&format!("--{flag}")), "{line}");
        }
    }
}
