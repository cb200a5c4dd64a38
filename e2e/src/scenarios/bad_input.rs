//! Wrong input gives one clear line, a failing exit code, and nothing half-written.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::{
    Context, S3Server, Site, Velero, archive::Archive, eventually, s3server::files_below, site,
    site::SOON,
};

const BUCKET: &str = "clean";

/// Each kind of wrong input, for direct mode and for the command line over custom resources.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let store = S3Server::start(cx.scratch().join("s3")).await?;
    let bucket = store.create_bucket(BUCKET)?;
    let site = Site::start(cx, "bad-input", &store, BUCKET).await?;
    let garbage = cx.scratch().join("garbage.yaml");
    std::fs::write(&garbage, "clusters: [\n\tnot yaml")?;

    direct(&site, &store, &garbage).await?;
    ensure_empty(&bucket)?;
    names(&site, &garbage).await?;
    bad_locations(&site, &store).await?;
    ensure_empty(&bucket)?;
    absent_namespace(&site, &store, &bucket).await?;
    site.stop().await
}

/// Checks that a command, its words with spaces between them, refuses, and that its one line names what is wrong.
async fn refuses(velero: &Velero, command: &str, name: &str) -> Result<()> {
    let words: Vec<&str> = command.split(' ').collect();
    let line = velero.refused(&words).await?;
    ensure!(
        line.contains(name),
        "velero {command}: the message does not say {name:?}: {line}"
    );
    Ok(())
}

fn url(bucket: &str, endpoint: &str) -> String {
    format!(
        "s3://{bucket}?endpoint={endpoint}&region={}",
        S3Server::REGION
    )
}

async fn direct(site: &Site, store: &S3Server, garbage: &Path) -> Result<()> {
    let good = store.keys(site.velero.clone());
    let wrong_key = good.clone().env("AWS_SECRET_ACCESS_KEY", "wrong");
    let wrong_file = good.clone().kubeconfig(garbage);
    let garbage = garbage.display().to_string();
    let there = url(BUCKET, &store.endpoint());
    let nobody = url(BUCKET, "http://127.0.0.1:1");
    let no_bucket = url("nosuch", &store.endpoint());
    let cases: [(&Velero, &str, &str, &str); 13] = [
        (&good, "backup b", &nobody, "127.0.0.1:1"),
        (&good, "ls", &nobody, "127.0.0.1:1"),
        (&wrong_key, "backup b", &there, BUCKET),
        (&wrong_key, "ls", &there, BUCKET),
        (&good, "backup b", &no_bucket, "nosuch"),
        (&good, "restore b", &no_bucket, "nosuch"),
        (&good, "restore absent", &there, "absent"),
        (&good, "ls absent", &there, "absent"),
        (&good, "cat absent cm/a/b", &there, "absent"),
        (&wrong_file, "backup b", &there, &garbage),
        (&good, "backup Not_A_Name", &there, "Not_A_Name"),
        (&good, "restore Not_A_Name", &there, "Not_A_Name"),
        (&good, "backup b", "gopher://x", "gopher"),
    ];
    for (velero, command, url, says) in cases {
        refuses(velero, &format!("direct {command} --store {url}"), says).await?;
    }
    Ok(())
}

async fn names(site: &Site, garbage: &Path) -> Result<()> {
    let wrong_file = site.velero.clone().kubeconfig(garbage);
    let garbage = garbage.display().to_string();
    for command in ["backup create b", "backup get", "server --metrics-address="] {
        refuses(&wrong_file, command, &garbage).await?;
    }
    for (command, says) in [
        ("backup create Not_A_Name", "Not_A_Name"),
        ("restore create Not_A_Name --from-backup b", "Not_A_Name"),
        ("restore create --from-backup absent", "absent"),
        ("backup describe absent", "absent"),
        ("backup logs absent", "absent"),
        ("backup get absent", "absent"),
        ("backup delete absent --confirm", "absent"),
        ("restore logs absent", "absent"),
        ("backup create b --storage-location absent", "absent"),
        ("backup create b -n nowhere", "nowhere"),
        ("server --metrics-address= -n nowhere", "nowhere"),
    ] {
        refuses(&site.velero, command, says).await?;
    }
    Ok(())
}

/// A namespace that is not there makes a backup partial, as with the peer: the rest is worth having. It is whole in the
/// bucket, the exit code is 2, and the namespace is named.
async fn absent_namespace(site: &Site, store: &S3Server, bucket: &Path) -> Result<()> {
    let direct = store.keys(site.velero.clone());
    let url = url(BUCKET, &store.endpoint());
    let filter = ["--include-namespaces", "nowhere"];
    let by_hand = ["direct", "backup", "by-hand", "--store", &url];
    let outcome = direct.run(&[&by_hand[..], &filter].concat()).await?;
    ensure!(
        outcome.code == Some(2) && outcome.stdout.contains("nowhere"),
        "a direct backup of an absent namespace ended with {outcome:?}"
    );
    let create = ["backup", "create", "lost", "--wait"];
    let outcome = site.velero.run(&[&create[..], &filter].concat()).await?;
    ensure!(
        outcome.code == Some(2) && outcome.stdout.contains("PartiallyFailed"),
        "a backup of an absent namespace ended with {outcome:?}"
    );
    let described = site.velero.ok(&["backup", "describe", "lost"]).await?;
    ensure!(
        described.contains("the included namespace does not exist"),
        "describe does not name the namespace:\n{described}"
    );
    for name in ["by-hand", "lost"] {
        let backup = Archive::new(bucket, name);
        ensure!(
            backup.metadata()?["status"]["phase"] == "PartiallyFailed"
                && backup.entries()?.contains_key("metadata/version")
                && backup.json("-results.gz")?["errors"]
                    .to_string()
                    .contains("nowhere"),
            "backup {name} is not whole: {:?}",
            backup.files()?
        );
    }
    Ok(())
}

/// Locations that cannot work are unavailable, with the reason; backups into them are refused.
async fn bad_locations(site: &Site, store: &S3Server) -> Result<()> {
    for (name, bucket, endpoint, key, says) in [
        ("nobody", BUCKET, "http://127.0.0.1:1", None, "127.0.0.1:1"),
        ("no-bucket", "nosuch", "", None, "nosuch"),
        ("wrong-key", BUCKET, "", Some("wrong"), BUCKET),
    ] {
        let mut objects = site::location(name, store, bucket);
        if !endpoint.is_empty() {
            objects[1]["spec"]["config"]["s3Url"] = json!(endpoint);
        }
        if let Some(key) = key {
            let text = store.credentials().replace(S3Server::SECRET_KEY, key);
            objects[0]["stringData"]["cloud"] = json!(text);
        }
        site.kubectl.apply(&objects, &[]).await?;
        let what = format!("location {name} is unavailable");
        let message = eventually(&what, SOON, || async {
            let status = site.object("backupstoragelocations", name).await?["status"].clone();
            let message = status["message"].as_str().unwrap_or_default().to_owned();
            Ok((status["phase"] == "Unavailable").then_some(message))
        })
        .await
        .with_context(|| site.operator.tail())?;
        ensure!(
            message.contains(says) && !message.contains('\n'),
            "location {name} does not say {says:?} in one line: {message}"
        );
        let backup = format!("into-{name}");
        let create = [
            "backup",
            "create",
            &backup,
            "--storage-location",
            name,
            "--wait",
        ];
        let outcome = site.velero.run(&create).await?;
        ensure!(
            outcome.code == Some(1),
            "a backup into location {name} ended with {outcome:?}"
        );
    }
    Ok(())
}

/// Nothing was written to the bucket but the mark of the cluster.
fn ensure_empty(bucket: &Path) -> Result<()> {
    let found = files_below(bucket)?;
    let mut found: Vec<String> = found
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    found.retain(|path| !path.contains("/metadata/x-velero-cluster-"));
    ensure!(found.is_empty(), "left in the bucket: {found:?}");
    Ok(())
}
