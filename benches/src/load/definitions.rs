//! Creating definitions, and waiting until their kinds are served.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use http::Request;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, api::PostParams};
use serde_json::Value;
use velero_e2e::eventually;

const DEADLINE: Duration = Duration::from_secs(180);

/// Creates definitions; returns when the API server serves all their kinds.
pub(super) async fn create(client: &Client, definitions: &[Value]) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut groups: BTreeMap<String, usize> = BTreeMap::new();
    for definition in definitions {
        let definition: CustomResourceDefinition = serde_json::from_value(definition.clone())?;
        *groups.entry(definition.spec.group.clone()).or_default() += 1;
        api.create(&PostParams::default(), &definition)
            .await
            .context("cannot create a CRD")?;
    }
    for (group, kinds) in groups {
        let what = format!("{kinds} kinds of {group} are served");
        eventually(&what, DEADLINE, || async {
            let request = Request::get(format!("/apis/{group}/v1")).body(Vec::new())?;
            let served: Value = client.request(request).await?;
            let served = served["resources"].as_array().map_or(0, Vec::len);
            Ok((served >= kinds).then_some(()))
        })
        .await?;
    }
    Ok(())
}
