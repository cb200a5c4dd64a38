//! A control plane on which Velero is installed: definitions, namespace, location, running operator.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use kube::Client;
use serde_json::{Value, json};

use crate::{
    AuditFilter, Background, Context, ControlPlane, Kubectl, Options, S3Server, Velero, eventually,
};

/// Namespace of the operator.
pub(crate) const NAMESPACE: &str = "velero";
/// User that the command line is, and the operator when it is no ServiceAccount; all that it calls is ours.
const USER: &str = "velero-user";
/// The ServiceAccount that the peer's installer makes for the operator, as the API server calls it.
pub(crate) const ACCOUNT: &str = "system:serviceaccount:velero:velero";
/// The variable that tells an operator the name of its pod, by which it takes its Lease back at once.
const POD_NAME: &str = "POD_NAME";
/// The pod of operators that are the only one.
pub(crate) const POD: &str = "velero-0";
/// How our user agent begins.
const AGENT: &str = "velero/";
/// How long single steps of the operator may take.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// One cluster with an operator of ours.
pub struct Site {
    /// The command line against this cluster.
    pub velero: Velero,
    /// `kubectl` against this cluster.
    pub kubectl: Kubectl,
    /// The operator.
    pub operator: Background,
    /// All rights, not the operator's.
    pub client: Client,
    // After the operator, which would complain about its loss.
    plane: ControlPlane,
}

impl Site {
    /// Starts a control plane and installs Velero on it, with `bucket` as its default location.
    pub async fn start(cx: &Context, name: &str, store: &S3Server, bucket: &str) -> Result<Self> {
        let plane = cx.control_plane(Options::default()).await?;
        Self::install(cx, name, plane, store, bucket).await
    }

    /// Installs Velero on a control plane, with `bucket` as its default location. The operator may do everything.
    pub async fn install(
        cx: &Context,
        name: &str,
        plane: ControlPlane,
        store: &S3Server,
        bucket: &str,
    ) -> Result<Self> {
        Self::install_as(cx, name, plane, store, bucket, Identity::Administrator).await
    }

    /// The same with an operator of another identity.
    pub(crate) async fn install_as(
        cx: &Context,
        name: &str,
        plane: ControlPlane,
        store: &S3Server,
        bucket: &str,
        identity: Identity,
    ) -> Result<Self> {
        let user = plane.kubeconfig_for(USER, Some("system:masters"))?;
        let velero = Velero::new(cx.velero()?, &user, cx.scratch());
        let kubectl = Kubectl::new(&plane)?;
        velero.ok(&["install", "--crds-only"]).await?;
        let mut objects =
            vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})];
        objects.extend(location("default", store, bucket));
        kubectl.apply(&objects, &[]).await?;
        let server = match identity {
            Identity::Administrator => velero.clone(),
            Identity::ServiceAccount => {
                account(&kubectl).await?;
                as_account(&velero, &plane, &kubectl).await?
            }
            Identity::With(rights) => {
                velero.ok(&[&["install"], rights].concat()).await?;
                as_account(&velero, &plane, &kubectl).await?
            }
        };
        let server = server.env(POD_NAME, POD);
        let operator = Background::operator(&server, log(cx, name), FLAGS).await?;
        let site = Self {
            client: plane.client().await?,
            velero,
            kubectl,
            operator,
            plane,
        };
        site.available("default").await?;
        Ok(site)
    }

    /// Kills the operator and starts another one, which logs to a file of this name. They may do everything.
    pub(crate) async fn kill_operator(&mut self, cx: &Context, name: &str) -> Result<()> {
        self.restart(cx, name, FLAGS).await
    }

    /// The same with an operator that leaves some controllers to another one.
    pub(crate) async fn without_controllers(
        &mut self,
        cx: &Context,
        name: &str,
        controllers: &str,
    ) -> Result<()> {
        let flags = [FLAGS, &["--disable-controllers", controllers]].concat();
        self.restart(cx, name, &flags).await
    }

    /// The same with an operator that has these flags.
    pub(crate) async fn restart(&mut self, cx: &Context, name: &str, flags: &[&str]) -> Result<()> {
        self.operator.kill().await?;
        let server = self.velero.clone().env(POD_NAME, POD);
        self.operator = Background::operator(&server, log(cx, name), flags).await?;
        Ok(())
    }

    /// Another operator, with all rights: `name` is its user and its pod, and stands in the name of its log.
    pub(crate) async fn another_operator(&self, cx: &Context, name: &str) -> Result<Background> {
        let user = self.plane.kubeconfig_for(name, Some("system:masters"))?;
        let server = self.velero.clone().kubeconfig(&user).env(POD_NAME, name);
        Background::operator(&server, log(cx, name), FLAGS).await
    }

    /// The control plane.
    #[must_use]
    pub fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// The control plane, to kill parts of it.
    pub(crate) fn plane_mut(&mut self) -> &mut ControlPlane {
        &mut self.plane
    }

    /// Checks that each call of ours carries our user agent and each write a field manager; gives the number of writes.
    pub fn check_writes(&self) -> Result<usize> {
        let audit = self.plane.audit().context("no audit log")?;
        let mut writes = 0;
        for user in [USER, ACCOUNT] {
            let all = AuditFilter::of_user(user);
            let calls = audit.events(&all)?;
            if let Some(other) = calls
                .iter()
                .find(|call| !call.user_agent.starts_with(AGENT))
            {
                bail!("a call of ours does not call itself {AGENT}...: {other:?}");
            }
            let nameless = audit.writes_without_field_manager(&all)?;
            ensure!(
                nameless.is_empty(),
                "writes without a field manager: {nameless:?}"
            );
            writes += calls.iter().filter(|call| call.is_write()).count();
        }
        Ok(writes)
    }

    /// Waits until the operator calls a location available.
    pub async fn available(&self, name: &str) -> Result<()> {
        let what = format!("location {name} is available");
        let waited = eventually(&what, SOON, || async {
            let location = self.object("backupstoragelocations", name).await?;
            Ok((location["status"]["phase"] == "Available").then_some(()))
        });
        waited.await.with_context(|| self.operator.tail())
    }

    /// Adds a location in a folder of the operator's machine, whose bucket is the folder `x` in that.
    pub(crate) async fn add_folder(&self, name: &str, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder.join("x"))?;
        let location = json!({
            "apiVersion": "velero.io/v1", "kind": "BackupStorageLocation",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"provider": "filesystem", "objectStorage": {"bucket": "x"}, "config": {"fspath": folder}},
        });
        self.kubectl.apply(&[location], &[]).await?;
        self.available(name).await
    }

    /// Waits until the operator has found a backup in the store.
    pub async fn synchronised(&self, backup: &str) -> Result<Value> {
        let what = format!("backup {backup} is found by synchronisation");
        let waited = eventually(&what, SOON, || async {
            Ok(Some(self.object("backups", backup).await?))
        });
        waited.await.with_context(|| self.operator.tail())
    }

    /// Waits until one of the operator's custom resources is gone.
    pub async fn gone(&self, plural: &str, name: &str) -> Result<()> {
        let what = format!("{plural} {name} is gone");
        let waited = eventually(&what, SOON, || async {
            match self.object(plural, name).await {
                Err(err) if err.to_string().contains("not found") => Ok(Some(())),
                Err(err) => Err(err),
                Ok(_) => Ok(None),
            }
        });
        waited.await.with_context(|| self.operator.tail())
    }

    /// Reads one of the operator's custom resources.
    pub async fn object(&self, plural: &str, name: &str) -> Result<Value> {
        let path = format!("/apis/velero.io/v1/namespaces/{NAMESPACE}/{plural}/{name}");
        let request = http::Request::get(path).body(Vec::new())?;
        Ok(self.client.request(request).await?)
    }

    /// Creates a backup by the command line, waits for it, and checks that it is complete.
    pub async fn back_up(&self, name: &str, flags: &[&str]) -> Result<Value> {
        let args = [&["backup", "create", name, "--wait"], flags].concat();
        let ran = self.velero.ok(&args).await;
        let printed = self.explained(ran, "backup", name).await?;
        ensure!(
            printed.contains("Backup completed with status: Completed"),
            "unexpected: {printed}"
        );
        self.object("backups", name).await
    }

    /// Creates a restore by the command line, waits for it, and checks that it is complete.
    pub async fn restore(&self, name: &str, backup: &str, flags: &[&str]) -> Result<Value> {
        let create = ["restore", "create", name, "--from-backup", backup, "--wait"];
        let args = [&create[..], flags].concat();
        let ran = self.velero.ok(&args).await;
        let printed = self.explained(ran, "restore", name).await?;
        ensure!(
            printed.contains("Restore completed with status: Completed"),
            "unexpected: {printed}"
        );
        self.object("restores", name).await
    }

    /// A failed run with what `describe` and the operator say about it.
    async fn explained(&self, ran: Result<String>, kind: &str, name: &str) -> Result<String> {
        let Err(err) = ran else { return ran };
        let details = self
            .velero
            .run(&[kind, "describe", name, "--details"])
            .await
            .map(|outcome| outcome.stdout);
        Err(err.context(format!(
            "{}\n{}",
            details.unwrap_or_default(),
            self.operator.tail()
        )))
    }

    /// Checks what it has written, stops the operator as a user would, then the control plane.
    pub async fn stop(self) -> Result<()> {
        self.check_writes()?;
        self.operator.stop().await?;
        self.plane.stop().await;
        Ok(())
    }
}

/// Who the operator is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity {
    /// A user to whom the API server forbids nothing.
    Administrator,
    /// The ServiceAccount `velero` with the rights that the peer's installer gives it, by its token.
    ServiceAccount,
    /// The same with the rights that our installer gives it by these flags.
    With(&'static [&'static str]),
}

/// The program as the operator's ServiceAccount, by a token of it.
async fn as_account(velero: &Velero, plane: &ControlPlane, kubectl: &Kubectl) -> Result<Velero> {
    let create = ["create", "token", "velero", "-n", NAMESPACE];
    let token = kubectl.ok(&create).await?;
    let kubeconfig = plane.kubeconfig_with_token(token.trim())?;
    Ok(velero.clone().kubeconfig(&kubeconfig))
}

/// Makes the operator's ServiceAccount with its rights.
async fn account(kubectl: &Kubectl) -> Result<()> {
    let objects = [
        json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "velero", "namespace": NAMESPACE, "labels": {"component": "velero"}}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "velero", "labels": {"component": "velero"}},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "velero", "namespace": NAMESPACE}]}),
    ];
    kubectl.apply(&objects, &[]).await
}

/// Short periods, so that no scenario waits for a minute.
const FLAGS: &[&str] = &[
    "--backup-sync-period",
    "2s",
    "--store-validation-frequency",
    "5s",
    "--garbage-collection-frequency",
    "2s",
];

/// The default location as users of the AWS plugin write it, and the Secret it names.
#[must_use]
pub(crate) fn location(name: &str, store: &S3Server, bucket: &str) -> Vec<Value> {
    let secret = format!("{name}-credentials");
    vec![
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": secret, "namespace": NAMESPACE},
            "stringData": {"cloud": store.credentials()},
        }),
        json!({
            "apiVersion": "velero.io/v1", "kind": "BackupStorageLocation",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "provider": "aws",
                "default": name == "default",
                "objectStorage": {"bucket": bucket},
                "credential": {"name": secret, "key": "cloud"},
                "config": {
                    "region": S3Server::REGION,
                    "s3ForcePathStyle": "true",
                    "s3Url": store.endpoint(),
                    "checksumAlgorithm": "",
                },
            },
        }),
    ]
}

fn log(cx: &Context, name: &str) -> PathBuf {
    cx.scratch().join(format!("operator-{name}.log"))
}
