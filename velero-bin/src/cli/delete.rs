//! What all commands that delete have in common.

use std::marker::PhantomData;

use anyhow::Result;
use kube::Client;

use super::exit::Exit;
use super::listed::Listed;
use super::objects::Objects;
use super::select::SelectArgs;
use super::{Environment, console};

/// What is deleted, and whether to ask before.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    select: SelectArgs,
    /// Do not ask whether to go on
    #[arg(long)]
    confirm: bool,
}

/// What [`DeleteArgs::choose`] found.
pub(crate) struct Chosen<K> {
    pub(crate) client: Client,
    pub(crate) objects: Objects<K>,
    pub(crate) found: Vec<K>,
    /// One message for each name that could not be read.
    pub(crate) missing: Vec<String>,
}

impl DeleteArgs {
    /// Asks whether to go on and finds what is to be deleted; `None` when there is nothing to do.
    ///
    /// # Errors
    /// When it is not said what is to be deleted, or objects cannot be read.
    pub(crate) async fn choose<K: Listed>(
        &self,
        environment: &Environment,
    ) -> Result<Option<Chosen<K>>> {
        self.select.check()?;
        if !self.confirm && !console::confirm("Are you sure you want to continue") {
            return Ok(None);
        }
        let client = environment.client().await?;
        let objects = Objects::new(client.clone(), &environment.namespace());
        let selected = self.select.fetch(&objects).await?;
        if selected.objects.is_empty() && selected.missing.is_empty() {
            console::line(format_args!("No {}s found", K::NOUN));
            return Ok(None);
        }
        Ok(Some(Chosen {
            client,
            objects,
            found: selected.objects,
            missing: selected.missing,
        }))
    }
}

/// Flags of commands that delete objects and nothing else.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DeleteObjects<K: Listed> {
    #[command(flatten)]
    args: DeleteArgs,
    #[arg(skip)]
    kind: PhantomData<K>,
}

impl<K: Listed> DeleteObjects<K> {
    /// Deletes objects. A name that does not exist makes the command fail after the others were deleted.
    pub(crate) async fn run(self, environment: &Environment) -> Result<Exit> {
        let Some(chosen) = self.args.choose::<K>(environment).await? else {
            return Ok(Exit::Success);
        };
        let mut faults = chosen.missing;
        for object in &chosen.found {
            let name = object.meta().name.as_deref().unwrap_or_default();
            match chosen.objects.delete(name).await {
                Ok(()) => console::line(format_args!("Deleted {} {name:?}.", K::NOUN)),
                Err(error) => faults.push(format!("cannot delete {} {name:?}: {error}", K::NOUN)),
            }
        }
        Ok(tell(&faults))
    }
}

/// Tells what went wrong, and how the command ends.
pub(crate) fn tell(faults: &[String]) -> Exit {
    for fault in faults {
        console::note(format_args!(
            "An error occurred: {}",
            console::one_line(fault)
        ));
    }
    if faults.is_empty() {
        Exit::Success
    } else {
        Exit::Failure
    }
}
