//! `velero backup create`.

use anyhow::{Result, bail};
use velero_core::api::{Backup, BackupPhase, BackupSpec, Schedule};

use super::super::exit::Exit;
use super::super::filters::MetadataArgs;
use super::super::objects::Objects;
use super::super::select::CreateOutputArgs;
use super::super::{Environment, console, names, wait};
use super::content::{ContentArgs, check_locations};
use crate::runs::from_template;

/// Flags of `backup create`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct CreateBackup {
    /// Name of the backup
    name: Option<String>,
    #[command(flatten)]
    content: ContentArgs,
    #[command(flatten)]
    metadata: MetadataArgs,
    /// Schedule whose template the backup is made from; the other flags about its content do not count then
    #[arg(
        long,
        value_name = "SCHEDULE",
        default_value = "",
        hide_default_value = true
    )]
    from_schedule: String,
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
        check_locations(&spec, &client, &namespace).await?;
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
        if let Some(exit) = self.output.print(&backup)? {
            return Ok(exit);
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
        let spec = self.content.spec()?;
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
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::command::{BackupCommand, Cli, Command};
    use crate::cli::flag_table::{backup_flags, check, prints};
    use crate::cli::grammar;

    fn parse(args: &[&str]) -> CreateBackup {
        let line = ["velero", "backup", "create", "b"].iter().chain(args);
        let mut matches = grammar::command().try_get_matches_from(line).unwrap();
        match Cli::from_arg_matches_mut(&mut matches).unwrap().command {
            Command::Backup(BackupCommand::Create(args)) => *args,
            other => panic!("{other:?}"),
        }
    }

    fn object(args: &[&str]) -> Value {
        let args = parse(args);
        let spec = args.spec().unwrap();
        serde_json::to_value(args.plain("velero", spec)).unwrap()
    }

    #[test]
    fn every_flag_of_the_peer_sets_its_field() {
        let mut flags = backup_flags("/spec");
        flags.extend([
            prints("from-schedule", &["--from-schedule="]),
            prints("wait", &["-w"]),
        ]);
        check("velero backup create", flags, object);
        assert_eq!(object(&[])["spec"]["includedNamespaces"], json!(["*"]));
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
