//! Files of stores that cannot be reached from where somebody asks for them: the operator passes them on.

use std::net::{IpAddr, UdpSocket};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{
    Context, S3Server, Site, eventually,
    site::{NAMESPACE, POD, SOON, location},
};

const BUCKET: &str = "backups";
const SOURCE: &str = "shop";
const SERVICE: &str = "velero-downloads";
/// A user who may read what the operator passes on, and nothing else.
const READER: &str = "reader";

/// A bucket under an address that leads nowhere, a folder on the operator's machine, and a user without rights.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let store = S3Server::start(cx.scratch().join("s3")).await?;
    let bucket = store.create_bucket(BUCKET)?;
    let mut site = Site::start(cx, "proxied-download", &store, BUCKET).await?;
    let host = address()?;
    pod(&site, host).await?;
    let mut far = location("default", &store, BUCKET).remove(1);
    far["spec"]["config"]["publicUrl"] = json!("http://127.0.0.1:9");
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SOURCE}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "menu", "namespace": SOURCE}, "data": {"pie": "3"}}),
        far,
    ];
    site.kubectl.apply(&objects, &[]).await?;
    site.back_up("b", &["--include-namespaces", SOURCE]).await?;
    let mapped = ["--namespace-mappings", "shop:shop-2"];
    site.restore("r", "b", &mapped).await?;
    ensure!(
        slice(&site).await?.is_none(),
        "it is open though nobody has asked"
    );

    everything(&site, cx, &bucket).await?;
    let slice = eventually("an EndpointSlice", SOON, || slice(&site)).await?;
    ensure!(slice == host.to_string(), "the EndpointSlice holds {slice}");
    rights(&site).await?;
    folder(&site, cx).await?;

    // Another process has another key, and takes over what the killed one has left.
    let old = path(&site, "old", "BackupLog", "b").await?;
    site.kill_operator(cx, "proxied-download-2").await?;
    site.velero.ok(&["backup", "logs", "b"]).await?;
    let refused = site.kubectl.run(&["get", "--raw", &old], "").await?;
    ensure!(
        refused.code != Some(0) && refused.stderr.contains("not by its present process"),
        "{refused:?}"
    );
    site.stop().await
}

/// Every file that the command line asks for, through the operator.
async fn everything(site: &Site, cx: &Context, bucket: &std::path::Path) -> Result<()> {
    let log = site.velero.ok(&["backup", "logs", "b"]).await?;
    ensure!(log.contains("backup=velero/b"), "{log}");
    let described = site.velero.ok(&["backup", "describe", "b", "--details"]);
    ensure!(described.await?.contains("shop/menu"), "no list of items");
    let log = site.velero.ok(&["restore", "logs", "r"]).await?;
    ensure!(log.contains("restore=velero/r"), "{log}");
    let described = site.velero.ok(&["restore", "describe", "r", "--details"]);
    ensure!(described.await?.contains("shop-2/menu"), "no list of items");
    let to = cx.scratch().join("b.tar.gz");
    let output = to.to_str().context("a path that is text")?;
    site.velero
        .ok(&["backup", "download", "b", "-o", output])
        .await?;
    let stored = std::fs::read(bucket.join("backups/b/b.tar.gz"))?;
    ensure!(
        std::fs::read(&to)? == stored,
        "the archive has changed on its way"
    );
    Ok(())
}

/// The right to the Service's proxy decides, and then the path.
async fn rights(site: &Site) -> Result<()> {
    let path = path(site, "rights", "BackupContents", "b").await?;
    let raw = async |user: &str, path: &str| {
        let args = ["get", "--raw", path, "--as", user];
        site.kubectl.run(&args, "").await
    };
    let stranger = raw("stranger", &path).await?;
    ensure!(
        stranger.code != Some(0) && stranger.stderr.contains("services/proxy"),
        "{stranger:?}"
    );
    let objects = [
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": READER, "namespace": NAMESPACE},
            "rules": [{"apiGroups": [""], "resources": ["services/proxy"], "verbs": ["get"],
                "resourceNames": [format!("{SERVICE}:http")]}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": READER, "namespace": NAMESPACE},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": READER},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": READER}]}),
    ];
    site.kubectl.apply(&objects, &[]).await?;
    let allowed = eventually("the reader may read", SOON, || async {
        let read = raw(READER, &path).await?;
        Ok((read.code == Some(0)).then_some(()))
    });
    allowed.await?;
    let forged = raw(READER, &path.replace("/b/", "/c/")).await?;
    ensure!(
        forged.code != Some(0) && forged.stderr.contains("was not given by this server"),
        "{forged:?}"
    );
    Ok(())
}

/// A folder that only the operator has.
async fn folder(site: &Site, cx: &Context) -> Result<()> {
    site.add_folder("folder", &cx.scratch().join("folder"))
        .await?;
    let flags = [
        "--include-namespaces",
        SOURCE,
        "--storage-location",
        "folder",
    ];
    site.back_up("in-folder", &flags).await?;
    let path = path(site, "folder", "BackupResourceList", "in-folder").await?;
    let printed = site.kubectl.run(&["get", "--raw", &path], "").await?;
    ensure!(printed.code == Some(0), "{printed:?}");
    Ok(())
}

/// The path of a file at the API server, by a request for an address at the operator.
async fn path(site: &Site, request: &str, kind: &str, name: &str) -> Result<String> {
    let object = json!({
        "apiVersion": "velero.io/v1", "kind": "DownloadRequest",
        "metadata": {"name": request, "namespace": NAMESPACE,
            "annotations": {"x.velero.io/through": "server"}},
        "spec": {"target": {"kind": kind, "name": name}},
    });
    site.kubectl.apply(&[object], &[]).await?;
    let url = eventually("an address", SOON, || async {
        let request = site.object("downloadrequests", request).await?;
        Ok(request["status"]["downloadURL"].as_str().map(str::to_owned))
    });
    let url = url.await.with_context(|| site.operator.tail())?;
    let path = url.strip_prefix("https://kubernetes.default.svc");
    Ok(path.context(url.clone())?.to_owned())
}

/// The address in the EndpointSlice of the operator's Service, if there is one.
async fn slice(site: &Site) -> Result<Option<String>> {
    let label = format!("kubernetes.io/service-name={SERVICE}");
    let get = [
        "get",
        "endpointslices",
        "-n",
        NAMESPACE,
        "-l",
        &label,
        "-o",
        "json",
    ];
    let slices: Value = serde_json::from_str(&site.kubectl.ok(&get).await?)?;
    let address = &slices["items"][0]["endpoints"][0]["addresses"][0];
    Ok(address.as_str().map(str::to_owned))
}

/// The Pod that the operator is, at the address of this machine.
async fn pod(site: &Site, host: IpAddr) -> Result<()> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": POD, "namespace": NAMESPACE},
        // Nobody schedules it, so that nobody gives it another address.
        "spec": {"schedulerName": "nobody", "containers": [{"name": "velero", "image": "velero"}]},
    });
    site.kubectl.apply(&[pod], &[]).await?;
    let status = json!({"status": {"podIP": host, "podIPs": [{"ip": host}]}}).to_string();
    let patch = [
        "patch",
        "pod",
        POD,
        "-n",
        NAMESPACE,
        "--subresource",
        "status",
        "-p",
        &status,
    ];
    site.kubectl.ok(&patch).await.map(drop)
}

/// An address of this machine to which the API server may proxy: not a loopback one.
fn address() -> Result<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // Nothing is sent; it is only looked which way it would take.
    socket
        .connect("198.51.100.1:9")
        .context("this machine has no address but its own")?;
    match socket.local_addr()?.ip() {
        ip if ip.is_loopback() => bail!("this machine has no address but {ip}"),
        ip => Ok(ip),
    }
}
