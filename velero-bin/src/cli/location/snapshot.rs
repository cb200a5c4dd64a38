//! `velero snapshot-location`. To delete one is a command of ours alone.

use anyhow::{Result, bail};
use jiff::Timestamp;
use serde_json::json;
use velero_core::api::{VolumeSnapshotLocation, VolumeSnapshotLocationSpec};

use super::super::delete::DeleteObjects;
use super::super::exit::Exit;
use super::super::listed::{GetObjects, Listed};
use super::super::objects::Objects;
use super::super::select::CreateOutputArgs;
use super::super::{Environment, console, names};
use super::values::{CredentialArgs, ProviderArgs};

/// `snapshot-location get`.
pub(in crate::cli) type GetSnapshotLocation = GetObjects<VolumeSnapshotLocation>;

/// `snapshot-location delete`.
pub(in crate::cli) type DeleteSnapshotLocation = DeleteObjects<VolumeSnapshotLocation>;

impl Listed for VolumeSnapshotLocation {
    const NOUN: &'static str = "volume snapshot location";
    const HEADINGS: &'static [&'static str] = &["name", "provider"];

    fn cells(&self, _now: Timestamp) -> Vec<String> {
        let name = self.metadata.name.clone().unwrap_or_default();
        vec![name, self.spec.provider.clone()]
    }
}

/// Flags of `snapshot-location create`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct CreateSnapshotLocation {
    /// Name of the location
    name: String,
    #[command(flatten)]
    provider: ProviderArgs,
    #[command(flatten)]
    output: CreateOutputArgs,
}

impl CreateSnapshotLocation {
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        let namespace = environment.namespace();
        let location = self.location(&namespace)?;
        if let Some(exit) = self.output.print(&location)? {
            return Ok(exit);
        }
        let locations = Objects::new(environment.client().await?, &namespace);
        locations.create(&location).await?;
        console::line(format_args!(
            "Snapshot volume location {:?} configured successfully.",
            self.name
        ));
        Ok(Exit::Success)
    }

    fn location(&self, namespace: &str) -> Result<VolumeSnapshotLocation> {
        names::check("volume snapshot location", &self.name)?;
        self.provider.check()?;
        let spec = VolumeSnapshotLocationSpec {
            provider: self.provider.provider.clone(),
            config: self.provider.config(),
            credential: self.provider.credential()?,
        };
        let mut location = VolumeSnapshotLocation::new(namespace, &self.name, spec);
        location.metadata.labels = self.provider.labels();
        Ok(location)
    }
}

/// Flags of `snapshot-location set`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct SetSnapshotLocation {
    /// Name of the location
    name: String,
    #[command(flatten)]
    credential: CredentialArgs,
}

impl SetSnapshotLocation {
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        let Some(credential) = self.credential.selector()? else {
            bail!("there is nothing to set; --credential is needed");
        };
        let locations: Objects<VolumeSnapshotLocation> =
            Objects::new(environment.client().await?, &environment.namespace());
        locations.get(&self.name).await?;
        let credential = json!({"name": credential.name, "key": credential.key});
        let fields = json!({"spec": {"credential": credential}});
        locations.patch(&self.name, &fields).await?;
        console::line(format_args!(
            "Snapshot volume location {:?} configured successfully.",
            self.name
        ));
        Ok(Exit::Success)
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;
    use serde_json::{Value, json};

    use crate::cli::command::{Cli, Command, SnapshotLocationCommand};
    use crate::cli::flag_table::{check, prints, sets};
    use crate::cli::grammar;

    fn object(args: &[&str]) -> Value {
        let start = [
            "velero",
            "snapshot-location",
            "create",
            "l",
            "--provider=aws",
        ];
        let line = start.iter().chain(args);
        let mut matches = grammar::command().try_get_matches_from(line).unwrap();
        let args = match Cli::from_arg_matches_mut(&mut matches).unwrap().command {
            Command::SnapshotLocation(SnapshotLocationCommand::Create(args)) => args,
            other => panic!("{other:?}"),
        };
        serde_json::to_value(args.location("velero").unwrap()).unwrap()
    }

    #[test]
    fn every_flag_of_the_peer_sets_its_field() {
        let flags = vec![
            sets(
                "config",
                &["--config=a=b,c=d"],
                "/spec/config",
                json!({"a": "b", "c": "d"}),
            ),
            sets(
                "credential",
                &["--credential=s=k"],
                "/spec/credential",
                json!({"name": "s", "key": "k"}),
            ),
            prints("label-columns", &["-L", "a"]),
            sets(
                "labels",
                &["--labels=a=b"],
                "/metadata/labels",
                json!({"a": "b"}),
            ),
            prints("output", &["-o", "json"]),
            sets(
                "provider",
                &["--provider=gcp"],
                "/spec/provider",
                json!("gcp"),
            ),
            prints("show-labels", &["--show-labels"]),
        ];
        check("velero snapshot-location create", flags, object);
    }
}
