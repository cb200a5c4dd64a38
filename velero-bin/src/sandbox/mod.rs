//! The sandbox: an API server in this process, with a sample application.

mod application;
mod breakage;
mod demo;
mod keep;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use velero_testkit::{ApiServer, Controllers, ExecResult, world};

use crate::cli::{Environment, Exit};

/// The namespace of the sample application.
const NAMESPACE: &str = "shop";
/// How long the sample application may take to settle, and a namespace to be gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// `velero sandbox`
#[derive(Debug, Clone, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Sandbox {
    #[command(subcommand)]
    command: Option<SandboxCommand>,
    #[command(flatten)]
    keep: keep::Keep,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum SandboxCommand {
    /// Back up the sample application, delete it, restore it, and compare
    Demo(demo::Demo),
}

impl Sandbox {
    pub(crate) async fn run(self, environment: &Environment) -> Result<Exit> {
        match self.command {
            Some(SandboxCommand::Demo(demo)) => demo.run(environment).await,
            None => self.keep.run(environment).await,
        }
    }
}

/// What this program calls itself in its calls, as [`velero_cluster::client_from`] has it for real clusters.
fn user_agent() -> String {
    format!(
        "velero/{} ({}/{})",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

/// Starts an API server and puts the sample application into it. Gives the number of objects that were put in.
async fn start() -> Result<(ApiServer, usize)> {
    // There are no containers: a command in one does nothing, and that it does well.
    let server = ApiServer::builder()
        .controllers(Controllers::All)
        .exec(|_| ExecResult::default())
        .build();
    let mut objects = world::objects().context("the sample application does not parse")?;
    // A restore leaves out jobs that have run, so one would be missing.
    objects.retain(|object| object["kind"] != "Job");
    application::create(&server.client_with_user_agent("kubectl"), &objects).await?;
    settled(&server).await?;
    Ok((server, objects.len()))
}

/// Waits until the controllers have nothing left to do: until nothing has been written for a while.
async fn settled(server: &ApiServer) -> Result<()> {
    const QUIET: Duration = Duration::from_millis(150);
    let wait = async {
        loop {
            let version = server.store().resource_version();
            tokio::time::sleep(QUIET).await;
            if server.store().resource_version() == version {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .context("the sample application does not come to rest")
}

/// A folder for backups, removed with the value unless the user has named it.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Folder {
    fn make(named: Option<PathBuf>) -> Result<Self> {
        match named {
            Some(path) => {
                std::fs::create_dir_all(&path)
                    .with_context(|| format!("cannot make the folder {}", path.display()))?;
                let path = path
                    .canonicalize()
                    .with_context(|| format!("cannot use the folder {}", path.display()))?;
                Ok(Self {
                    path,
                    _temporary: None,
                })
            }
            None => {
                let folder = tempfile::Builder::new().prefix("velero-sandbox-").tempdir();
                let folder = folder.context("cannot make a temporary folder")?;
                Ok(Self {
                    path: folder.path().to_owned(),
                    _temporary: Some(folder),
                })
            }
        }
    }

    /// The folder, or one in it, as the URL of a store.
    fn store_url(&self, inner: &str) -> Result<String> {
        let path = self.path.join(inner);
        let url = url::Url::from_directory_path(&path)
            .map_err(|()| anyhow::anyhow!("the folder {} is no absolute path", path.display()))?;
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }
}
