//! `velero restore delete`.

use anyhow::{Result, bail};
use velero_core::api::Restore;

use super::super::exit::Exit;
use super::super::objects::Objects;
use super::super::select::SelectArgs;
use super::super::{Environment, console};

/// Flags of `restore delete`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct DeleteRestore {
    #[command(flatten)]
    select: SelectArgs,
}

impl DeleteRestore {
    /// Deletes restores; the operator removes their files. Nothing is deleted when one of the names does not exist.
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        self.select.check()?;
        if !self.select.confirm && !console::confirm("Are you sure you want to continue") {
            return Ok(Exit::Success);
        }
        let restores: Objects<Restore> =
            Objects::new(environment.client().await?, &environment.namespace());
        let selected = self.select.fetch(&restores).await?;
        if !selected.missing.is_empty() {
            bail!("{}", selected.missing.join("; "));
        }
        if selected.objects.is_empty() {
            console::line("No restores found");
        }
        let mut faults = 0;
        for restore in &selected.objects {
            let name = restore.metadata.name.as_deref().unwrap_or_default();
            match restores.delete(name).await {
                Ok(()) => console::line(format_args!(
                    "Request to delete restore {name:?} submitted successfully."
                )),
                Err(error) => {
                    faults += 1;
                    console::note(format_args!("An error occurred: {error}"));
                }
            }
        }
        Ok(if faults == 0 {
            Exit::Success
        } else {
            Exit::Failure
        })
    }
}
