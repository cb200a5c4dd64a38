//! `velero backup-location set`.

use std::ffi::OsString;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use velero_core::api::BackupStorageLocation;

use super::super::exit::Exit;
use super::super::objects::Objects;
use super::super::values::TriState;
use super::super::{Environment, console};
use super::values::{CredentialArgs, check_only_default, read_certificates};

/// Flags of `backup-location set`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct SetBackupLocation {
    /// Name of the location
    name: String,
    #[command(flatten)]
    credential: CredentialArgs,
    /// File with certificates, in PEM, that the store's certificate may be signed by; --cacert= takes those away that the
    /// location has
    #[arg(long, value_name = "PATH")]
    cacert: Option<OsString>,
    /// Whether it is the location of backups that name none
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    default: Option<TriState>,
}

impl SetBackupLocation {
    /// Changes what the flags name, and nothing else.
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        let fields = self.fields()?;
        let locations: Objects<BackupStorageLocation> =
            Objects::new(environment.client().await?, &environment.namespace());
        let location = locations.get(&self.name).await?;
        let certificates = &fields["spec"]["objectStorage"]["caCert"];
        if let (Some(reference), false) = (
            &location.spec.object_storage.ca_cert_ref,
            certificates.is_null(),
        ) {
            bail!(
                "backup storage location {:?} has its certificates in the secret {:?} of objectStorage.caCertRef, and can have \
                 one of both only; change the secret",
                self.name,
                reference.name
            );
        }
        if fields["spec"]["default"] == true {
            check_only_default(&locations, &self.name).await?;
        }
        locations.patch(&self.name, &fields).await?;
        console::line(format_args!(
            "Backup storage location {:?} configured successfully.",
            self.name
        ));
        Ok(Exit::Success)
    }

    fn fields(&self) -> Result<Value> {
        let mut spec = json!({});
        if let Some(credential) = self.credential.selector()? {
            spec["credential"] = json!({"name": credential.name, "key": credential.key});
        }
        match &self.cacert {
            None => {}
            Some(path) if path.is_empty() => {
                spec["objectStorage"] = json!({"caCert": null});
            }
            Some(path) => {
                spec["objectStorage"] = json!({"caCert": read_certificates(path.as_ref())?})
            }
        }
        if let Some(default) = self.default.and_then(|state| state.0) {
            spec["default"] = default.into();
        }
        if spec == json!({}) {
            bail!("there is nothing to set; --credential, --cacert or --default is needed");
        }
        Ok(json!({"spec": spec}))
    }
}
