//! `velero restore create`.

use anyhow::{Result, bail};
use jiff::Zoned;
use velero_core::api::{Backup, Restore, RestorePhase};
use velero_core::names::labels;

use super::super::exit::Exit;
use super::super::filters::{MetadataArgs, RestoreFilterArgs};
use super::super::objects::Objects;
use super::super::select::CreateOutputArgs;
use super::super::{Environment, console, names, wait};
use super::source::{SourceArgs, newest};

/// Flags of `restore create`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct CreateRestore {
    /// Name of the restore; without it the name of the backup or schedule and the time
    name: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    filters: RestoreFilterArgs,
    #[command(flatten)]
    metadata: MetadataArgs,
    /// Wait until the restore has ended
    #[arg(short, long)]
    wait: bool,
    #[command(flatten)]
    output: CreateOutputArgs,
}

impl CreateRestore {
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        let mut restore = self.restore(&environment.namespace())?;
        let name = restore.metadata.name.clone().unwrap_or_default();
        let client = environment.client().await?;
        let backups: Objects<Backup> = Objects::new(client.clone(), &environment.namespace());
        self.find_source(&backups, &mut restore).await?;
        if let Some(exit) = self.output.print(&restore)? {
            return Ok(exit);
        }
        let restores = Objects::new(client, &environment.namespace());
        restores.create(&restore).await?;
        console::line(format_args!(
            "Restore request {name:?} submitted successfully."
        ));
        if !self.wait {
            console::line(format_args!(
                "Run `velero restore describe {name}` or `velero restore logs {name}` for more details."
            ));
            return Ok(Exit::Success);
        }
        console::line(
            "Waiting for restore to complete. You may safely press ctrl-c to stop waiting - your restore will continue in the background.",
        );
        let ended = wait::until(&restores, &name, |restore: &Restore| {
            restore.phase().is_terminal()
        })
        .await?;
        if *ended.phase() == RestorePhase::FailedValidation {
            bail!(
                "restore {name:?} was refused: {}",
                ended.status.validation_errors.join("; ")
            );
        }
        console::line(format_args!(
            "Restore completed with status: {}. You may check for more information using the commands `velero restore describe {name}` and `velero restore logs {name}`.",
            ended.phase()
        ));
        Ok(ended.phase().into())
    }

    fn restore(&self, namespace: &str) -> Result<Restore> {
        self.source.check()?;
        self.filters.data.refuse_mirror()?;
        let mut spec = self.filters.spec()?;
        let source = self.source.name();
        let name = self
            .name
            .clone()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| names::restore_name(source, &Zoned::now()));
        names::check("restore", &name)?;
        self.source.apply(&mut spec);
        spec.uploader_config.get_or_insert_default();
        let mut restore = Restore::new(namespace, name, spec);
        self.metadata.apply(&mut restore.metadata);
        self.filters.data.annotate(&mut restore.metadata);
        Ok(restore)
    }

    /// Checks that there is something to restore; with `--allow-partially-failed` chooses the backup of the schedule.
    async fn find_source(&self, backups: &Objects<Backup>, restore: &mut Restore) -> Result<()> {
        let SourceArgs {
            from_backup,
            from_schedule: schedule,
            ..
        } = &self.source;
        if !from_backup.is_empty() {
            return backups.get(from_backup).await.map(drop);
        }
        let found = backups
            .list(&format!("{}={schedule}", labels::SCHEDULE_NAME))
            .await?;
        if found.is_empty() {
            bail!("no backups found for the schedule {schedule:?}");
        }
        if self.source.takes_partial()
            && let Some(newest) = newest(&found, true)
        {
            restore.spec.backup_name = newest;
            restore.spec.schedule_name.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;
    use serde_json::{Value, json};
    use velero_restore::{EXISTING_RESOURCE_POLICY, RELINK_OWNERS};

    use super::*;
    use crate::cli::command::{Cli, Command, RestoreCommand};
    use crate::cli::flag_table::{Flag, check, prints, sets};
    use crate::cli::grammar;

    fn parse(args: &[&str]) -> CreateRestore {
        let source: &[&str] = match args.iter().any(|arg| arg.starts_with("--from-")) {
            true => &[],
            false => &["--from-backup=b"],
        };
        let line = ["velero", "restore", "create", "r"].iter();
        let line = line.chain(source).chain(args);
        let mut matches = grammar::command().try_get_matches_from(line).unwrap();
        match Cli::from_arg_matches_mut(&mut matches).unwrap().command {
            Command::Restore(RestoreCommand::Create(args)) => *args,
            other => panic!("{other:?}"),
        }
    }

    fn object(args: &[&str]) -> Value {
        serde_json::to_value(parse(args).restore("velero").unwrap()).unwrap()
    }

    /// Each flag of the peer's `restore create`.
    fn flags() -> Vec<Flag> {
        let mut flags = flags_about_filters();
        flags.extend(flags_about_objects());
        flags
    }

    fn flags_about_filters() -> Vec<Flag> {
        let selector = |key: &str| json!({"matchLabels": {key: "b"}});
        vec![
            sets(
                "exclude-namespaces",
                &["--exclude-namespaces=a,b*"],
                "/spec/excludedNamespaces",
                json!(["a", "b*"]),
            ),
            sets(
                "exclude-resources",
                &["--exclude-resources=pods,deployments.apps"],
                "/spec/excludedResources",
                json!(["pods", "deployments.apps"]),
            ),
            sets(
                "include-cluster-resources",
                &["--include-cluster-resources"],
                "/spec/includeClusterResources",
                json!(true),
            ),
            sets(
                "include-namespaces",
                &["--include-namespaces=a", "--include-namespaces", "b,c"],
                "/spec/includedNamespaces",
                json!(["b", "c"]),
            ),
            sets(
                "include-resources",
                &["--include-resources=*"],
                "/spec/includedResources",
                json!(["*"]),
            ),
            sets(
                "namespace-mappings",
                &["--namespace-mappings=a:b,c:d", "--namespace-mappings=e:f"],
                "/spec/namespaceMapping",
                json!({"a": "b", "c": "d", "e": "f"}),
            ),
            sets(
                "or-selector",
                &["--or-selector", "a=b or c=b"],
                "/spec/orLabelSelectors",
                json!([selector("a"), selector("c")]),
            ),
            sets(
                "selector",
                &["-l", "a=b"],
                "/spec/labelSelector",
                selector("a"),
            ),
            sets(
                "status-exclude-resources",
                &[
                    "--status-include-resources=*",
                    "--status-exclude-resources=jobs,pods",
                ],
                "/spec/restoreStatus/excludedResources",
                json!(["jobs", "pods"]),
            ),
            sets(
                "status-include-resources",
                &["--status-include-resources=pods"],
                "/spec/restoreStatus/includedResources",
                json!(["pods"]),
            ),
        ]
    }

    fn flags_about_objects() -> Vec<Flag> {
        vec![
            prints("allow-partially-failed", &["--allow-partially-failed"]),
            sets(
                "annotations",
                &["--annotations=a=b", "--annotations", "\"c=d,e\""],
                "/metadata/annotations",
                json!({"a": "b", "c": "d,e"}),
            ),
            sets(
                "existing-resource-policy",
                &["--existing-resource-policy=update"],
                "/spec/existingResourcePolicy",
                json!("update"),
            ),
            sets(
                "from-backup",
                &["--from-backup", "other"],
                "/spec/backupName",
                json!("other"),
            ),
            sets(
                "from-schedule",
                &["--from-schedule=s"],
                "/spec/scheduleName",
                json!("s"),
            ),
            sets(
                "item-operation-timeout",
                &["--item-operation-timeout=1h"],
                "/spec/itemOperationTimeout",
                json!("1h0m0s"),
            ),
            prints("label-columns", &["-L", "a"]),
            sets(
                "labels",
                &["--labels", "a=b,c=d"],
                "/metadata/labels",
                json!({"a": "b", "c": "d"}),
            ),
            prints("output", &["-o", "json"]),
            sets(
                "parallel-files-download",
                &["--parallel-files-download=4"],
                "/spec/uploaderConfig/parallelFilesDownload",
                json!(4),
            ),
            sets(
                "preserve-nodeports",
                &["--preserve-nodeports=true"],
                "/spec/preserveNodePorts",
                json!(true),
            ),
            sets(
                "resource-modifier-configmap",
                &["--resource-modifier-configmap=m"],
                "/spec/resourceModifier",
                json!({"apiGroup": "", "kind": "configmap", "name": "m"}),
            ),
            sets(
                "restore-volumes",
                &["--restore-volumes=false"],
                "/spec/restorePVs",
                json!(false),
            ),
            prints("show-labels", &["--show-labels"]),
            prints("wait", &["-w"]),
            sets(
                "write-sparse-files",
                &["--write-sparse-files"],
                "/spec/uploaderConfig/writeSparseFiles",
                json!(true),
            ),
        ]
    }

    #[test]
    fn every_flag_of_the_peer_sets_its_field() {
        let plain = object(&[]);
        let spec = json!({
            "backupName": "b",
            "includedNamespaces": ["*"],
            "itemOperationTimeout": "0s",
            "hooks": {},
            "uploaderConfig": {},
        });
        assert_eq!(plain["spec"], spec);
        check("velero restore create", flags(), object);
    }

    #[test]
    fn values_that_say_nothing_leave_the_field_alone() {
        let plain = object(&[]);
        for args in [
            &[
                "--include-cluster-resources=true",
                "--include-cluster-resources=",
            ][..],
            &["--restore-volumes="],
            &["--preserve-nodeports="],
            &["--write-sparse-files="],
            &["--parallel-files-download=0"],
            &["--resource-modifier-configmap="],
            &["--existing-resource-policy="],
            &["--status-include-resources="],
        ] {
            assert_eq!(object(args), plain, "{args:?}");
        }
        let of_schedule = object(&["--from-schedule=s"]);
        assert_eq!(of_schedule["spec"].get("backupName"), None);
    }

    #[test]
    fn flags_of_ours_are_annotations() {
        for (args, key, value, policy) in [
            (["--relink-owners"], RELINK_OWNERS, "true", None),
            (["--relink-owners=false"], RELINK_OWNERS, "false", None),
            (
                ["--existing-resource-policy=recreate"],
                EXISTING_RESOURCE_POLICY,
                "recreate",
                Some("update"),
            ),
        ] {
            let found = object(&args);
            let annotations = json!({key: value});
            assert_eq!(found["metadata"]["annotations"], annotations, "{args:?}");
            let found = found["spec"].get("existingResourcePolicy");
            assert_eq!(found.and_then(Value::as_str), policy, "{args:?}");
        }
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        for (args, part) in [
            (&["--from-backup=b", "--from-schedule=s"][..], "not both"),
            (&["--from-backup="], "must be specified"),
            (
                &["-l", "a=b", "--or-selector", "c=d"],
                "cannot be used together",
            ),
            (
                &["--namespace-mappings=a:b", "--namespace-mappings=a:c"],
                "given twice",
            ),
            (&["--existing-resource-policy=mirror"], "plan"),
        ] {
            let error = parse(args).restore("velero").unwrap_err().to_string();
            assert!(error.contains(part), "{args:?}: {error}");
        }
    }
}
