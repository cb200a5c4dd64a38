//! From flags to a client of the API server.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
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
        return Ok(Some((read(path)?, name)));
    }
    let variable = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let mut merged = None;
    for path in std::env::split_paths(&variable).filter(|path| !path.as_os_str().is_empty()) {
        let next = read(&path)?;
        merged = Some(match merged {
            None => next,
            Some(before) => Kubeconfig::merge(before, next)
                .with_context(|| format!("cannot use KUBECONFIG, which is {variable:?}"))?,
        });
    }
    if let Some(kubeconfig) = merged {
        return Ok(Some((kubeconfig, variable.to_string_lossy().into_owned())));
    }
    let Some(home) = std::env::var_os("HOME") else {
        return Ok(None);
    };
    let path = Path::new(&home).join(".kube/config");
    if !path.is_file() {
        return Ok(None);
    }
    Ok(Some((read(&path)?, path.display().to_string())))
}

/// Reads one file. What it says about a fault never quotes the file: tokens and keys are in it.
fn read(path: &Path) -> Result<Kubeconfig> {
    let name = path.display();
    Kubeconfig::read_from(path).map_err(|error| match error {
        KubeconfigError::Parse(fault) => {
            let place = match fault.location() {
                Some(place) if place.line() > 0 => {
                    format!("line {}, column {}: ", place.line(), place.column())
                }
                _ => String::new(),
            };
            anyhow::anyhow!(
                "cannot read the kubeconfig {name}: {place}{}",
                reason(&fault)
            )
        }
        KubeconfigError::ReadConfig(source, _) => {
            anyhow::Error::new(source).context(format!("cannot read the kubeconfig {name}"))
        }
        other => anyhow::Error::new(other).context(format!("cannot read the kubeconfig {name}")),
    })
}

/// What is wrong, in words that come from the parser and not from the file.
fn reason(fault: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    match fault.without_snippet() {
        // The parser's own texts: names of rules, brackets at most.
        Error::ExternalMessage { msg, .. } => msg.clone(),
        Error::Unexpected { expected, .. } => format!("expected {expected}"),
        Error::SerdeInvalidType { expected, .. }
        | Error::SerdeInvalidValue { expected, .. }
        | Error::SerdeInvalidLength { expected, .. } => format!("expected {expected}"),
        Error::SerdeMissingField { field, .. } => format!("the field {field:?} is missing"),
        Error::DuplicateMappingKey { .. } => "this key is here twice".to_owned(),
        Error::UnknownAnchor { .. } => "there is no such anchor".to_owned(),
        Error::Eof { .. } => "the file ends too early".to_owned(),
        _ => "this cannot be part of a kubeconfig".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is wrong with a kubeconfig, what stands in it is not told.
    #[test]
    fn faults_of_a_kubeconfig_are_placed_and_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let mut wrong = Vec::new();
        let head = "apiVersion: v1\nkind: Config\nusers:\n- name: u\n";
        for (rest, expected) in [
            (
                "  user:\n    token: [S3CRET]\n",
                "line 6, column 12: expected string",
            ),
            (
                "  user:\n    token: {S3CRET: x}\n",
                "line 6, column 12: expected string",
            ),
            (
                "  user:\n    token: {S3CRET\n",
                "line 6, column 12: expected string",
            ),
            (
                "  user: {token: S3CRET\n",
                "line 5, column 9: unclosed bracket",
            ),
            ("  user: S3CRET\n", "line 5, column 9: expected "),
            ("  user: [S3CRET]\n", "line 5, column 9: expected "),
            ("  user:\n    token: \"S3CRET\\q\"\n", "line 6, column "),
            ("  user:\n    token: \"S3CRET\n", "line 7, column 1: "),
            (
                "  user:\n    token: *S3CRET\n",
                "line 6, column 12: there is no such anchor",
            ),
            (
                "  user:\n    token: S3CRET\n   S3CRET: x\n",
                "line 7, column ",
            ),
            (
                "  user:\n    token: S3CRET\n    token: S3CRET\n",
                "line 7, column 5: ",
            ),
            (
                "  user:\n    exec: {interactiveMode: S3CRET}\n",
                "line 6, column ",
            ),
            ("  user:\n    exec: {env: S3CRET}\n", "line 6, column "),
            (
                "  user:\n    token: S3CRET\n  123: [x\n",
                "line 7, column 8: unclosed bracket",
            ),
            ("clusters: S3CRET\n", "line 5, column 11: expected "),
            ("S3CRET\n", "line 5, column "),
        ] {
            std::fs::write(&path, format!("{head}{rest}")).unwrap();
            let message = format!("{:#}", read(&path).unwrap_err());
            let start = format!("cannot read the kubeconfig {}: {expected}", path.display());
            let quoted = ["S3CRET", "\n", "|"]
                .iter()
                .any(|part| message.contains(part));
            if quoted || !message.starts_with(&start) {
                wrong.push((rest, message));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        let gone = folder.path().join("gone");
        let message = format!("{:#}", read(&gone).unwrap_err());
        let start = format!(
            "cannot read the kubeconfig {}: No such file",
            gone.display()
        );
        assert!(message.starts_with(&start), "{message}");
    }
}
