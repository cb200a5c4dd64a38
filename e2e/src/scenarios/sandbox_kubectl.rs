//! `velero sandbox` as a cluster: a real kubectl and our command line work against it.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{Assets, Background, Context, Kubectl, Velero};

/// Starts the sandbox and runs the verbs that users begin with.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let folder = cx.scratch().join("sandbox");
    let kubeconfig = folder.join("kubeconfig");
    let velero = Velero::new(cx.velero()?, &kubeconfig, cx.scratch());
    let path = folder.display().to_string();
    let args = ["sandbox", "--folder", &path];
    let log = cx.scratch().join("sandbox.log");
    let sandbox = Background::start(&velero, log, &args, "Ctrl-C ends it.").await?;
    let assets = tokio::task::spawn_blocking(Assets::find_or_build).await??;
    let kubectl = Kubectl::with(&assets.binary("kubectl")?, &kubeconfig);
    let ran = async {
        reads(&kubectl).await?;
        writes(&kubectl).await?;
        deletes(&kubectl).await?;
        command_line(&velero, &kubectl).await
    };
    let ran: Result<()> = ran.await;
    ran.with_context(|| sandbox.tail())?;
    sandbox.stop().await
}

async fn prints(kubectl: &Kubectl, args: &[&str], texts: &[&str]) -> Result<()> {
    let printed = kubectl.ok(args).await?;
    let absent: Vec<&&str> = texts
        .iter()
        .filter(|text| !printed.contains(**text))
        .collect();
    ensure!(
        absent.is_empty(),
        "kubectl {} does not print {absent:?}:\n{printed}",
        args.join(" ")
    );
    Ok(())
}

async fn reads(kubectl: &Kubectl) -> Result<()> {
    prints(
        kubectl,
        &["api-resources"],
        &["deployments", "backups", "velero.io/v1"],
    )
    .await?;
    prints(
        kubectl,
        &["get", "namespaces"],
        &["NAME", "STATUS", "shop", "Active"],
    )
    .await?;
    prints(
        kubectl,
        &["get", "all", "-n", "shop"],
        &["deployment.apps/", "service/"],
    )
    .await?;
    prints(
        kubectl,
        &["get", "deployments", "-n", "shop"],
        &["READY", "AVAILABLE"],
    )
    .await?;
    prints(
        kubectl,
        &["get", "pods", "-A", "-o", "wide"],
        &["NAMESPACE", "NODE"],
    )
    .await?;
    let json = kubectl
        .ok(&["get", "configmaps", "-n", "shop", "-o", "json"])
        .await?;
    let list: Value = serde_json::from_str(&json)?;
    ensure!(list["kind"] == "List", "get -o json gave {list}");
    let name = kubectl
        .ok(&["get", "deployments", "-n", "shop", "-o", "name"])
        .await?;
    let first = name
        .lines()
        .next()
        .context("no Deployment in the sandbox")?;
    prints(
        kubectl,
        &["describe", first, "-n", "shop"],
        &["Name:", "Namespace:", "shop", "Replicas:"],
    )
    .await?;
    prints(
        kubectl,
        &["describe", "namespace", "shop"],
        &["Name:", "Status:"],
    )
    .await
}

async fn writes(kubectl: &Kubectl) -> Result<()> {
    applies(kubectl).await?;
    creates(kubectl).await?;
    reads_back(kubectl).await?;
    let label = "label configmap/made -n scratch color=red";
    kubectl.ok(&words(label)).await?;
    let red = "get configmaps -n scratch -l color=red -o name";
    prints(kubectl, &words(red), &["configmap/made"]).await?;
    patches(kubectl).await?;
    let wait = "wait --for=condition=Available deployment/web -n scratch --timeout=30s";
    kubectl.ok(&words(wait)).await.map(drop)
}

fn words(command: &str) -> Vec<&str> {
    command.split(' ').collect()
}

/// `apply` on both sides, which says what it has done.
async fn applies(kubectl: &Kubectl) -> Result<()> {
    let map = |value: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: applied, namespace: shop}}\ndata: {{a: \"{value}\"}}\n"
        )
    };
    for (command, value, says) in [
        ("apply -f -", "1", "created"),
        ("apply -f -", "2", "configured"),
        ("apply -f -", "2", "unchanged"),
        (
            "apply --server-side --force-conflicts -f -",
            "3",
            "serverside-applied",
        ),
    ] {
        let printed = kubectl.ok_with(&words(command), &map(value)).await?;
        ensure!(
            printed.contains(says),
            "{command} printed {printed:?} in the place of {says:?}"
        );
    }
    Ok(())
}

async fn patches(kubectl: &Kubectl) -> Result<()> {
    for (kind, patch) in [
        ("merge", r#"{"data":{"merged":"1"}}"#),
        ("strategic", r#"{"data":{"strategic":"1"}}"#),
        ("json", r#"[{"op":"add","path":"/data/json","value":"1"}]"#),
    ] {
        let command = format!("patch configmap/made -n scratch --type={kind} -p={patch}");
        kubectl.ok(&words(&command)).await?;
    }
    let data = "get configmap/made -n scratch -o jsonpath={.data}";
    let texts = ["merged", "strategic", "json", "\"k\":\"v\""];
    prints(kubectl, &words(data), &texts).await
}

/// `create` with a file, and its forms for single kinds, which send protobuf.
async fn creates(kubectl: &Kubectl) -> Result<()> {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: scratch}\n---\n\
        apiVersion: v1\nkind: ConfigMap\nmetadata: {name: by-file, namespace: scratch}\ndata: {k: v}\n";
    let printed = kubectl.ok_with(&["create", "-f", "-"], namespace).await?;
    ensure!(
        printed.matches("created").count() == 2,
        "create printed {printed:?}"
    );
    let other = ["create", "namespace", "other"];
    prints(kubectl, &other, &["namespace/other created"]).await?;
    for create in [
        "configmap made --from-literal=k=v",
        "secret generic keys --from-literal=token=not-real",
        "serviceaccount runner",
        "deployment web --image=example.com/web --replicas=2 --port=8080",
        "service clusterip web --tcp=80:8080",
        "job once --image=example.com/job",
        "role reader --verb=get,list --resource=configmaps",
        "rolebinding reader --role=reader --serviceaccount=scratch:runner",
        "quota small --hard=pods=10",
    ] {
        let command = format!("create {create} -n scratch");
        prints(kubectl, &words(&command), &["created"]).await?;
    }
    Ok(())
}

/// What was created has the fields that were asked for.
async fn reads_back(kubectl: &Kubectl) -> Result<()> {
    let container = "{.spec.template.spec.containers[0]";
    let deployment =
        format!("{{.spec.replicas}} {container}.image}} {container}.ports[0].containerPort}}");
    let service = "{.spec.ports[0].port} {.spec.ports[0].targetPort}";
    for (object, path, value) in [
        ("namespace/other", "{.status.phase}", "Active"),
        ("configmap/made", "{.data.k}", "v"),
        ("secret/keys", "{.data.token}", "bm90LXJlYWw="),
        ("serviceaccount/runner", "{.metadata.name}", "runner"),
        (
            "deployment/web",
            deployment.as_str(),
            "2 example.com/web 8080",
        ),
        ("service/web", service, "80 8080"),
        ("rolebinding/reader", "{.subjects[0].name}", "runner"),
        ("resourcequota/small", "{.spec.hard.pods}", "10"),
    ] {
        let output = format!("jsonpath={path}");
        let printed = kubectl
            .ok(&["get", object, "-n", "scratch", "-o", &output])
            .await?;
        ensure!(
            printed.trim() == value,
            "{object} has {printed:?} at {path}, not {value:?}"
        );
    }
    let delete = "delete namespace other --timeout=30s";
    kubectl.ok(&words(delete)).await.map(drop)
}

async fn deletes(kubectl: &Kubectl) -> Result<()> {
    kubectl
        .ok(&["delete", "configmap/made", "-n", "scratch"])
        .await?;
    kubectl
        .ok(&["delete", "namespace", "scratch", "--timeout=30s"])
        .await?;
    let gone = kubectl.run(&["get", "namespace", "scratch"], "").await?;
    ensure!(
        gone.code == Some(1) && gone.stderr.contains("NotFound"),
        "the deleted namespace is still there: {gone:?}"
    );
    Ok(())
}

async fn command_line(velero: &Velero, kubectl: &Kubectl) -> Result<()> {
    let create = [
        "backup",
        "create",
        "first",
        "--include-namespaces",
        "shop",
        "--wait",
    ];
    let printed = velero.ok(&create).await?;
    ensure!(printed.contains("status: Completed"), "{printed}");
    prints(kubectl, &["get", "backups", "-n", "velero"], &["first"]).await?;
    let logs = velero.ok(&["backup", "logs", "first"]).await?;
    ensure!(logs.contains("backup=velero/first"), "{logs}");
    kubectl
        .ok(&["delete", "namespace", "shop", "--timeout=30s"])
        .await?;
    let restore = [
        "restore",
        "create",
        "back",
        "--from-backup",
        "first",
        "--wait",
    ];
    let printed = velero.ok(&restore).await?;
    ensure!(printed.contains("status: Completed"), "{printed}");
    prints(
        kubectl,
        &["get", "deployments", "-n", "shop", "-o", "name"],
        &["deployment.apps/"],
    )
    .await
}
