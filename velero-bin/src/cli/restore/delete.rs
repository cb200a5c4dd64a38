//! `velero restore delete`.

use anyhow::{Result, bail};
use velero_core::api::Restore;

use super::super::delete::{DeleteArgs, tell};
use super::super::exit::Exit;
use super::super::{Environment, console};

/// Flags of `restore delete`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct DeleteRestore {
    #[command(flatten)]
    args: DeleteArgs,
}

impl DeleteRestore {
    /// Deletes restores; the operator removes their files. Nothing is deleted when one of the names does not exist.
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        let Some(chosen) = self.args.choose::<Restore>(environment).await? else {
            return Ok(Exit::Success);
        };
        if !chosen.missing.is_empty() {
            bail!("{}", chosen.missing.join("; "));
        }
        let mut faults = Vec::new();
        for restore in &chosen.found {
            let name = restore.metadata.name.as_deref().unwrap_or_default();
            match chosen.objects.delete(name).await {
                Ok(()) => console::line(format_args!(
                    "Request to delete restore {name:?} submitted successfully."
                )),
                Err(error) => faults.push(error.to_string()),
            }
        }
        Ok(tell(&faults))
    }
}
