//! `velero install`, as far as it goes yet: the CustomResourceDefinitions.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use velero_core::api::crd;
use velero_core::names::labels;

use crate::cli::output::{self, Format};
use crate::cli::{Environment, Exit, console};

/// How long the API server may take until it serves the kinds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Flags of `install`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Install {
    /// Install the CustomResourceDefinitions alone, which is all that can be installed yet
    #[arg(long, required = true)]
    crds_only: bool,
    /// Send nothing; with --output print what would be sent
    #[arg(long)]
    dry_run: bool,
    /// Print the objects in this form
    #[arg(short, long, value_enum)]
    output: Option<Format>,
    /// Change definitions that are there, by server-side apply; without it they are kept as they are
    #[arg(long)]
    apply: bool,
}

impl Install {
    pub(crate) async fn run(self, environment: &Environment) -> Result<Exit> {
        environment.warn_about_features();
        let definitions = definitions();
        match self.output {
            Some(Format::Table) => bail!("-o table cannot be used with install; use json or yaml"),
            Some(format) => console::out(output::encode(&list(&definitions)?, format)?),
            None => {}
        }
        if self.dry_run {
            if self.output.is_none() {
                console::note("nothing was sent; -o yaml prints what would be");
            }
            return Ok(Exit::Success);
        }
        let client = environment.client().await?;
        for definition in &definitions {
            let done = install(client.clone(), definition, self.apply).await?;
            if self.output.is_none() {
                console::line(format_args!(
                    "CustomResourceDefinition/{}: {done}",
                    definition.metadata.name.as_deref().unwrap_or_default()
                ));
            }
        }
        wait_until_served(client, &definitions).await?;
        Ok(Exit::Success)
    }
}

/// The definitions of all kinds, as they are installed.
pub(crate) fn definitions() -> Vec<CustomResourceDefinition> {
    let mut definitions = crd::all();
    for definition in &mut definitions {
        let labels = definition.metadata.labels.get_or_insert_default();
        labels.insert(
            labels::COMPONENT.to_owned(),
            labels::COMPONENT_VELERO.to_owned(),
        );
    }
    definitions
}

fn list(definitions: &[CustomResourceDefinition]) -> Result<Value> {
    let items = definitions
        .iter()
        .map(serde_json::to_value)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(json!({"apiVersion": "v1", "kind": "List", "items": items}))
}

/// Creates or applies one definition, and says which it was.
///
/// # Errors
/// When the API server refuses.
async fn install(
    client: Client,
    definition: &CustomResourceDefinition,
    apply: bool,
) -> Result<&'static str> {
    let api: Api<CustomResourceDefinition> = Api::all(client);
    let name = definition.metadata.name.as_deref().unwrap_or_default();
    if apply {
        let params = PatchParams {
            force: true,
            ..PatchParams::apply("velero-cli")
        };
        let patched = api.patch(name, &params, &Patch::Apply(definition)).await;
        return patched
            .map(|_| "applied")
            .map_err(crate::cli::explain)
            .with_context(|| format!("cannot apply {name}"));
    }
    let params = PostParams {
        field_manager: Some("velero-cli".to_owned()),
        ..PostParams::default()
    };
    match api.create(&params, definition).await {
        Ok(_) => Ok("created"),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok("already exists, kept as it is"),
        Err(error) => {
            Err(crate::cli::explain(error)).with_context(|| format!("cannot create {name}"))
        }
    }
}

/// Installs all definitions and waits until they are served.
///
/// # Errors
/// When the API server refuses one, or does not serve them within a minute.
#[cfg(feature = "sandbox")]
pub(crate) async fn install_definitions(client: Client) -> Result<()> {
    let definitions = definitions();
    for definition in &definitions {
        install(client.clone(), definition, false).await?;
    }
    wait_until_served(client, &definitions).await
}

async fn wait_until_served(client: Client, definitions: &[CustomResourceDefinition]) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client);
    let wait = async {
        for definition in definitions {
            let name = definition.metadata.name.as_deref().unwrap_or_default();
            while !is_established(&api.get(name).await.map_err(crate::cli::explain)?) {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        Ok(())
    };
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(outcome) => outcome,
        Err(_) => bail!(
            "the api server does not serve the definitions after {}s",
            PATIENCE.as_secs()
        ),
    }
}

fn is_established(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Established" && condition.status == "True")
}
