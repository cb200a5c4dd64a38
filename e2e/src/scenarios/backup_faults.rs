//! What goes wrong between a backup and a real API server: the run ends, all that can be read is in the archive, and the
//! result says what is missing.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use futures::future::join_all;
use http::{Request, StatusCode};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use velero_backup::{
    BackupEngine, BackupOptions, BackupResult, BackupRun, Cluster, artifacts,
    velero_cluster::ListOptions,
    velero_core::{api::Backup, result::Record},
};

use crate::{
    Context, ControlPlane, Kubectl, Options,
    archive::Archive,
    eventually,
    gate::{Gate, gated, none, plain_client},
    narrow::{NARROW, narrow},
    site::SOON,
};

/// Objects of each kind that is read while something happens to it; far more than a page.
const OBJECTS: usize = 600;
const PAGE: u32 = 50;
/// Longest time for one backup, whatever happens in it.
const DEADLINE: Duration = Duration::from_secs(120);
const SPACE: &str = "pages";
const DEFINITION: &str = "parts.faults.example.com";
const MAPS: &str = "/api/v1/configmaps?";
const PARTS: &str = "/apis/faults.example.com/v1/parts?";

/// A backup, and how often the API server refused with a code.
struct Taken {
    result: BackupResult,
    items: BTreeSet<String>,
    refusals: usize,
}

/// One fault after the other on one control plane; the definition goes last.
pub(super) async fn run(cx: &Context) -> Result<()> {
    // Pages after the first are otherwise answered from memory, which no compaction touches.
    let args = vec!["--feature-gates=ListFromCacheSnapshot=false".to_owned()];
    let options = Options {
        nodes: 0,
        scheduler: false,
        apiserver_args: args,
        ..Options::default()
    };
    let plane = cx.control_plane(options).await?;
    let faults = Faults {
        cx,
        kubectl: Kubectl::new(&plane)?,
        client: plain_client(plane.kubeconfig()).await?,
        plane: &plane,
    };
    faults.fill().await?;
    let whole = faults.back_up("whole", &faults.client, none(), 0).await?;
    ensure!(whole.result.records.is_empty(), "{:?}", lines(&whole));
    ensure!(faults.of(&whole, "configmaps").len() > OBJECTS);
    faults.compaction(&whole).await.context("compaction")?;
    faults.aggregated(&whole).await.context("aggregated API")?;
    faults.refusals(&whole).await.context("refusals")?;
    faults.definition(&whole).await.context("definition")?;
    plane.stop().await;
    Ok(())
}

struct Faults<'a> {
    cx: &'a Context,
    plane: &'a ControlPlane,
    kubectl: Kubectl,
    client: Client,
}

fn lines(taken: &Taken) -> Vec<String> {
    taken.result.records.iter().map(Record::line).collect()
}

impl Faults<'_> {
    /// Maps and custom resources, many pages of both.
    async fn fill(&self) -> Result<()> {
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": DEFINITION},
            "spec": {
                "group": "faults.example.com", "scope": "Namespaced",
                "names": {"plural": "parts", "singular": "part", "kind": "Part", "listKind": "PartList"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
            },
        });
        let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}});
        self.kubectl.apply(&[definition, space], &[]).await?;
        let crd = format!("crd/{DEFINITION}");
        let wait = ["wait", "--for=condition=Established", &crd, "--timeout=60s"];
        self.kubectl.ok(&wait).await?;
        for (path, kind) in [
            ("/api/v1", ("v1", "ConfigMap", "configmaps")),
            (
                "/apis/faults.example.com/v1",
                ("faults.example.com/v1", "Part", "parts"),
            ),
        ] {
            let (api_version, kind, plural) = kind;
            let uri = format!("{path}/namespaces/{SPACE}/{plural}");
            let made = (0..OBJECTS).map(|at| {
                let object = json!({"apiVersion": api_version, "kind": kind,
                    "metadata": {"name": format!("n{at:04}")}, "data": {"at": at.to_string()}});
                self.call("POST", &uri, object)
            });
            for one in join_all(made).await {
                one?;
            }
        }
        Ok(())
    }

    async fn call(&self, method: &str, uri: &str, body: Value) -> Result<Value> {
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", "application/json")
            .body(serde_json::to_vec(&body)?)?;
        Ok(self.client.request(request).await?)
    }

    /// Backs everything up with the library. `gate` sees each request first; answers with the code `refusal` are counted.
    async fn back_up(
        &self,
        name: &str,
        client: &Client,
        gate: Gate,
        refusal: u16,
    ) -> Result<Taken> {
        let (client, refusals) = gated(client, gate, None, refusal);
        let cluster = Cluster::connect(client).await?;
        let options = BackupOptions::default().list(ListOptions::default().page_size(PAGE));
        let engine = BackupEngine::new(cluster).options(options);
        let backup: Backup = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        let request = engine.request(&backup).await?;
        let bucket = self.cx.scratch().join("bucket");
        let folder = bucket.join("backups").join(name);
        fs::create_dir_all(&folder)?;
        let file = File::create(folder.join(format!("{name}{}", artifacts::ARCHIVE_SUFFIX)))?;
        let run = engine.run(&request, file, BackupRun::default());
        let result = tokio::time::timeout(DEADLINE, run)
            .await
            .context("the backup does not end")??;
        let items = Archive::new(&bucket, name).entries()?;
        let items = items
            .into_keys()
            .filter(|path| !path.contains("-preferredversion/"))
            .collect();
        Ok(Taken {
            result,
            items,
            refusals: refusals.count(),
        })
    }

    fn of(&self, taken: &Taken, resource: &str) -> BTreeSet<String> {
        let folder = format!("resources/{resource}/");
        taken
            .items
            .iter()
            .filter(|path| path.starts_with(&folder))
            .cloned()
            .collect()
    }

    /// What is in one backup and not in the other, without what changes by itself and without one kind.
    fn same_but(&self, one: &Taken, other: &Taken, resource: &str) -> Result<()> {
        let fixed = |taken: &Taken| -> BTreeSet<String> {
            let moving = [
                "events",
                "events.events.k8s.io",
                "leases.coordination.k8s.io",
                resource,
            ];
            let moving = moving.map(|resource| format!("resources/{resource}/"));
            taken
                .items
                .iter()
                .filter(|path| !moving.iter().any(|folder| path.starts_with(folder)))
                .cloned()
                .collect()
        };
        let (one, other) = (fixed(one), fixed(other));
        let lost: Vec<_> = one.symmetric_difference(&other).collect();
        ensure!(lost.is_empty(), "these are in one of two backups: {lost:?}");
        Ok(())
    }

    /// History is compacted at each third page of two lists.
    async fn compaction(&self, whole: &Taken) -> Result<()> {
        let etcd = Client::try_from(kube::Config::new(self.plane.etcd().parse()?))?;
        let (seen, api) = (Arc::new(AtomicUsize::new(0)), self.client.clone());
        let gate: Gate = Arc::new(move |uri| {
            let later = (uri.contains(MAPS) || uri.contains(PARTS)) && uri.contains("continue=");
            let turn = later && seen.fetch_add(1, Ordering::SeqCst) % 3 == 1;
            let (etcd, api) = (etcd.clone(), api.clone());
            Box::pin(async move {
                if turn && let Err(error) = compact(&etcd, &api).await {
                    // Without a 410 the scenario fails.
                    eprint_line(&format!("cannot compact: {error:#}"));
                }
            })
        });
        let taken = self.back_up("compacted", &self.client, gate, 410).await?;
        ensure!(taken.refusals > 0, "no page was refused");
        ensure!(taken.result.records.is_empty(), "{:?}", lines(&taken));
        self.same_but(whole, &taken, "none")
    }

    /// Priority and fairness refuses calls for some seconds, while others use up what the user may have.
    async fn refusals(&self, whole: &Taken) -> Result<()> {
        // Without a share, one call passes at a time, and the others are refused.
        self.kubectl.apply(&narrow(&["list"]), &[]).await?;
        let client = plain_client(&self.plane.kubeconfig_for(NARROW, None)?).await?;
        let refused = || async {
            let list = Request::get(format!("{MAPS}limit=1")).body(Body::empty())?;
            Ok((client.send(list).await?.status() == StatusCode::OK).then_some(()))
        };
        eventually("the user may list", SOON, refused).await?;
        let ends = tokio::spawn(crowd(client.clone()));
        let taken = self.back_up("refused", &client, none(), 429).await;
        ends.await?;
        let taken = taken?;
        ensure!(taken.refusals > 0, "no call was refused");
        ensure!(taken.result.records.is_empty(), "{:?}", lines(&taken));
        let mut whole_and_new = Taken {
            result: whole.result.clone(),
            items: whole.items.clone(),
            refusals: 0,
        };
        for (resource, name) in [
            (
                "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
                "narrow",
            ),
            ("flowschemas.flowcontrol.apiserver.k8s.io", "narrow"),
            ("clusterrolebindings.rbac.authorization.k8s.io", "narrow"),
        ] {
            let path = format!("resources/{resource}/cluster/{name}.json");
            whole_and_new.items.insert(path);
        }
        self.same_but(&whole_and_new, &taken, "none")?;
        for kind in [
            "flowschema",
            "prioritylevelconfiguration",
            "clusterrolebinding",
        ] {
            self.kubectl.ok(&["delete", kind, "narrow"]).await?;
        }
        Ok(())
    }

    /// An API whose server is not there.
    async fn aggregated(&self, whole: &Taken) -> Result<()> {
        let group = "absent.example.com";
        let service = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": format!("v1.{group}")},
            "spec": {"group": group, "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100,
                "insecureSkipTLSVerify": true, "service": {"name": "absent", "namespace": SPACE}}});
        self.kubectl.apply(&[service], &[]).await?;
        let known = || async {
            let list = Request::get(format!("/apis/{group}/v1")).body(Body::empty())?;
            let status = self.client.send(list).await?.status();
            Ok((status == StatusCode::SERVICE_UNAVAILABLE).then_some(()))
        };
        eventually("the API answers 503", SOON, known).await?;
        let taken = self.back_up("absent", &self.client, none(), 503).await?;
        let said = lines(&taken);
        ensure!(
            said.len() == 1 && said[0].contains(group) && said[0].contains("not in the backup"),
            "{said:?}"
        );
        self.same_but(whole, &taken, "apiservices.apiregistration.k8s.io")?;
        let name = format!("apiservice/v1.{group}");
        self.kubectl.ok(&["delete", &name]).await.map(drop)
    }

    /// A definition is deleted, and its objects with it, after the second page of them.
    async fn definition(&self, whole: &Taken) -> Result<()> {
        let (seen, kubectl) = (Arc::new(AtomicUsize::new(0)), self.kubectl.clone());
        let gate: Gate = Arc::new(move |uri| {
            let later = uri.contains(PARTS) && uri.contains("continue=");
            let turn = later && seen.fetch_add(1, Ordering::SeqCst) == 1;
            let kubectl = kubectl.clone();
            Box::pin(async move {
                let delete = ["delete", "crd", DEFINITION, "--timeout=90s"];
                if turn && let Err(error) = kubectl.ok(&delete).await {
                    eprint_line(&format!("cannot delete: {error:#}"));
                }
            })
        });
        let taken = self.back_up("deleted", &self.client, gate, 404).await?;
        let said = lines(&taken);
        ensure!(
            said.len() == 1
                && said[0].contains("parts.faults.example.com")
                && said[0].contains("not all objects of this kind are in the backup"),
            "{said:?}"
        );
        let read = self.of(&taken, "parts.faults.example.com").len();
        ensure!(read == 2 * PAGE as usize, "{read} objects were read before");
        let definitions = "customresourcedefinitions.apiextensions.k8s.io";
        let without = |taken: &Taken| Taken {
            result: taken.result.clone(),
            items: taken
                .items
                .iter()
                .filter(|path| !path.contains(DEFINITION) || !path.contains(definitions))
                .cloned()
                .collect(),
            refusals: 0,
        };
        self.same_but(
            &without(whole),
            &without(&taken),
            "parts.faults.example.com",
        )
    }
}

/// Twelve that list all the time, for six seconds.
async fn crowd(client: Client) {
    let one = || async {
        loop {
            let list = Request::get(MAPS.trim_end_matches('?')).body(Body::empty());
            if let Ok(list) = list
                && let Ok(response) = client.send(list).await
            {
                let _read = response.into_body().collect_bytes().await;
            }
        }
    };
    let all = join_all((0..12).map(|_| one()));
    let _over: Result<Vec<()>, _> = tokio::time::timeout(Duration::from_secs(6), all).await;
}

/// Forgets everything before this moment.
async fn compact(etcd: &Client, api: &Client) -> Result<()> {
    // A write moves the store on, so that the list's own revision is forgotten.
    let patch = json!({"metadata": {"annotations": {"example.com/at": format!("{:?}", std::time::Instant::now())}}});
    let request = Request::patch(format!("/api/v1/namespaces/{SPACE}"))
        .header("content-type", "application/merge-patch+json")
        .body(serde_json::to_vec(&patch)?)?;
    let space: Value = api.request(request).await?;
    let revision = space["metadata"]["resourceVersion"]
        .as_str()
        .context("no revision")?;
    let body = serde_json::to_vec(&json!({"revision": revision, "physical": true}))?;
    let request = Request::post("/v3/kv/compaction").body(body)?;
    let _header: Value = etcd.request(request).await?;
    Ok(())
}

#[allow(clippy::print_stderr)]
fn eprint_line(text: &str) {
    eprintln!("{text}");
}
