//! From flags to a client of the API server.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use velero_cluster::Cluster;

use super::{GlobalArgs, explain};

/// How long a connection to the API server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

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

/// Finds out what a cluster serves, after one call that tells quickly whether it can be used at all.
///
/// # Errors
/// As [`client`], and when the API server does not answer within seconds.
pub(crate) async fn cluster(global: &GlobalArgs) -> Result<Cluster> {
    let config = kube_config(global).await?;
    let url = config.cluster_url.to_string();
    let client = velero_cluster::client_from(config, "")?;
    let failed = || format!("cannot use the cluster at {url}");
    match tokio::time::timeout(CONNECT_TIMEOUT, client.apiserver_version()).await {
        Ok(answer) => drop(answer.map_err(explain).with_context(failed)?),
        Err(_) => bail!(
            "{}: no answer within {}s",
            failed(),
            CONNECT_TIMEOUT.as_secs()
        ),
    }
    Cluster::connect(client).await.with_context(failed)
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
