//! Direct mode into a bucket; the operator takes over what it finds there, and the other way round.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use velero_testkit::compare::{ALLOWED, compare};

use crate::{Context, S3Server, Site, site::SOON, state, world};

const BUCKET: &str = "shared";
const NAMESPACE: &str = "team-0";

/// Direct backup, restore by the operator; backup by the operator, direct restore.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let store = S3Server::start(cx.scratch().join("s3")).await?;
    store.create_bucket(BUCKET)?;
    let site = Site::start(cx, "direct", &store, BUCKET).await?;
    world::create(&site.kubectl, 1).await?;
    let before = state::at_rest(&site.client, SOON).await?;
    let url = url(&store);
    let direct = store.keys(site.velero.clone());

    let backup = [
        "direct",
        "backup",
        "by-hand",
        "--include-namespaces",
        NAMESPACE,
    ];
    direct
        .ok(&[&backup[..], &["--store", &url]].concat())
        .await?;
    let listed = direct.ok(&["direct", "ls", "--store", &url]).await?;
    ensure!(
        listed.contains("by-hand") && listed.contains("Completed"),
        "direct ls does not list the backup:\n{listed}"
    );
    contents(&direct, &url).await?;

    site.synchronised("by-hand").await?;
    delete_namespace(&site).await?;
    site.restore("by-operator", "by-hand", &[]).await?;
    same(&before, &state::at_rest(&site.client, SOON * 2).await?)?;

    site.back_up("by-operator", &["--include-namespaces", NAMESPACE])
        .await?;
    delete_namespace(&site).await?;
    direct
        .ok(&["direct", "restore", "by-operator", "--store", &url])
        .await?;
    same(&before, &state::at_rest(&site.client, SOON * 2).await?)?;
    site.stop().await
}

fn url(store: &S3Server) -> String {
    format!(
        "s3://{BUCKET}?endpoint={}&region={}",
        store.endpoint(),
        S3Server::REGION
    )
}

/// What is in the backup, and one object of it.
async fn contents(direct: &crate::Velero, url: &str) -> Result<()> {
    let ls = ["direct", "ls", "by-hand", "--store", url, "-o", "json"];
    let list: Value = serde_json::from_str(&direct.ok(&ls).await?)?;
    let maps = list["v1/ConfigMap"].as_array().context("no ConfigMaps")?;
    ensure!(
        maps.contains(&Value::from("team-0/plain")),
        "direct ls does not list the object: {maps:?}"
    );
    let cat = [
        "direct",
        "cat",
        "by-hand",
        "cm/team-0/plain",
        "--store",
        url,
    ];
    let json = [&cat[..], &["-o", "json"]].concat();
    let object: Value = serde_json::from_str(&direct.ok(&json).await?)?;
    ensure!(
        object["kind"] == "ConfigMap" && object["data"]["greeting"] == "grüße <b>&</b>",
        "direct cat gave {object}"
    );
    let yaml = direct.ok(&cat).await?;
    ensure!(
        yaml.contains("kind: ConfigMap") && yaml.contains("grüße <b>&</b>"),
        "direct cat gave {yaml}"
    );
    Ok(())
}

async fn delete_namespace(site: &Site) -> Result<()> {
    let delete = ["delete", "namespace", NAMESPACE, "--timeout=120s"];
    site.kubectl.ok(&delete).await?;
    // A volume that is retained stays, and belongs to the claim that is gone.
    let volume = ["delete", "pv", "kept-team-0", "--timeout=60s"];
    site.kubectl.ok(&volume).await.map(drop)
}

/// Compares the whole cluster: the namespace is as it was, and nothing else has changed.
fn same(before: &[Value], after: &[Value]) -> Result<()> {
    let differences: Vec<String> = compare(before, after, ALLOWED)
        .iter()
        .map(ToString::to_string)
        .collect();
    ensure!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.join("\n")
    );
    Ok(())
}
