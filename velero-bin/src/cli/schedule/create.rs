//! `velero schedule create`.

use anyhow::{Result, bail};
use velero_core::api::{Schedule, ScheduleSpec};
use velero_core::names::MAX_LABEL_VALUE;

use super::super::backup::{ContentArgs, check_locations};
use super::super::exit::Exit;
use super::super::filters::MetadataArgs;
use super::super::objects::Objects;
use super::super::select::CreateOutputArgs;
use super::super::values::TriState;
use super::super::{Environment, console, names};

/// Flags of `schedule create`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct CreateSchedule {
    /// Name of the schedule, with which the names of its backups begin
    name: String,
    /// When backups are made: a cron expression of five fields in UTC, or a form such as '@every 6h'
    #[arg(
        long,
        value_name = "CRON",
        default_value = "",
        hide_default_value = true
    )]
    schedule: String,
    /// Let the schedule own its backups, so that they go when it goes
    #[arg(long)]
    use_owner_references_in_backup: bool,
    /// Make no backups until the schedule is unpaused
    #[arg(long)]
    paused: bool,
    /// Whether a backup that is due at once is left out; the server decides without it
    #[arg(long, value_name = "BOOL")]
    skip_immediately: Option<TriState>,
    #[command(flatten)]
    content: ContentArgs,
    #[command(flatten)]
    metadata: MetadataArgs,
    #[command(flatten)]
    output: CreateOutputArgs,
}

impl CreateSchedule {
    /// Creates the schedule. Whether the cron expression is valid is for the server to say.
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        let namespace = environment.namespace();
        let schedule = self.schedule(&namespace)?;
        let client = environment.client().await?;
        check_locations(&schedule.spec.template, &client, &namespace).await?;
        if let Some(exit) = self.output.print(&schedule)? {
            return Ok(exit);
        }
        Objects::new(client, &namespace).create(&schedule).await?;
        console::line(format_args!(
            "Schedule {:?} created successfully.",
            self.name
        ));
        Ok(Exit::Success)
    }

    fn schedule(&self, namespace: &str) -> Result<Schedule> {
        if self.schedule.is_empty() {
            bail!("--schedule is needed: a cron expression such as '0 1 * * *', or '@every 6h'");
        }
        names::check("schedule", &self.name)?;
        if self.name.len() > MAX_LABEL_VALUE {
            bail!(
                "schedule name {:?} is too long: its backups carry it as a label, which holds {MAX_LABEL_VALUE} characters at most",
                self.name
            );
        }
        let spec = ScheduleSpec {
            template: self.content.spec()?,
            schedule: self.schedule.clone(),
            use_owner_references_in_backup: Some(self.use_owner_references_in_backup),
            paused: self.paused,
            skip_immediately: self.skip_immediately.and_then(|state| state.0),
        };
        let mut schedule = Schedule::new(namespace, &self.name, spec);
        self.metadata.apply(&mut schedule.metadata);
        Ok(schedule)
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::command::{Cli, Command, ScheduleCommand};
    use crate::cli::flag_table::{backup_flags, check, sets};
    use crate::cli::grammar;

    fn parse(name: &str, args: &[&str]) -> CreateSchedule {
        let start = ["velero", "schedule", "create", name];
        let line = start.iter().chain(args);
        let mut matches = grammar::command().try_get_matches_from(line).unwrap();
        match Cli::from_arg_matches_mut(&mut matches).unwrap().command {
            Command::Schedule(ScheduleCommand::Create(args)) => *args,
            other => panic!("{other:?}"),
        }
    }

    fn object(args: &[&str]) -> Value {
        let args = [&["--schedule=@daily"], args].concat();
        serde_json::to_value(parse("s", &args).schedule("velero").unwrap()).unwrap()
    }

    #[test]
    fn every_flag_of_the_peer_sets_its_field() {
        let mut flags = backup_flags("/spec/template");
        flags.extend([
            sets("paused", &["--paused"], "/spec/paused", json!(true)),
            sets(
                "schedule",
                &["--schedule", "0 1 * * *"],
                "/spec/schedule",
                json!("0 1 * * *"),
            ),
            sets(
                "skip-immediately",
                &["--skip-immediately", "true"],
                "/spec/skipImmediately",
                json!(true),
            ),
            sets(
                "use-owner-references-in-backup",
                &["--use-owner-references-in-backup"],
                "/spec/useOwnerReferencesInBackup",
                json!(true),
            ),
        ]);
        check("velero schedule create", flags, object);
        let plain = object(&[]);
        // It is written even when it is false.
        assert_eq!(plain["spec"]["useOwnerReferencesInBackup"], false);
        assert_eq!(
            plain["spec"]["template"]["includedNamespaces"],
            json!(["*"])
        );
        let set = object(&["--skip-immediately=false"]);
        assert_eq!(set["spec"]["skipImmediately"], false);
        let taken_back = object(&["--skip-immediately=true", "--skip-immediately="]);
        assert_eq!(taken_back, plain);
    }

    #[test]
    fn what_can_make_no_backups_is_refused() {
        let fault = |name: &str, args: &[&str]| {
            let fault = parse(name, args).schedule("velero").unwrap_err();
            fault.to_string()
        };
        for (name, args, expected) in [
            ("s", &[] as &[&str], "--schedule is needed"),
            ("s", &["--schedule="], "--schedule is needed"),
            (
                "S",
                &["--schedule=@daily"],
                "schedule name \"S\" is not valid",
            ),
            (
                &"s".repeat(64),
                &["--schedule=@daily"],
                "63 characters at most",
            ),
            (
                "s",
                &[
                    "--schedule=@daily",
                    "--include-namespaces=a",
                    "--exclude-namespaces=a",
                ],
                "\"a\"",
            ),
        ] {
            let fault = fault(name, args);
            assert!(fault.contains(expected), "{fault}");
        }
        let longest = parse(&"s".repeat(63), &["--schedule=@daily"]);
        assert!(longest.schedule("velero").is_ok());
    }
}
