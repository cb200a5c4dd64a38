//! `velero backup create`.

use anyhow::{Result, bail};
use velero_core::GoDuration;
use velero_core::api::{
    Backup, BackupPhase, BackupSpec, BackupStorageLocation, Schedule, VolumeSnapshotLocation,
};

use super::super::exit::Exit;
use super::super::filters::{BackupFilterArgs, MetadataArgs};
use super::super::objects::Objects;
use super::super::output::{self, Format};
use super::super::select::CreateOutputArgs;
use super::super::{Environment, console, names, values, wait};
use crate::runs::from_template;

/// Flags of `backup create`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct CreateBackup {
    /// Name of the backup
    name: Option<String>,
    #[command(flatten)]
    filters: BackupFilterArgs,
    #[command(flatten)]
    metadata: MetadataArgs,
    /// Backup storage location to write to; without it the default one
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    storage_location: String,
    /// Schedule whose template the backup is made from; the other flags about its content do not count then
    #[arg(
        long,
        value_name = "SCHEDULE",
        default_value = "",
        hide_default_value = true
    )]
    from_schedule: String,
    /// How long asynchronous operations of one item may take
    #[arg(long, value_name = "DURATION", value_parser = values::timeout)]
    item_operation_timeout: Option<GoDuration>,
    /// Wait until the backup has ended
    #[arg(short, long)]
    wait: bool,
    #[command(flatten)]
    output: CreateOutputArgs,
}

impl CreateBackup {
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        let namespace = environment.namespace();
        let spec = self.spec()?;
        let client = environment.client().await?;
        if !self.storage_location.is_empty() {
            let locations: Objects<BackupStorageLocation> =
                Objects::new(client.clone(), &namespace);
            locations.get(&self.storage_location).await?;
        }
        let locations: Objects<VolumeSnapshotLocation> = Objects::new(client.clone(), &namespace);
        for name in &spec.volume_snapshot_locations {
            locations.get(name).await?;
        }
        let backup = if self.from_schedule.is_empty() {
            self.plain(&namespace, spec)
        } else {
            let schedules: Objects<Schedule> = Objects::new(client.clone(), &namespace);
            let schedule = schedules.get(&self.from_schedule).await?;
            console::note(format_args!(
                "the backup is made from the template of schedule {:?}; filters and options of the command line do not count",
                self.from_schedule
            ));
            self.scheduled(&namespace, &schedule)?
        };
        let name = backup.metadata.name.clone().unwrap_or_default();
        if let Some(format) = self.output.output {
            return self.print(&backup, format);
        }
        let backups = Objects::new(client, &namespace);
        backups.create(&backup).await?;
        console::line(format_args!(
            "Backup request {name:?} submitted successfully."
        ));
        if !self.wait {
            console::line(format_args!(
                "Run `velero backup describe {name}` or `velero backup logs {name}` for more details."
            ));
            return Ok(Exit::Success);
        }
        console::line(
            "Waiting for backup to complete. You may safely press ctrl-c to stop waiting - your backup will continue in the background.",
        );
        let ended = wait::until(&backups, &name, |backup: &Backup| {
            backup.phase().is_terminal()
        })
        .await?;
        if *ended.phase() == BackupPhase::FailedValidation {
            bail!(
                "backup {name:?} was refused: {}",
                ended.status.validation_errors.join("; ")
            );
        }
        console::line(format_args!(
            "Backup completed with status: {}. You may check for more information using the commands `velero backup describe {name}` and `velero backup logs {name}`.",
            ended.phase()
        ));
        Ok(ended.phase().into())
    }

    /// The spec that the flags ask for, and whether there will be a name.
    fn spec(&self) -> Result<BackupSpec> {
        let mut spec = self.filters.spec()?;
        if !self.from_schedule.is_empty() && self.from_schedule.trim().is_empty() {
            bail!("--from-schedule {:?} names no schedule", self.from_schedule);
        }
        match self.given_name() {
            Some(name) => names::check("backup", name)?,
            None if self.from_schedule.is_empty() => {
                bail!("a backup name is required, unless --from-schedule names a schedule")
            }
            None => {}
        }
        spec.storage_location = self.storage_location.clone();
        spec.item_operation_timeout = self.item_operation_timeout.unwrap_or_default();
        Ok(spec)
    }

    fn given_name(&self) -> Option<&str> {
        self.name.as_deref().filter(|name| !name.is_empty())
    }

    fn plain(&self, namespace: &str, spec: BackupSpec) -> Backup {
        let mut backup = Backup::new(namespace, self.given_name().unwrap_or_default(), spec);
        self.metadata.apply(&mut backup.metadata);
        backup
    }

    fn scheduled(&self, namespace: &str, schedule: &Schedule) -> Result<Backup> {
        let name = match self.given_name() {
            Some(name) => name.to_owned(),
            None => names::backup_name(&self.from_schedule, jiff::Timestamp::now()),
        };
        names::check("backup", &name)?;
        let mut backup = from_template(namespace, &name, schedule);
        self.metadata.apply(&mut backup.metadata);
        Ok(backup)
    }

    fn print(&self, backup: &Backup, format: Format) -> Result<Exit> {
        if format == Format::Table {
            let now = jiff::Timestamp::now();
            let table =
                self.output
                    .columns
                    .table(super::HEADINGS, std::slice::from_ref(backup), |b| {
                        super::backup_row(b, now)
                    });
            output::print_table(&table);
        } else {
            console::out(output::encode(&serde_json::to_value(backup)?, format)?);
        }
        Ok(Exit::Success)
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::command::{BackupCommand, Cli, Command};
    use crate::cli::grammar;
    use crate::cli::peer_flags::peer;

    fn parse(args: &[&str]) -> CreateBackup {
        let line = ["velero", "backup", "create", "b"].iter().chain(args);
        let mut matches = grammar::command().try_get_matches_from(line).unwrap();
        match Cli::from_arg_matches_mut(&mut matches).unwrap().command {
            Command::Backup(BackupCommand::Create(args)) => *args,
            other => panic!("{other:?}"),
        }
    }

    /// What a flag of the peer does: it sets a field, or is not about the object.
    enum Does {
        Sets(&'static str, Value),
        Prints,
    }
    use Does::{Prints, Sets};

    /// Each flag of the peer's `backup create`.
    fn flags() -> Vec<(&'static str, &'static [&'static str], Does)> {
        let selector = |key: &str| json!({"matchLabels": {key: "b"}});
        vec![
            (
                "annotations",
                &["--annotations=a=b"],
                Sets("/metadata/annotations", json!({"a": "b"})),
            ),
            (
                "csi-snapshot-timeout",
                &["--csi-snapshot-timeout=7m"],
                Sets("/spec/csiSnapshotTimeout", json!("7m0s")),
            ),
            (
                "data-mover",
                &["--data-mover=mine"],
                Sets("/spec/datamover", json!("mine")),
            ),
            (
                "default-volumes-to-fs-backup",
                &["--default-volumes-to-fs-backup"],
                Sets("/spec/defaultVolumesToFsBackup", json!(true)),
            ),
            (
                "exclude-cluster-scoped-resources",
                &["--exclude-cluster-scoped-resources=a,b"],
                Sets("/spec/excludedClusterScopedResources", json!(["a", "b"])),
            ),
            (
                "exclude-namespace-scoped-resources",
                &["--exclude-namespace-scoped-resources=a"],
                Sets("/spec/excludedNamespaceScopedResources", json!(["a"])),
            ),
            (
                "exclude-namespaces",
                &["--exclude-namespaces=a"],
                Sets("/spec/excludedNamespaces", json!(["a"])),
            ),
            (
                "exclude-resources",
                &["--exclude-resources=a"],
                Sets("/spec/excludedResources", json!(["a"])),
            ),
            ("from-schedule", &["--from-schedule="], Prints),
            (
                "include-cluster-resources",
                &["--include-cluster-resources=false"],
                Sets("/spec/includeClusterResources", json!(false)),
            ),
            (
                "include-cluster-scoped-resources",
                &["--include-cluster-scoped-resources=*"],
                Sets("/spec/includedClusterScopedResources", json!(["*"])),
            ),
            (
                "include-namespace-scoped-resources",
                &["--include-namespace-scoped-resources=a"],
                Sets("/spec/includedNamespaceScopedResources", json!(["a"])),
            ),
            (
                "include-namespaces",
                &["--include-namespaces=a*"],
                Sets("/spec/includedNamespaces", json!(["a*"])),
            ),
            (
                "include-resources",
                &["--include-resources=a"],
                Sets("/spec/includedResources", json!(["a"])),
            ),
            (
                "item-operation-timeout",
                &["--item-operation-timeout=1h"],
                Sets("/spec/itemOperationTimeout", json!("1h0m0s")),
            ),
            ("label-columns", &["-L", "a"], Prints),
            (
                "labels",
                &["--labels", "a=b,c=d"],
                Sets("/metadata/labels", json!({"a": "b", "c": "d"})),
            ),
            (
                "or-selector",
                &["--or-selector", "a=b or c=b"],
                Sets(
                    "/spec/orLabelSelectors",
                    json!([selector("a"), selector("c")]),
                ),
            ),
            (
                "ordered-resources",
                &["--ordered-resources", "pods=n/a,n/b;pvs=v"],
                Sets(
                    "/spec/orderedResources",
                    json!({"pods": "n/a,n/b", "pvs": "v"}),
                ),
            ),
            ("output", &["-o", "json"], Prints),
            (
                "parallel-files-upload",
                &["--parallel-files-upload=4"],
                Sets("/spec/uploaderConfig/parallelFilesUpload", json!(4)),
            ),
            (
                "resource-policies-configmap",
                &["--resource-policies-configmap=p"],
                Sets(
                    "/spec/resourcePolicy",
                    json!({"kind": "configmap", "name": "p"}),
                ),
            ),
            (
                "selector",
                &["-l", "a=b"],
                Sets("/spec/labelSelector", selector("a")),
            ),
            ("show-labels", &["--show-labels"], Prints),
            (
                "snapshot-move-data",
                &["--snapshot-move-data=true"],
                Sets("/spec/snapshotMoveData", json!(true)),
            ),
            (
                "snapshot-volumes",
                &["--snapshot-volumes"],
                Sets("/spec/snapshotVolumes", json!(true)),
            ),
            (
                "storage-location",
                &["--storage-location=s"],
                Sets("/spec/storageLocation", json!("s")),
            ),
            ("ttl", &["--ttl=1h30m"], Sets("/spec/ttl", json!("1h30m0s"))),
            (
                "volume-snapshot-locations",
                &[
                    "--volume-snapshot-locations=a,b",
                    "--volume-snapshot-locations=c",
                ],
                Sets("/spec/volumeSnapshotLocations", json!(["a", "b", "c"])),
            ),
            ("wait", &["-w"], Prints),
        ]
    }

    #[test]
    fn every_flag_of_the_peer_sets_its_field() {
        let peer = peer();
        let theirs: Vec<&str> = peer["velero backup create"]
            .keys()
            .map(String::as_str)
            .filter(|flag| *flag != "help")
            .collect();
        let flags = flags();
        let ours: Vec<&str> = flags.iter().map(|(flag, ..)| *flag).collect();
        assert_eq!(ours, theirs);
        let object = |args: &[&str]| {
            let args = parse(args);
            let spec = args.spec().unwrap();
            serde_json::to_value(args.plain("velero", spec)).unwrap()
        };
        let plain = object(&[]);
        assert_eq!(plain["spec"]["includedNamespaces"], json!(["*"]));
        for (flag, args, does) in flags {
            match does {
                Sets(field, value) => {
                    let set = object(args);
                    assert_eq!(set.pointer(field), Some(&value), "--{flag}");
                    assert_ne!(plain.pointer(field), Some(&value), "--{flag}");
                }
                Prints => assert_eq!(object(args), plain, "--{flag}"),
            }
        }
        for (args, field) in [
            (["--parallel-files-upload=0"], "/spec/uploaderConfig"),
            (["--snapshot-volumes="], "/spec/snapshotVolumes"),
            (
                ["--volume-snapshot-locations="],
                "/spec/volumeSnapshotLocations",
            ),
        ] {
            assert_eq!(object(&args).pointer(field), None, "{args:?}");
        }
    }
}
