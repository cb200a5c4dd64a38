//! `velero backup-location create`.

use std::ffi::OsString;

use anyhow::{Result, bail};
use velero_core::GoDuration;
use velero_core::api::{
    BackupStorageLocation, BackupStorageLocationAccessMode, BackupStorageLocationSpec,
    ObjectStorageLocation,
};

use super::super::exit::Exit;
use super::super::objects::Objects;
use super::super::select::CreateOutputArgs;
use super::super::{Environment, console, names, values};
use super::values::{ProviderArgs, check_only_default, read_certificates};

/// What may be done with a location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "PascalCase")]
enum AccessMode {
    /// Everything.
    ReadWrite,
    /// Nothing is written or deleted.
    ReadOnly,
}

/// Flags of `backup-location create`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct CreateBackupLocation {
    /// Name of the location
    name: String,
    /// Bucket that backups are kept in
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    bucket: String,
    /// Folder inside the bucket; the top without it
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = "",
        hide_default_value = true
    )]
    prefix: String,
    #[command(flatten)]
    provider: ProviderArgs,
    /// File with certificates, in PEM, that the store's certificate may be signed by
    #[arg(long, value_name = "PATH")]
    cacert: Option<OsString>,
    /// What may be done with the location
    #[arg(long, value_enum, default_value = "ReadWrite")]
    access_mode: AccessMode,
    /// How often backups in the bucket are brought into the cluster; 0s for never, the server decides without it
    #[arg(long, value_name = "DURATION", value_parser = values::timeout)]
    backup_sync_period: Option<GoDuration>,
    /// How often the location is checked; 0s for never, the server decides without it
    #[arg(long, value_name = "DURATION", value_parser = values::timeout)]
    validation_frequency: Option<GoDuration>,
    /// Make it the location of backups that name none
    #[arg(long)]
    default: bool,
    #[command(flatten)]
    output: CreateOutputArgs,
}

impl CreateBackupLocation {
    /// Creates the location; nothing is created where another one is the default one already.
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        let namespace = environment.namespace();
        let location = self.location(&namespace)?;
        if let Some(exit) = self.output.print(&location)? {
            return Ok(exit);
        }
        let locations = Objects::new(environment.client().await?, &namespace);
        if self.default {
            check_only_default(&locations, &self.name).await?;
        }
        locations.create(&location).await?;
        console::line(format_args!(
            "Backup storage location {:?} configured successfully.",
            self.name
        ));
        Ok(Exit::Success)
    }

    fn location(&self, namespace: &str) -> Result<BackupStorageLocation> {
        names::check("backup storage location", &self.name)?;
        self.provider.check()?;
        if self.bucket.is_empty() {
            bail!("--bucket is needed");
        }
        let path = self.cacert.as_ref();
        let path = path.filter(|path| !path.is_empty());
        let spec = BackupStorageLocationSpec {
            provider: self.provider.provider.clone(),
            config: self.provider.config(),
            credential: self.provider.credential()?,
            object_storage: ObjectStorageLocation {
                bucket: self.bucket.clone(),
                prefix: self.prefix.clone(),
                ca_cert: path
                    .map(|path| read_certificates(path.as_ref()))
                    .transpose()?,
                ca_cert_ref: None,
            },
            default: self.default,
            access_mode: Some(match self.access_mode {
                AccessMode::ReadWrite => BackupStorageLocationAccessMode::ReadWrite,
                AccessMode::ReadOnly => BackupStorageLocationAccessMode::ReadOnly,
            }),
            backup_sync_period: self.backup_sync_period,
            validation_frequency: self.validation_frequency,
        };
        let mut location = BackupStorageLocation::new(namespace, &self.name, spec);
        location.metadata.labels = self.provider.labels();
        Ok(location)
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::command::{BackupLocationCommand, Cli, Command};
    use crate::cli::flag_table::{check, prints, sets};
    use crate::cli::grammar;

    fn parse(args: &[&str]) -> CreateBackupLocation {
        let line = ["velero", "backup-location", "create", "l"]
            .iter()
            .chain(args);
        let mut matches = grammar::command().try_get_matches_from(line).unwrap();
        match Cli::from_arg_matches_mut(&mut matches).unwrap().command {
            Command::BackupLocation(BackupLocationCommand::Create(args)) => *args,
            other => panic!("{other:?}"),
        }
    }

    fn object(args: &[&str]) -> Value {
        let args = [&["--provider=aws", "--bucket=b"], args].concat();
        serde_json::to_value(parse(&args).location("velero").unwrap()).unwrap()
    }

    #[test]
    fn every_flag_of_the_peer_sets_its_field() {
        let flags = vec![
            sets(
                "access-mode",
                &["--access-mode=ReadOnly"],
                "/spec/accessMode",
                json!("ReadOnly"),
            ),
            sets(
                "backup-sync-period",
                &["--backup-sync-period=0s"],
                "/spec/backupSyncPeriod",
                json!("0s"),
            ),
            sets(
                "bucket",
                &["--bucket=c"],
                "/spec/objectStorage/bucket",
                json!("c"),
            ),
            // This file, whatever is in it.
            sets(
                "cacert",
                &[concat!(
                    "--cacert=",
                    env!("CARGO_MANIFEST_DIR"),
                    "/src/main.rs"
                )],
                "/spec/objectStorage/caCert",
                serde_json::to_value(velero_core::api::ByteString(
                    include_bytes!("../../main.rs").to_vec(),
                ))
                .unwrap(),
            ),
            sets(
                "config",
                &["--config=a=b", "--config=c=d"],
                "/spec/config",
                json!({"a": "b", "c": "d"}),
            ),
            sets(
                "credential",
                &["--credential=s=k"],
                "/spec/credential",
                json!({"name": "s", "key": "k"}),
            ),
            sets("default", &["--default"], "/spec/default", json!(true)),
            prints("label-columns", &["-L", "a"]),
            sets(
                "labels",
                &["--labels=a=b"],
                "/metadata/labels",
                json!({"a": "b"}),
            ),
            prints("output", &["-o", "json"]),
            sets(
                "prefix",
                &["--prefix=p"],
                "/spec/objectStorage/prefix",
                json!("p"),
            ),
            sets(
                "provider",
                &["--provider=gcp"],
                "/spec/provider",
                json!("gcp"),
            ),
            prints("show-labels", &["--show-labels"]),
            sets(
                "validation-frequency",
                &["--validation-frequency=90s"],
                "/spec/validationFrequency",
                json!("1m30s"),
            ),
        ];
        check("velero backup-location create", flags, object);
        let plain = object(&[]);
        assert_eq!(plain["spec"]["accessMode"], "ReadWrite");
        for absent in [
            "credential",
            "backupSyncPeriod",
            "validationFrequency",
            "default",
        ] {
            assert_eq!(plain["spec"].get(absent), None, "{absent}");
        }
    }

    #[test]
    fn locations_that_cannot_be_used_are_refused() {
        for (args, expected) in [
            (&["--bucket=b"] as &[&str], "--provider is needed"),
            (&["--provider=aws"], "--bucket is needed"),
            (
                &["--provider=aws", "--bucket=b", "--credential=a=b,c=d"],
                "names 2 secrets",
            ),
            (
                &["--provider=aws", "--bucket=b", "--cacert=/no/such"],
                "--cacert /no/such",
            ),
        ] {
            let fault = parse(args).location("velero").unwrap_err().to_string();
            assert!(fault.contains(expected), "{args:?}: {fault}");
        }
        for (args, expected) in [
            ("--access-mode=readonly", "ReadOnly"),
            ("--backup-sync-period=-1m", "cannot be negative"),
            ("--validation-frequency=-1m", "cannot be negative"),
        ] {
            let line = ["velero", "backup-location", "create", "l", args];
            let fault = grammar::command().try_get_matches_from(line).unwrap_err();
            assert!(fault.to_string().contains(expected), "{args}: {fault}");
        }
    }
}
