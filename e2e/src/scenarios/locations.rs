//! Locations that go bad and come back, credentials that change, and what is said of locations that cannot work.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    Context, S3Server, Site, eventually,
    site::{NAMESPACE, SOON, location},
};

const BUCKET: &str = "backups";
const SOURCE: &str = "shop";

/// One location through bad days, then many that never work.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let store = S3Server::start(cx.scratch().join("s3")).await?;
    let bucket = store.create_bucket(BUCKET)?;
    let site = Site::start(cx, "locations", &store, BUCKET).await?;
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SOURCE}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "menu", "namespace": SOURCE}, "data": {"pie": "3"}}),
    ];
    site.kubectl.apply(&objects, &[]).await?;
    site.back_up("before", &["--include-namespaces", SOURCE])
        .await?;

    let away = cx.scratch().join("away");
    std::fs::rename(&bucket, &away)?;
    unavailable(&site, "default", &["does not exist", BUCKET]).await?;
    refused(&site, "away").await?;
    std::fs::rename(&away, &bucket)?;
    site.available("default").await?;
    site.back_up("after", &["--include-namespaces", SOURCE])
        .await?;
    // What was there all the time has not been taken for deleted.
    site.object("backups", "before").await?;

    rotate(&site, "AKWRONG", "wrong").await?;
    unavailable(&site, "default", &["access"]).await?;
    let right = location("default", &store, BUCKET);
    site.kubectl.apply(&right[..1], &[]).await?;
    site.available("default").await?;
    site.back_up("rotated", &["--include-namespaces", SOURCE])
        .await?;
    site.velero
        .ok(&["backup", "logs", "rotated"])
        .await
        .context("the log cannot be fetched with the new credentials")?;
    table(&site, &store).await?;
    site.stop().await
}

/// Gives the location other credentials.
async fn rotate(site: &Site, key: &str, secret: &str) -> Result<()> {
    let file = format!("[default]\naws_access_key_id={key}\naws_secret_access_key={secret}\n");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "default-credentials", "namespace": NAMESPACE},
        "stringData": {"cloud": file},
    });
    site.kubectl.apply(&[secret], &[]).await
}

/// Waits until the operator calls a location unavailable, for a reason with these words.
async fn unavailable(site: &Site, name: &str, words: &[&str]) -> Result<()> {
    let what = format!("location {name} is unavailable: {words:?}");
    let waited = eventually(&what, SOON, || async {
        let location = site.object("backupstoragelocations", name).await?;
        let status = &location["status"];
        let message = status["message"]
            .as_str()
            .unwrap_or_default()
            .to_lowercase();
        let is_said = words
            .iter()
            .all(|word| message.contains(&word.to_lowercase()));
        let is_told = status["phase"] == "Unavailable" && is_said;
        if status["phase"] == "Unavailable" && !is_said {
            anyhow::bail!("{name}: it is said to be {message:?}, without {words:?}");
        }
        Ok(is_told.then_some(()))
    });
    waited.await.with_context(|| site.operator.tail())
}

/// Checks that a backup into the default location fails validation.
async fn refused(site: &Site, name: &str) -> Result<()> {
    let create = ["backup", "create", name, "--wait"];
    site.velero.run(&create).await?;
    let backup = site.object("backups", name).await?;
    let status = &backup["status"];
    ensure!(
        status["phase"] == "FailedValidation"
            && status["validationErrors"]
                .to_string()
                .contains("is Unavailable"),
        "{status}"
    );
    Ok(())
}

/// What is wrong with a location: its name, how its spec is changed, and words of what is said of it.
type Fault = (&'static str, fn(&mut Value), &'static [&'static str]);

/// Locations that cannot work, each with what is said of it.
async fn table(site: &Site, store: &S3Server) -> Result<()> {
    let spec = |change: fn(&mut Value)| {
        let mut location = location("template", store, BUCKET).remove(1);
        location["spec"]["credential"]["name"] = json!("default-credentials");
        change(&mut location["spec"]);
        location
    };
    let table: [Fault; 9] = [
        (
            "no-bucket",
            |spec| spec["objectStorage"]["bucket"] = json!("nowhere"),
            &["nowhere", "does not exist"],
        ),
        (
            "no-provider",
            |spec| spec["provider"] = json!("tape"),
            &["tape"],
        ),
        (
            "no-secret",
            |spec| spec["credential"]["name"] = json!("nothing"),
            &["nothing", "does not exist"],
        ),
        (
            "no-key",
            |spec| spec["credential"]["key"] = json!("rain"),
            &["no key", "rain"],
        ),
        (
            "unknown-setting",
            |spec| spec["config"]["colour"] = json!("red"),
            &["colour"],
        ),
        (
            "bad-setting",
            |spec| spec["config"]["s3ForcePathStyle"] = json!("perhaps"),
            &["s3ForcePathStyle", "perhaps"],
        ),
        (
            "bad-checksum",
            |spec| spec["config"]["checksumAlgorithm"] = json!("MD4"),
            &["checksumAlgorithm", "MD4"],
        ),
        (
            "two-certificates",
            |spec| {
                spec["objectStorage"]["caCert"] = json!("YQ==");
                spec["objectStorage"]["caCertRef"] = json!({"name": "a", "key": "b"});
            },
            &["both set"],
        ),
        (
            "nobody-there",
            |spec| spec["config"]["s3Url"] = json!("http://127.0.0.1:1"),
            &["127.0.0.1:1"],
        ),
    ];
    for (name, change, words) in table {
        let mut location = spec(change);
        location["metadata"]["name"] = json!(name);
        location["spec"]["default"] = json!(false);
        site.kubectl.apply(&[location], &[]).await?;
        unavailable(site, name, words).await?;
    }
    // None of them has disturbed the good one.
    site.available("default").await
}
