//! The built program as a child process, and a cluster for it to talk to.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use velero_testkit::{ApiServer, ServingHandle};

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Asserts the exit code and gives stdout.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> String {
        assert_eq!(
            self.code, code,
            "stdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        self.stdout
    }

    /// Asserts that the command failed with one clear line, and gives the line without its beginning.
    #[track_caller]
    pub(crate) fn fails(self) -> String {
        assert_eq!(
            (self.code, self.stdout.as_str()),
            (1, ""),
            "{}",
            self.stderr
        );
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "{}", self.stderr);
        lines[0]
            .strip_prefix("An error occurred: ")
            .unwrap_or_else(|| panic!("{}", lines[0]))
            .to_owned()
    }
}

/// A command of the program, with nothing of the surroundings that could change what it does.
pub(crate) fn command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(home: &Path, args: I) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_velero"));
    command
        .args(args)
        .env_clear()
        .env("HOME", home)
        .env("TZ", "UTC")
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null());
    command
}

/// Runs a command off the async threads, which the server in this process needs.
pub(crate) async fn run(mut command: Command) -> Ran {
    tokio::task::spawn_blocking(move || Ran::of(command.output().unwrap()))
        .await
        .unwrap()
}

/// An API server on a port, a home folder, and a kubeconfig in it.
pub(crate) struct Cluster {
    pub(crate) server: ApiServer,
    pub(crate) home: TempDir,
    _serving: ServingHandle,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let server = ApiServer::new();
        let serving = server.serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let home = TempDir::new().unwrap();
        std::fs::create_dir(home.path().join(".kube")).unwrap();
        std::fs::write(home.path().join(".kube/config"), serving.kubeconfig_yaml()).unwrap();
        Self {
            server,
            home,
            _serving: serving,
        }
    }

    /// A cluster with the definitions and Velero's namespace, and no operator.
    pub(crate) async fn installed() -> Self {
        let cluster = Self::start().await;
        cluster.velero("install --crds-only").await.exits(0);
        let namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: velero}}";
        cluster.server.store().seed(namespace).unwrap();
        cluster
    }

    /// A cluster with a namespace `shop` that holds two ConfigMaps and a Secret.
    pub(crate) async fn with_shop() -> Self {
        let cluster = Self::start().await;
        cluster.server.store().seed(SHOP).unwrap();
        cluster
    }

    pub(crate) fn command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Command {
        command(self.home.path(), args)
    }

    pub(crate) async fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Ran {
        run(self.command(args)).await
    }

    /// Runs a line of words.
    pub(crate) async fn velero(&self, line: &str) -> Ran {
        self.run(line.split(' ')).await
    }
}

const SHOP: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: commerce}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop, labels: {app: web}}
data: {color: blue}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other, namespace: shop}
data: {a: b}
---
apiVersion: v1
kind: Secret
metadata: {name: key, namespace: shop}
stringData: {key: value}
"#;

/// The files below a folder, relative to it, sorted.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    fn walk(root: &Path, folder: &Path, out: &mut Vec<String>) {
        let Ok(entries) = std::fs::read_dir(folder) else {
            return;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, out);
            } else {
                out.push(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    let mut out = Vec::new();
    walk(folder, folder, &mut out);
    out.sort();
    out
}
