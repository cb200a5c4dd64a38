//! etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kwok as local processes.

mod assets;
mod certs;
mod options;
mod process;
mod setup;
mod stale;

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

pub use self::assets::Assets;
pub(crate) use self::assets::cache_dir;
pub use self::options::{Component, Options};
use self::{certs::Authority, process::Process};
use crate::AuditLog;

/// User agent of [`ControlPlane::client`]; tells our own calls from those under test in the audit log.
const USER_AGENT: &str = "velero-e2e";
/// Ports are chosen before the servers bind them; another program can take one meanwhile.
const ATTEMPTS: usize = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// A running control plane; its processes end and its folder goes when it is dropped.
#[derive(Debug)]
pub struct ControlPlane {
    // Killed from the last to the first: clients before servers.
    processes: Vec<Process>,
    authority: Authority,
    assets: Assets,
    options: Options,
    ports: Ports,
    dir: PathBuf,
    kubeconfig: PathBuf,
    next_user: AtomicU32,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    etcd: u16,
    apiserver: u16,
    kwok: u16,
}

impl ControlPlane {
    /// Starts a control plane and returns when it is ready for use.
    ///
    /// Ready means: `/readyz` is ok, with controllers the `default` ServiceAccount exists,
    /// with kwok the nodes are Ready and the default StorageClass is there.
    ///
    /// # Errors
    /// When a binary is missing or cannot be built, or a process ends or is not ready within
    /// [`Options::ready_timeout`]; the text names the process and shows the end of its log.
    pub async fn start(options: Options) -> Result<Self> {
        let assets = tokio::task::spawn_blocking(Assets::find_or_build).await??;
        let base = options.base_dir();
        stale::sweep(&base);
        let mut attempt = 1;
        loop {
            match Self::try_start(options.clone(), assets.clone(), &base).await {
                Ok(plane) => return Ok(plane),
                Err(err)
                    if attempt < ATTEMPTS
                        && format!("{err:#}").contains("address already in use") =>
                {
                    attempt += 1
                }
                Err(err) => return Err(err),
            }
        }
    }

    async fn try_start(options: Options, assets: Assets, base: &Path) -> Result<Self> {
        let dir = stale::new_folder(base)?;
        let [etcd, apiserver, kwok] = free_ports()?;
        let authority = Authority::create(&dir)?;
        let mut plane = Self {
            processes: Vec::new(),
            authority,
            assets,
            options,
            ports: Ports {
                etcd,
                apiserver,
                kwok,
            },
            kubeconfig: dir.join("admin.kubeconfig"),
            dir,
            next_user: AtomicU32::new(0),
        };
        plane.write_kubeconfig(
            "admin.kubeconfig",
            "velero-e2e-admin",
            Some("system:masters"),
        )?;
        plane.bring_up().await?;
        Ok(plane)
    }

    async fn bring_up(&mut self) -> Result<()> {
        let deadline = Instant::now() + self.options.ready_timeout;
        self.spawn(Component::Etcd)?;
        self.spawn(Component::ApiServer)?;
        let client = self.client().await?;
        self.wait(deadline, "kube-apiserver is not ready", || {
            setup::ready(&client)
        })
        .await?;
        if self.options.controllers {
            self.write_kubeconfig(
                "controller-manager.kubeconfig",
                "system:kube-controller-manager",
                None,
            )?;
            self.spawn(Component::ControllerManager)?;
        }
        if self.options.scheduler {
            self.write_kubeconfig("scheduler.kubeconfig", "system:kube-scheduler", None)?;
            self.spawn(Component::Scheduler)?;
        }
        if self.options.nodes > 0 {
            let path = self.dir.join("kwok.yaml");
            let text = self.assets.kwok_stages()? + setup::KWOK_EXEC;
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            self.spawn(Component::Kwok)?;
            setup::storage_class(&client).await?;
            setup::nodes(&client, self.options.nodes).await?;
            let nodes = self.options.nodes;
            self.wait(deadline, "kwok: nodes are not Ready", || {
                setup::nodes_ready(&client, nodes)
            })
            .await?;
        }
        if self.options.controllers {
            self.wait(
                deadline,
                "kube-controller-manager: no ServiceAccount in namespace default",
                || setup::default_account(&client),
            )
            .await?;
        }
        Ok(())
    }

    /// Path of the kubeconfig of a cluster administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Address of the API server.
    #[must_use]
    pub fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.apiserver)
    }

    /// Address of etcd, without TLS.
    #[must_use]
    pub fn etcd(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.etcd)
    }

    /// Folder of logs, certificates and data.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Path of `kubectl` of the same version.
    pub fn kubectl(&self) -> Result<PathBuf> {
        self.assets.binary("kubectl")
    }

    /// A client with all rights; its user agent is `velero-e2e`.
    pub async fn client(&self) -> Result<Client> {
        client_for(&self.kubeconfig, USER_AGENT).await
    }

    /// A client with all rights and the given user agent.
    pub async fn client_as(&self, user_agent: &str) -> Result<Client> {
        client_for(&self.kubeconfig, user_agent).await
    }

    /// Writes a kubeconfig for another user and returns its path.
    ///
    /// RBAC is real: without a binding the user may do nothing.
    pub fn kubeconfig_for(&self, user: &str, group: Option<&str>) -> Result<PathBuf> {
        self.write_kubeconfig(&self.next_kubeconfig(), user, group)
    }

    /// Writes a kubeconfig for the bearer of a token, such as that of a ServiceAccount, and returns its path.
    pub fn kubeconfig_with_token(&self, token: &str) -> Result<PathBuf> {
        let text = self
            .authority
            .kubeconfig_with_token(&self.server(), token)?;
        self.write(&self.next_kubeconfig(), &text)
    }

    /// The audit log; `None` when [`Options::audit`] is off.
    #[must_use]
    pub fn audit(&self) -> Option<AuditLog> {
        self.options
            .audit
            .then(|| AuditLog::new(self.dir.join("audit.log")))
    }

    /// Process id of a component while it runs.
    #[must_use]
    pub fn pid(&self, component: Component) -> Option<u32> {
        self.processes
            .iter()
            .find(|process| process.name() == component.name())
            .and_then(Process::id)
    }

    /// Kills one component, for outages; [`ControlPlane::restart`] brings it back.
    pub fn kill(&mut self, component: Component) {
        for process in &mut self.processes {
            if process.name() == component.name() {
                process.kill();
            }
        }
    }

    /// Asks one component to end, as a node that is drained does, and waits until it has; [`ControlPlane::restart`] brings
    /// it back.
    ///
    /// # Errors
    /// When it does not end within [`Options::ready_timeout`].
    pub async fn terminate(&mut self, component: Component) -> Result<()> {
        let deadline = Instant::now() + self.options.ready_timeout;
        for process in &mut self.processes {
            if process.name() != component.name() {
                continue;
            }
            process.ask_to_end()?;
            while !process.has_ended()? {
                if Instant::now() >= deadline {
                    bail!("{} does not end:\n{}", process.name(), process.tail());
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// Starts a killed component again on the same port and data, and waits for `/readyz`.
    pub async fn restart(&mut self, component: Component) -> Result<()> {
        for process in &mut self.processes {
            if process.name() == component.name() {
                process.restart()?;
            }
        }
        let client = self.client().await?;
        let deadline = Instant::now() + self.options.ready_timeout;
        self.wait(deadline, "kube-apiserver is not ready", || {
            setup::ready(&client)
        })
        .await
    }

    /// Ends all processes, waits until they are gone and removes the folder.
    ///
    /// Dropping does the same, and blocks while it does.
    pub async fn stop(self) {
        let _panicked = tokio::task::spawn_blocking(move || drop(self)).await;
    }

    fn spawn(&mut self, component: Component) -> Result<()> {
        let name = component.name();
        let program = self.assets.binary(name)?;
        let args = options::arguments(component, &self.options, self.ports, &self.dir)?;
        self.processes
            .push(Process::start(name, &program, args, &self.dir)?);
        Ok(())
    }

    fn next_kubeconfig(&self) -> String {
        let n = self.next_user.fetch_add(1, Ordering::Relaxed);
        format!("user-{n}.kubeconfig")
    }

    fn write_kubeconfig(&self, file: &str, user: &str, group: Option<&str>) -> Result<PathBuf> {
        let text = self.authority.kubeconfig(&self.server(), user, group)?;
        self.write(file, &text)
    }

    fn write(&self, file: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir.join(file);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Waits for `check`, watching that every process still runs.
    async fn wait<F, Fut>(&mut self, deadline: Instant, what: &str, mut check: F) -> Result<()>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<bool>>,
    {
        loop {
            for process in &mut self.processes {
                if let Some(failure) = process.failure() {
                    bail!("{failure}");
                }
            }
            let last = match tokio::time::timeout(Duration::from_secs(5), check()).await {
                Ok(Ok(true)) => return Ok(()),
                Ok(Ok(false)) => "not yet".to_owned(),
                Ok(Err(err)) => format!("{err:#}"),
                Err(_) => "no answer in 5 s".to_owned(),
            };
            if Instant::now() >= deadline {
                let suspect = self
                    .processes
                    .iter()
                    .rev()
                    .find(|process| what.starts_with(process.name()));
                let tail = suspect.map(Process::tail).unwrap_or_default();
                bail!(
                    "{what} after {:?}: {last}; the end of its log:\n{tail}",
                    self.options.ready_timeout
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        while let Some(process) = self.processes.pop() {
            drop(process);
        }
        if self.options.keep {
            stale::keep(&self.dir);
        } else {
            let _left_for_the_next_sweep = fs::remove_dir_all(&self.dir);
        }
    }
}

async fn client_for(kubeconfig: &Path, user_agent: &str) -> Result<Client> {
    let config = Kubeconfig::read_from(kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    config.headers.push((
        http::header::USER_AGENT,
        http::HeaderValue::from_str(user_agent)?,
    ));
    Ok(Client::try_from(config)?)
}

/// Ports that were free a moment ago; held together so that they differ.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port on 127.0.0.1")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
