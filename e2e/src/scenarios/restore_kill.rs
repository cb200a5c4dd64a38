//! Restores that are killed (SIGKILL) at random points, and the same command after each: the state is that of a restore
//! which nobody has disturbed, no object is created twice, and no hook runs twice.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use kube::Client;
use serde_json::{Value, json};
use velero_testkit::compare::{ALLOWED, compare};

use crate::{
    AuditFilter, Context, ControlPlane, Kubectl, Options, Outcome, Velero, eventually,
    random::Random, site::SOON, state,
};

/// Namespace of the objects that are backed up; those that they are restored into have a number behind it.
const SOURCE: &str = "kill-src";
const DEFINITION: &str = "parts.kill.example.com";
const ROLE: &str = "kill-reader";
const LABEL: (&str, &str) = ("scenario", "kill");
/// Restores that are killed, in the short form and in the long one.
const POINTS: (usize, usize) = (10, 50);
/// How often one restore is killed at most.
const KILLS: usize = 3;
/// Said of a hook that was under way when its restore was killed.
const BROKEN_OFF: &str = "whether it has done its work is not known";
const PODS: usize = 6;

/// Kills as many restores as it takes.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let bench = Bench::start(cx).await?;
    let points = if cx.is_smoke() { POINTS.0 } else { POINTS.1 };
    let whole = bench.undisturbed().await?;
    let mut random = Random(cx.seed());
    let (mut killed, mut ran, mut wanted) = (0, 0, 0);
    for number in 1.. {
        if killed == points {
            break;
        }
        ensure!(
            number <= 3 * points,
            "only {killed} restores were killed before their end"
        );
        let what = format!("seed {}, restore {number}", cx.seed());
        let delays: Vec<Duration> = (0..KILLS)
            .map(|_| whole.took.mul_f64(random.fraction()))
            .collect();
        let Some(hooks) = bench
            .disturbed(number, &delays, &whole)
            .await
            .with_context(|| format!("{what}, killed after {delays:?}"))?
        else {
            continue;
        };
        killed += 1;
        (ran, wanted) = (ran + hooks, wanted + PODS);
    }
    // A kill between the note that hooks begin and their begin takes those of all pods at once; they are told of, not run.
    ensure!(
        ran * 3 >= wanted * 2,
        "seed {}: only {ran} of {wanted} hooks ran",
        cx.seed()
    );
    bench.plane.stop().await;
    Ok(())
}

/// One control plane with a backup, and the command that restores it.
struct Bench {
    plane: ControlPlane,
    client: Client,
    kubectl: Kubectl,
    velero: Velero,
    program: PathBuf,
    home: PathBuf,
    store: String,
    /// Where hooks note that they run.
    journal: PathBuf,
}

/// A restore that nobody has disturbed.
struct Whole {
    state: Vec<Value>,
    creates: BTreeMap<String, usize>,
    took: Duration,
}

impl Bench {
    async fn start(cx: &Context) -> Result<Self> {
        let plane = cx.control_plane(Options::default()).await?;
        let bench = Self {
            client: plane.client().await?,
            kubectl: Kubectl::new(&plane)?,
            velero: cx.cli(&plane)?,
            program: cx.velero()?.to_owned(),
            home: cx.scratch().to_owned(),
            store: format!("file://{}", cx.scratch().join("bucket").display()),
            journal: cx.scratch().join("hooks"),
            plane,
        };
        bench.fill().await?;
        let selector = format!("{}={}", LABEL.0, LABEL.1);
        let backup = [
            "direct",
            "backup",
            "kill",
            "--store",
            &bench.store,
            "--selector",
            &selector,
        ];
        let slices = "endpoints,endpointslices.discovery.k8s.io";
        let flags = [
            "--include-cluster-resources=true",
            "--exclude-resources",
            slices,
        ];
        bench.velero.ok(&[&backup[..], &flags].concat()).await?;
        Ok(bench)
    }

    /// Makes what is backed up.
    async fn fill(&self) -> Result<()> {
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": DEFINITION, "labels": labels()},
            "spec": {
                "group": "kill.example.com", "scope": "Namespaced",
                "names": {"plural": "parts", "singular": "part", "kind": "Part", "listKind": "PartList"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
            },
        });
        let space = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": SOURCE, "labels": labels(), "annotations": {"note": "kept"}}});
        self.kubectl.apply(&[definition, space], &[]).await?;
        let crd = format!("crd/{DEFINITION}");
        let wait = ["wait", "--for=condition=Established", &crd, "--timeout=60s"];
        self.kubectl.ok(&wait).await?;
        self.kubectl.apply(&self.objects(), &[]).await?;
        state::at_rest(&self.client, SOON).await.map(drop)
    }

    fn objects(&self) -> Vec<Value> {
        let object = |version: &str, kind: &str, name: &str| {
            json!({"apiVersion": version, "kind": kind,
                "metadata": {"name": name, "namespace": SOURCE, "labels": labels()}})
        };
        let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
        let mut role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": ROLE, "labels": labels()}});
        role["rules"] = rules;
        let mut all = vec![role];
        for n in 0..60 {
            let mut map = object("v1", "ConfigMap", &format!("map-{n:02}"));
            map["data"] = json!({"n": n.to_string()});
            all.push(map);
        }
        for n in 0..10 {
            let mut secret = object("v1", "Secret", &format!("secret-{n}"));
            secret["stringData"] = json!({"n": n.to_string()});
            all.push(secret);
            all.push(object("v1", "ServiceAccount", &format!("account-{n}")));
            let mut part = object("kill.example.com/v1", "Part", &format!("part-{n}"));
            part["spec"] = json!({"n": n});
            all.push(part);
        }
        for n in 0..PODS {
            all.push(self.pod(&object("v1", "Pod", &format!("pod-{n}"))));
        }
        let mut service = object("v1", "Service", "web");
        service["spec"] = json!({"selector": {"app": "web"}, "ports": [{"port": 80}]});
        let mut web = object("apps/v1", "Deployment", "web");
        let mut template = labels();
        template["app"] = json!("web");
        web["spec"] = json!({"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": template},
            "spec": {"automountServiceAccountToken": false, "containers": [{"name": "main", "image": "example.com/web"}]}}});
        all.extend([service, web]);
        all
    }

    /// A pod whose hook notes its name, and takes a moment.
    fn pod(&self, object: &Value) -> Value {
        let name = state::name(object);
        let note = format!("echo {name} >> {}; sleep 0.1", self.journal.display());
        let mut pod = object.clone();
        pod["metadata"]["annotations"] = json!({
            "post.hook.restore.velero.io/command": json!(["sh", "-c", note]).to_string(),
            "post.hook.restore.velero.io/exec-timeout": "30s",
        });
        pod["spec"] = json!({"automountServiceAccountToken": false, "containers": [{"name": "main", "image": "example.com/main"}]});
        pod
    }

    fn args(&self, target: &str) -> Vec<String> {
        let mapping = format!("{SOURCE}:{target}");
        let args = [
            "direct",
            "restore",
            "kill",
            "--store",
            &self.store,
            "--namespace-mappings",
            &mapping,
        ];
        args.map(str::to_owned).to_vec()
    }

    /// Makes room: what has no namespace must not be there, and no hook has run.
    async fn clear(&self) -> Result<()> {
        let crd = [
            "delete",
            "crd",
            DEFINITION,
            "--ignore-not-found",
            "--timeout=60s",
        ];
        self.kubectl.ok(&crd).await?;
        let role = ["delete", "clusterrole", ROLE, "--ignore-not-found"];
        self.kubectl.ok(&role).await?;
        match std::fs::remove_file(&self.journal) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn undisturbed(&self) -> Result<Whole> {
        let target = target(0);
        self.clear().await?;
        let audit = self.plane.audit().context("no audit log")?.from_now()?;
        let began = Instant::now();
        let outcome = self.velero.run(&self.args(&target)).await?;
        let took = began.elapsed();
        ensure!(
            outcome.code == Some(0),
            "an undisturbed restore: {outcome:?}"
        );
        state::at_rest(&self.client, SOON).await?;
        let ran = self.hooks()?;
        ensure!(
            ran.len() == PODS && ran.values().all(|n| *n == 1),
            "hooks of an undisturbed restore: {ran:?}"
        );
        Ok(Whole {
            state: self.state(&target).await?,
            creates: creates(&audit, &target)?,
            took,
        })
    }

    /// Kills a restore after each delay, unless it ends before; the last one ends. Gives how many hooks ran, unless it was
    /// never killed.
    async fn disturbed(
        &self,
        number: usize,
        delays: &[Duration],
        whole: &Whole,
    ) -> Result<Option<usize>> {
        let target = target(number);
        self.clear().await?;
        let audit = self.plane.audit().context("no audit log")?.from_now()?;
        let mut kills = 0;
        let mut ended = None;
        for delay in delays {
            ended = self.kill(&target, *delay).await?;
            if ended.is_some() {
                break;
            }
            kills += 1;
        }
        if kills == 0 {
            return Ok(None);
        }
        let broken_off = match ended {
            Some(broken_off) => broken_off,
            None => is_good(&self.velero.run(&self.args(&target)).await?)?,
        };
        let same = eventually(
            "the state is that of an undisturbed restore",
            SOON,
            || async {
                let differences = compare(&whole.state, &self.state(&target).await?, ALLOWED);
                let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
                ensure!(lines.is_empty(), "{}", lines.join("; "));
                Ok(Some(()))
            },
        );
        same.await?;
        for (resource, count) in creates(&audit, &target)? {
            let wanted = whole.creates.get(&resource).copied().unwrap_or_default();
            ensure!(
                count <= wanted,
                "{count} {resource} were created, not {wanted}: {:?}",
                created(&audit, &target, &resource)?
            );
        }
        let ran = self.hooks()?;
        ensure!(
            ran.values().all(|n| *n == 1),
            "hooks ran more than once: {ran:?}"
        );
        // One that was about to run when its restore was killed is told of, and not run.
        ensure!(ran.len() + broken_off >= PODS, "hooks did not run: {ran:?}");
        let left = self.left()?;
        ensure!(left.is_empty(), "journals are left: {left:?}");
        Ok(Some(ran.len()))
    }

    /// Begins the restore and kills it. When it has ended, well, before: how many hooks are said to be broken off.
    async fn kill(&self, target: &str, delay: Duration) -> Result<Option<usize>> {
        let mut command = tokio::process::Command::new(&self.program);
        let mut child = command
            .args(self.args(target))
            .env("KUBECONFIG", self.plane.kubeconfig())
            .env("HOME", &self.home)
            .env_remove("VELERO_STORE")
            .env_remove("VELERO_NAMESPACE")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if tokio::time::timeout(delay, child.wait()).await.is_err() {
            // SIGKILL.
            child.kill().await?;
            return Ok(None);
        }
        let output = child.wait_with_output().await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        is_good(&Outcome {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        })
        .map(Some)
    }

    /// The objects of a namespace and those without one, as they would be in any namespace.
    async fn state(&self, target: &str) -> Result<Vec<Value>> {
        let all = state::read(&self.client).await?;
        let is_meant = |object: &&Value| {
            let own = object["metadata"]["labels"][LABEL.0] == LABEL.1;
            match state::text(object, "/metadata/namespace") {
                "" => {
                    own && matches!(state::name(object), DEFINITION | ROLE)
                        || state::name(object) == target
                }
                namespace => namespace == target,
            }
        };
        let renamed = all.iter().filter(is_meant).map(|object| {
            let text = object.to_string().replace(target, "kill-any");
            Ok(serde_json::from_str(&text)?)
        });
        renamed.collect()
    }

    /// How often the hook of each pod ran.
    fn hooks(&self) -> Result<BTreeMap<String, usize>> {
        let text = match std::fs::read_to_string(&self.journal) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        let mut ran = BTreeMap::new();
        for line in text.lines() {
            *ran.entry(line.to_owned()).or_default() += 1;
        }
        Ok(ran)
    }

    /// Journals in the store.
    fn left(&self) -> Result<Vec<PathBuf>> {
        let mut left = Vec::new();
        for restore in std::fs::read_dir(self.home.join("bucket/restores"))? {
            let journal = restore?.path().join("x-velero-journal.json");
            if journal.exists() {
                left.push(journal);
            }
        }
        Ok(left)
    }
}

/// Objects that our client has created in a namespace, or without one, by resource.
fn creates(audit: &crate::AuditLog, target: &str) -> Result<BTreeMap<String, usize>> {
    let mut all = BTreeMap::new();
    for event in creations(audit, target)? {
        *all.entry(event.resource()).or_default() += 1;
    }
    Ok(all)
}

/// Requests that have created objects of a resource: address and time of each.
fn created(audit: &crate::AuditLog, target: &str, resource: &str) -> Result<Vec<String>> {
    let all = creations(audit, target)?;
    let of_resource = all.iter().filter(|event| event.resource() == resource);
    Ok(of_resource.map(|event| format!("{event:?}")).collect())
}

/// Requests that have created objects in a namespace, or without one.
///
/// Those of other namespaces are of earlier restores and come late: the API server keeps a request for a custom resource
/// for two seconds where its definition is younger than that, and carries it out although its sender was killed meanwhile.
/// By then the restore may have ended, and its definition may be gone and there again.
fn creations(audit: &crate::AuditLog, target: &str) -> Result<Vec<crate::AuditEvent>> {
    let mut events = audit.events(&AuditFilter::objects_of("velero/"))?;
    events.retain(|event| {
        let object = event.object_ref.as_ref();
        event.verb == "create"
            && event.code() == 201
            && object.is_some_and(|o| {
                o.subresource.is_empty() && (o.namespace.is_empty() || o.namespace == target)
            })
    });
    Ok(events)
}

/// Checks that a restore has ended without errors, but for hooks that it was killed beside; gives how many these are.
fn is_good(outcome: &Outcome) -> Result<usize> {
    let count = |name: &str| {
        let line = outcome
            .stdout
            .lines()
            .find(|line| line.trim_start().starts_with(name));
        line.and_then(|line| line.split_whitespace().last()?.parse::<usize>().ok())
    };
    let broken_off = outcome.stdout.matches(BROKEN_OFF).count();
    let ended = matches!(outcome.code, Some(0 | 2));
    ensure!(
        ended && count("Errors") == Some(broken_off) && count("Warnings") == Some(0),
        "{outcome:?}"
    );
    Ok(broken_off)
}

fn target(number: usize) -> String {
    format!("kill-{number:03}")
}

fn labels() -> Value {
    json!({LABEL.0: LABEL.1})
}
