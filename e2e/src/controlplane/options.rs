//! What a control plane consists of, and the command lines that follow from it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};

use super::Ports;

/// What to start, and how.
///
/// ```
/// use velero_e2e::Options;
/// let options = Options { nodes: 1, audit: false, ..Options::default() };
/// assert!(options.controllers);
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    /// Start kube-controller-manager: garbage collector, PV binder, Deployments, ServiceAccounts. Default: true.
    pub controllers: bool,
    /// Start kube-scheduler. Default: true.
    pub scheduler: bool,
    /// Nodes that kwok plays; 0 starts no kwok. Default: 3.
    pub nodes: usize,
    /// Write an audit log at level Metadata; costs the API server some throughput. Default: true.
    pub audit: bool,
    /// Let etcd sync to disk; only useful when `base_dir` is a disk. Default: false.
    pub fsync: bool,
    /// Further arguments of kube-apiserver, for example `--enable-admission-plugins=...`.
    pub apiserver_args: Vec<String>,
    /// How long all components together may take to get ready. Default: 2 minutes.
    pub ready_timeout: Duration,
    /// Folder in which the control plane makes its own. Default: `/dev/shm`, else the folder for temporary files.
    pub base_dir: Option<PathBuf>,
    /// Leave logs and data behind for a look. Default: false.
    pub keep: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            controllers: true,
            scheduler: true,
            nodes: 3,
            audit: true,
            fsync: false,
            apiserver_args: Vec::new(),
            ready_timeout: Duration::from_secs(120),
            base_dir: None,
            keep: false,
        }
    }
}

impl Options {
    /// Only etcd and kube-apiserver, without an audit log.
    #[must_use]
    pub fn bare() -> Self {
        Self {
            controllers: false,
            scheduler: false,
            nodes: 0,
            audit: false,
            ..Self::default()
        }
    }

    pub(super) fn base_dir(&self) -> PathBuf {
        let memory = Path::new("/dev/shm");
        match &self.base_dir {
            Some(dir) => dir.clone(),
            None if memory.is_dir() => memory.to_owned(),
            None => std::env::temp_dir(),
        }
    }
}

/// One process of a control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Component {
    /// The store of the API server.
    Etcd,
    /// The API server.
    ApiServer,
    /// The built-in controllers.
    ControllerManager,
    /// Binds pods to nodes.
    Scheduler,
    /// Plays the nodes.
    Kwok,
}

impl Component {
    /// All components.
    pub const ALL: [Self; 5] = [
        Self::Etcd,
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kwok,
    ];

    /// Name of the binary.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kwok => "kwok",
        }
    }
}

/// RequestReceived and ResponseStarted would count a call twice.
const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy",
 "omitStages": ["RequestReceived", "ResponseStarted"], "rules": [{"level": "Metadata"}]}"#;

/// Command line of a component.
pub(super) fn arguments(
    component: Component,
    options: &Options,
    ports: Ports,
    dir: &Path,
) -> Result<Vec<String>> {
    let file = |name: &str| dir.join(name).display().to_string();
    Ok(match component {
        Component::Etcd => etcd(options, ports, &file("etcd")),
        Component::ApiServer => apiserver(options, ports, dir)?,
        Component::ControllerManager => vec![
            format!("--kubeconfig={}", file("controller-manager.kubeconfig")),
            format!("--service-account-private-key-file={}", file("sa.key")),
            format!("--root-ca-file={}", file("ca.crt")),
            "--use-service-account-credentials=true".to_owned(),
            "--leader-elect=false".to_owned(),
            // Not served: several control planes run side by side.
            "--secure-port=0".to_owned(),
        ],
        Component::Scheduler => vec![
            format!("--kubeconfig={}", file("scheduler.kubeconfig")),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ],
        Component::Kwok => vec![
            format!("--kubeconfig={}", file("admin.kubeconfig")),
            format!("--config={}", file("kwok.yaml")),
            "--manage-all-nodes=true".to_owned(),
            "--node-ip=127.0.0.1".to_owned(),
            format!("--node-port={}", ports.kwok),
            format!("--server-address=127.0.0.1:{}", ports.kwok),
            format!("--tls-cert-file={}", file("server.crt")),
            format!("--tls-private-key-file={}", file("server.key")),
        ],
    })
}

fn etcd(options: &Options, ports: Ports, data: &str) -> Vec<String> {
    let mut args = vec![
        format!("--data-dir={data}"),
        format!("--listen-client-urls=http://127.0.0.1:{}", ports.etcd),
        format!("--advertise-client-urls=http://127.0.0.1:{}", ports.etcd),
        "--listen-peer-urls=http://127.0.0.1:0".to_owned(),
        "--quota-backend-bytes=4294967296".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    if !options.fsync {
        args.push("--unsafe-no-fsync".to_owned());
    }
    args
}

fn apiserver(options: &Options, ports: Ports, dir: &Path) -> Result<Vec<String>> {
    let file = |name: &str| dir.join(name).display().to_string();
    let mut args = vec![
        format!("--etcd-servers=http://127.0.0.1:{}", ports.etcd),
        format!("--secure-port={}", ports.apiserver),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--tls-cert-file={}", file("server.crt")),
        format!("--tls-private-key-file={}", file("server.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--service-account-key-file={}", file("sa.pub")),
        format!("--service-account-signing-key-file={}", file("sa.key")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--service-cluster-ip-range=10.0.0.0/16".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        "--allow-privileged=true".to_owned(),
    ];
    if options.audit {
        let policy = dir.join("audit-policy.json");
        fs::write(&policy, AUDIT_POLICY)
            .with_context(|| format!("cannot write {}", policy.display()))?;
        args.push(format!("--audit-policy-file={}", policy.display()));
        args.push(format!("--audit-log-path={}", file("audit.log")));
        // Rotation would hide calls from the reader.
        args.push("--audit-log-maxsize=16384".to_owned());
    }
    args.extend(options.apiserver_args.iter().cloned());
    Ok(args)
}
