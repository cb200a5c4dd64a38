//! Pods with hooks that write a journal, one for each way in which hooks go.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::Kubectl;

/// Namespace of the pods.
pub(super) const SPACE: &str = "hooked";
/// A node of kwok's, and one whose commands a kubelet of ours runs.
pub(super) const KWOK: &str = "node-0";
pub(super) const REAL: &str = "node-2";
/// Bytes that the hook of pod `loud` prints.
pub(super) const NOISE: usize = 100_000;

/// Makes commands that write into a journal.
#[derive(Debug, Clone)]
pub(super) struct Journal(pub(super) PathBuf);

impl Journal {
    /// A command that notes time, text and, on a node that tells it, the container.
    pub(super) fn note(&self, text: &str) -> Value {
        self.shell("", text, "")
    }

    /// The same between other commands.
    pub(super) fn shell(&self, before: &str, text: &str, after: &str) -> Value {
        let path = self.0.display();
        let note = format!("echo \"$(date +%s%N) {text} $CONTAINER\" >> {path}");
        json!(["sh", "-c", format!("{before}{note}{after}")])
    }

    /// What was noted, in order: time, text and container.
    pub(super) fn lines(&self) -> anyhow::Result<Vec<(u64, String)>> {
        let text = match std::fs::read_to_string(&self.0) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        text.lines()
            .map(|line| {
                let (time, text) = line.split_once(' ').unwrap_or((line, ""));
                Ok((time.parse()?, text.trim().to_owned()))
            })
            .collect()
    }
}

/// A pod of two containers on a node; `hooks` are annotations without their common part: `pre.command` stands for
/// `pre.hook.backup.velero.io/command`, and a list there for the text of one.
pub(super) fn pod(name: &str, node: &str, hooks: Value) -> Value {
    let mut annotations = json!({});
    for (key, value) in hooks.as_object().into_iter().flatten() {
        let (phase, field) = key.split_once('.').unwrap_or(("", key));
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        annotations[format!("{phase}.hook.backup.velero.io/{field}")] = json!(text);
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": SPACE, "labels": {"name": name}, "annotations": annotations},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "main", "image": "example.com/main"}, {"name": "side", "image": "example.com/side"}],
        },
    })
}

/// The same with a claim as a volume.
fn with_claim(mut pod: Value, claim: &str) -> Value {
    pod["spec"]["volumes"] =
        json!([{"name": "files", "persistentVolumeClaim": {"claimName": claim}}]);
    pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "files", "mountPath": "/files"}]);
    pod
}

/// A claim for a volume that kwok makes up.
fn claim(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": SPACE},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}})
}

/// All pods, what they need, and a Job whose pod has ended.
pub(super) fn world(journal: &Journal, kubectl: &Kubectl) -> Vec<Value> {
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}});
    let both = |name: &str| json!({"pre.command": journal.note(&format!("pre {name}")), "post.command": journal.note(&format!("post {name}"))});
    let mut objects = vec![space, claim("shared"), ended(both("ended"))];
    for name in ["pair-a", "pair-b"] {
        objects.push(with_claim(pod(name, KWOK, both(name)), "shared"));
    }
    objects.push(pod("doomed", KWOK, both("doomed")));
    objects.push(deleter(journal, kubectl));
    objects.extend(failing(journal));
    objects.extend(of_the_spec(journal));
    objects
}

/// A Job whose pod runs to its end.
fn ended(hooks: Value) -> Value {
    let pod = pod("", KWOK, hooks);
    let mut spec = pod["spec"].clone();
    spec["restartPolicy"] = json!("Never");
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "ended", "namespace": SPACE},
        "spec": {"template": {"metadata": {"annotations": pod["metadata"]["annotations"]}, "spec": spec}}})
}

/// The first pod in the order of names; its hook deletes another one, whose turn is later.
fn deleter(journal: &Journal, kubectl: &Kubectl) -> Value {
    let delete = format!(
        "{} delete pod doomed -n {SPACE} --wait > /dev/null && ",
        kubectl.command()
    );
    pod(
        "a-deleter",
        KWOK,
        json!({"pre.command": journal.shell(&delete, "pre a-deleter", ""), "post.command": journal.note("post a-deleter")}),
    )
}

/// Hooks that fail, in both forms in which an exit code comes back, and in all other ways.
fn failing(journal: &Journal) -> Vec<Value> {
    let note = |text: &str| journal.note(text);
    let exit = |text: &str, code: u8| journal.shell("", text, &format!("; exit {code}"));
    let noise = format!("head -c {NOISE} /dev/zero | tr '\\000' x; echo no luck >&2; exit 9");
    vec![
        pod(
            "exit-text",
            KWOK,
            json!({"pre.command": exit("pre exit-text", 3), "pre.on-error": "Fail", "post.command": note("post exit-text")}),
        ),
        pod(
            "exit-code",
            REAL,
            json!({"pre.command": exit("pre exit-code", 5), "pre.on-error": "Fail", "post.command": note("post exit-code")}),
        ),
        pod(
            "exit-goes-on",
            REAL,
            json!({"pre.command": exit("pre exit-goes-on", 6), "pre.on-error": "Continue", "post.command": note("post exit-goes-on")}),
        ),
        pod(
            "exit-post",
            REAL,
            json!({"pre.command": note("pre exit-post"), "post.command": exit("post exit-post", 7), "post.on-error": "Fail"}),
        ),
        pod(
            "loud",
            KWOK,
            json!({"pre.command": ["sh", "-c", noise], "post.command": note("post loud")}),
        ),
        pod(
            "slow",
            KWOK,
            json!({"pre.command": journal.shell("sleep 6; ", "late", ""), "pre.timeout": "2s"}),
        ),
        pod(
            "wrong-container",
            KWOK,
            json!({"pre.command": note("never"), "pre.container": "absent"}),
        ),
    ]
}

/// Pods for the hooks of the spec, one of which has a hook of its own.
fn of_the_spec(journal: &Journal) -> Vec<Value> {
    let mut pods = vec![
        pod("db", REAL, json!({})),
        pod(
            "own",
            REAL,
            json!({"pre.command": journal.note("pre own"), "pre.container": "side"}),
        ),
    ];
    for pod in &mut pods {
        pod["metadata"]["labels"]["app"] = json!("db");
    }
    pods
}

/// The hooks of the backup's spec.
pub(super) fn spec_hooks(journal: &Journal) -> Value {
    let exec = |text: &str, container: &str| json!({"exec": {"command": journal.note(text), "container": container, "onError": "Fail", "timeout": "20s"}});
    json!([
        {"name": "freeze", "includedNamespaces": ["hook*"], "includedResources": ["pods"],
            "labelSelector": {"matchLabels": {"app": "db"}},
            "pre": [exec("pre spec 0", "side"), exec("pre spec 1", "")], "post": [exec("post spec 0", "side")]},
        {"name": "elsewhere", "excludedNamespaces": [SPACE], "pre": [exec("never", "")]},
    ])
}

/// The journal in a folder.
pub(super) fn journal(folder: &Path) -> Journal {
    Journal(folder.join("journal"))
}
