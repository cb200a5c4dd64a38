//! From flags to a client of the API server.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use velero_cluster::{ClientOptions, Cluster, ClusterOptions};

use super::GlobalArgs;

/// How long a connection to the API server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer to a command's question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an API server that refuses connections is tried again.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(2);

/// Finds the configuration of the cluster: `--kubeconfig`, `KUBECONFIG`, `~/.kube/config`, the pod's account.
///
/// # Errors
/// When there is none, it does not parse, or the context does not exist. The message names the file.
pub async fn kube_config(global: &GlobalArgs) -> Result<Config> {
    let options = KubeConfigOptions {
        context: global.kubecontext.clone(),
        ..KubeConfigOptions::default()
    };
    let (kubeconfig, name) = match find_kubeconfig(global)? {
        Some(found) => found,
        None => {
            let mut config = Config::incluster().map_err(|_| {
                anyhow::anyhow!("no kubeconfig was found: use --kubeconfig, set KUBECONFIG, or create ~/.kube/config")
            })?;
            config.connect_timeout = Some(CONNECT_TIMEOUT);
            return Ok(config);
        }
    };
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .with_context(|| format!("cannot use the kubeconfig {name}"))?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    Ok(config)
}

/// A client that carries the program's name.
///
/// # Errors
/// As [`kube_config`], and when certificates cannot be used.
pub async fn client(global: &GlobalArgs, component: &str) -> Result<Client> {
    let config = kube_config(global).await?;
    Ok(velero_cluster::client_from(config, component)?)
}

/// A client for commands that ask and end: no answer is waited for longer than half a minute.
///
/// # Errors
/// As [`client`].
pub(super) async fn impatient_client(global: &GlobalArgs) -> Result<Client> {
    let mut config = kube_config(global).await?;
    // For bodies that stop in the middle; the time between two calls does not count.
    config.read_timeout = Some(ANSWER_TIMEOUT * 2);
    config.reset_reader_on_write = true;
    let options = ClientOptions::default().every_answer(ANSWER_TIMEOUT);
    Ok(velero_cluster::client_with(config, &options)?)
}

/// Finds out what a cluster serves.
///
/// # Errors
/// As [`client`], and when the API server does not answer within seconds.
pub(crate) async fn cluster(global: &GlobalArgs) -> Result<Cluster> {
    let config = kube_config(global).await?;
    let url = config.cluster_url.to_string();
    let client = velero_cluster::client_from(config, "")?;
    let mut options = ClusterOptions::default();
    options.refused_timeout = REFUSED_TIMEOUT;
    match Cluster::connect_with(client, options).await {
        Ok(cluster) => Ok(cluster),
        Err(error) => match error.no_answer() {
            Some(found) => bail!("cannot use the cluster at {url}: {}", found.reason),
            None => Err(error).with_context(|| format!("cannot use the cluster at {url}")),
        },
    }
}

fn find_kubeconfig(global: &GlobalArgs) -> Result<Option<(Kubeconfig, String)>> {
    if let Some(path) = &global.kubeconfig {
        let name = path.display().to_string();
        if !path.is_file() {
            bail!("there is no kubeconfig {name}");
        }
        let kubeconfig = Kubeconfig::read_from(path)
            .with_context(|| format!("cannot read the kubeconfig {name}"))?;
        return Ok(Some((kubeconfig, name)));
    }
    let variable = std::env::var("KUBECONFIG").unwrap_or_default();
    if !variable.is_empty() {
        let found = Kubeconfig::from_env()
            .with_context(|| format!("cannot read KUBECONFIG, which is {variable:?}"))?;
        return Ok(found.map(|kubeconfig| (kubeconfig, variable)));
    }
    let Some(home) = std::env::var_os("HOME") else {
        return Ok(None);
    };
    let path = std::path::Path::new(&home).join(".kube/config");
    if !path.is_file() {
        return Ok(None);
    }
    let name = path.display().to_string();
    let kubeconfig = Kubeconfig::read_from(&path)
        .with_context(|| format!("cannot read the kubeconfig {name}"))?;
    Ok(Some((kubeconfig, name)))
}
