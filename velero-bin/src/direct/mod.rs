//! Direct mode: backups and restores with a kubeconfig and a store, and nothing installed in the cluster.

mod backup;
mod cat;
mod dry_run;
mod engine_args;
mod inputs;
mod interrupted;
mod logs;
mod look;
mod ls;
mod names;
mod plan;
mod plan_file;
mod restore;
mod stop;
mod store;

use anyhow::Result;

use crate::cli::{Environment, Exit};

pub(crate) use look::{Look, look};
pub(crate) use stop::stop_on_interrupt;

/// `velero direct ...`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Direct {
    /// Back a cluster up into a store
    Backup(Box<backup::DirectBackup>),
    /// Restore a backup of a store
    Restore(Box<restore::DirectRestore>),
    /// Say what a restore would do with each object, and change nothing
    Plan(Box<plan::DirectPlan>),
    /// List the backups of a store, or the objects of one
    Ls(ls::DirectLs),
    /// Print one object of a backup
    Cat(cat::DirectCat),
    /// Print the log of a backup
    Logs(logs::DirectLogs),
}

impl Direct {
    pub(crate) async fn run(self, environment: &Environment) -> Result<Exit> {
        match self {
            Self::Backup(args) => args.run(environment).await,
            Self::Restore(args) => args.run(environment).await,
            Self::Plan(args) => args.run(environment).await,
            Self::Ls(args) => args.run().await,
            Self::Cat(args) => args.run().await,
            Self::Logs(args) => args.run().await,
        }
    }
}
