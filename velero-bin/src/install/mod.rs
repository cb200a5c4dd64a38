//! `velero install`, as far as it goes yet: the CustomResourceDefinitions, and the account of an operator with few rights.

mod roles;

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use velero_core::api::crd;
use velero_core::names::labels;
use velero_core::{ApiResource, GroupResource};

use crate::cli::output::{self, Format};
use crate::cli::{Environment, Exit, connect, console};
use roles::{Account, Rights};

/// How long the API server may take until it serves the kinds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Flags of `install`.
#[derive(Debug, Clone, clap::Args)]
#[command(group = clap::ArgGroup::new("part").required(true).args(["crds_only", "rbac_only"]))]
pub(crate) struct Install {
    /// Install the CustomResourceDefinitions alone
    #[arg(long)]
    crds_only: bool,
    /// Install the operator's namespace and ServiceAccount alone, with the rights for this and nothing else
    #[arg(long, value_name = "RIGHTS", value_enum)]
    rbac_only: Option<Rights>,
    /// Kinds that the operator may read, or read and write, such as pods,deployments.apps; all kinds without it
    #[arg(long, value_name = "RESOURCES", value_delimiter = ',', conflicts_with = "crds_only", value_parser = kind)]
    resources: Vec<GroupResource>,
    /// Send nothing; with --output print what would be sent
    #[arg(long)]
    dry_run: bool,
    /// Print the objects in this form
    #[arg(short, long, value_enum)]
    output: Option<Format>,
    /// Change objects that are there, by server-side apply; without it they are kept as they are
    #[arg(long)]
    apply: bool,
}

/// A kind by its plural and its group, as roles name it.
fn kind(text: &str) -> Result<GroupResource, String> {
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    if text.split('.').all(is_label) {
        return Ok(GroupResource::from(text));
    }
    Err("a kind is its plural and its group, as kubectl api-resources -o name prints it: pods, deployments.apps".to_owned())
}

impl Install {
    pub(crate) async fn run(self, environment: &Environment) -> Result<Exit> {
        environment.warn_about_features();
        let definitions = match self.crds_only {
            true => definitions(),
            false => Vec::new(),
        };
        let namespace = environment.namespace();
        let kinds = match self.dry_run {
            true => self.resources.clone(),
            false => self.served_kinds(environment).await?,
        };
        let account = self
            .rbac_only
            .map(|rights| Account::new(&namespace, rights, &kinds));
        match self.output {
            Some(Format::Table) => bail!("-o table cannot be used with install; use json or yaml"),
            Some(format) => {
                let mut items = encode(&definitions)?;
                if let Some(account) = &account {
                    items.push(serde_json::to_value(own_namespace(&namespace))?);
                    items.extend(account.to_values()?);
                }
                let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
                console::out(output::encode(&list, format)?);
            }
            None => {}
        }
        if self.dry_run {
            if self.output.is_none() {
                console::note("nothing was sent; -o yaml prints what would be");
            }
            return Ok(Exit::Success);
        }
        let target = Target {
            client: environment.client().await?,
            apply: self.apply,
            tells: self.output.is_none(),
        };
        for definition in &definitions {
            target
                .add(Api::all(target.client.clone()), definition)
                .await?;
        }
        if let Some(account) = &account {
            target.add_account(&namespace, account).await?;
        }
        wait_until_served(target.client, &definitions).await?;
        Ok(Exit::Success)
    }

    /// The kinds as the cluster calls them: a role with a slip of the pen in it would say nothing.
    async fn served_kinds(&self, environment: &Environment) -> Result<Vec<GroupResource>> {
        if self.resources.is_empty() {
            return Ok(Vec::new());
        }
        let catalog = connect::cluster(&environment.global).await?.catalog();
        let served = self.resources.iter().map(|kind| {
            let found = catalog.resolve(&kind.to_string());
            found.map(ApiResource::group_resource).with_context(|| {
                format!("--resources {kind}: the cluster serves no such kind; kubectl api-resources -o name prints those that it does")
            })
        });
        served.collect()
    }
}

/// Where objects are installed, and how.
struct Target {
    client: Client,
    /// Whether objects that are there are changed.
    apply: bool,
    /// Whether each is told.
    tells: bool,
}

impl Target {
    async fn add_account(&self, namespace: &str, account: &Account) -> Result<()> {
        let client = || self.client.clone();
        self.add(Api::all(client()), &own_namespace(namespace))
            .await?;
        let of = Api::namespaced(client(), namespace);
        self.add(of, &account.account).await?;
        self.add(Api::all(client()), &account.items).await?;
        self.add(Api::all(client()), &account.items_binding).await?;
        let of = Api::namespaced(client(), namespace);
        self.add(of, &account.own).await?;
        let of = Api::namespaced(client(), namespace);
        self.add(of, &account.own_binding).await
    }

    async fn add<K>(&self, api: Api<K>, object: &K) -> Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let done = install(api, object, self.apply).await?;
        if self.tells {
            let name = object.meta().name.as_deref().unwrap_or_default();
            console::line(format_args!("{}/{name}: {done}", K::kind(&())));
        }
        Ok(())
    }
}

fn own_namespace(name: &str) -> Namespace {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.to_owned());
    namespace
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

fn encode<K: Serialize>(objects: &[K]) -> Result<Vec<Value>> {
    let values = objects.iter().map(serde_json::to_value);
    Ok(values.collect::<Result<_, _>>()?)
}

/// Creates or applies one object, and says which it was.
///
/// # Errors
/// When the API server refuses.
async fn install<K>(api: Api<K>, object: &K, apply: bool) -> Result<&'static str>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let name = object.meta().name.as_deref().unwrap_or_default();
    let what = format!("{} {name}", K::kind(&()));
    if apply {
        let params = PatchParams {
            force: true,
            ..PatchParams::apply("velero-cli")
        };
        let patched = api.patch(name, &params, &Patch::Apply(object)).await;
        return patched
            .map(|_| "applied")
            .map_err(crate::cli::explain)
            .with_context(|| format!("cannot apply {what}"));
    }
    let params = PostParams {
        field_manager: Some("velero-cli".to_owned()),
        ..PostParams::default()
    };
    match api.create(&params, object).await {
        Ok(_) => Ok("created"),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok("already exists, kept as it is"),
        Err(error) => {
            Err(crate::cli::explain(error)).with_context(|| format!("cannot create {what}"))
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
        install(Api::all(client.clone()), definition, false).await?;
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
