//! Exact mode: whatever has happened to a cluster since its backup, a mirror makes it what it was, and nothing else.

mod churn;

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use velero_testkit::compare::{ALLOWED, compare};

use crate::{
    Context, ControlPlane, Kubectl, Options, Outcome, Velero,
    site::SOON,
    state::{self, identity, name, text},
    world,
};
use churn::{Churn, Rng, is_calm, key};

/// Rounds of random changes to the whole cluster.
const ROUNDS: usize = 2;
/// A namespace that comes after the backup.
const NEWCOMER: &str = "newcomer";

/// One control plane, its backup, and what it was then.
struct Place {
    plane: ControlPlane,
    kubectl: Kubectl,
    velero: Velero,
    store: String,
    plan: std::path::PathBuf,
    before: Vec<Value>,
    client: kube::Client,
}

/// What a plan lists for deletion.
type Deletions = BTreeSet<String>;

/// Changes a backed up world at random, mirrors a part of it, then all of it.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let mut rng = Rng::new(cx.seed());
    let place = place(cx).await?;
    newcomer(&place).await?;
    part(&place, &mut rng).await?;
    whole(&place, "all-0", None).await?;
    for round in 1..=ROUNDS {
        let churn = Churn::make(&place.kubectl, &place.before, &mut rng, round).await?;
        whole(&place, &format!("all-{round}"), Some(&churn)).await?;
    }
    moved(&place).await?;
    newcomer_goes(&place).await?;
    place.plane.stop().await;
    Ok(())
}

async fn place(cx: &Context) -> Result<Place> {
    let plane = cx.control_plane(Options::default()).await?;
    let mut place = Place {
        kubectl: Kubectl::new(&plane)?,
        velero: cx.cli(&plane)?,
        store: format!("file://{}", cx.scratch().join("mirror").display()),
        plan: cx.scratch().join("plan.jsonl"),
        before: Vec::new(),
        client: plane.client().await?,
        plane,
    };
    world::create(&place.kubectl, 2).await?;
    place.before = place.at_rest().await?;
    let backup = ["direct", "backup", "all", "--store", &place.store];
    place.velero.ok(&backup).await?;
    Ok(place)
}

impl Place {
    async fn at_rest(&self) -> Result<Vec<Value>> {
        state::at_rest(&self.client, SOON * 2).await
    }

    /// The state when nothing changes any more. After random changes workloads may lack the account, the claim or the
    /// class that their pods need, so that nobody can make these ready; in namespace `ready` they are to be.
    async fn settled(&self, ready: &str) -> Result<Vec<Value>> {
        let counts =
            |object: &Value| !ready.is_empty() && text(object, "/metadata/namespace") == ready;
        state::at_rest_where(&self.client, SOON * 2, counts).await
    }

    /// Makes a plan, and gives what it would delete.
    async fn plan(&self, name: &str, flags: &[&str]) -> Result<Deletions> {
        let plan = [
            "direct",
            "plan",
            "all",
            "--store",
            &self.store,
            "--existing-resource-policy",
            "mirror",
            "-o",
            "json",
            "--restore-name",
            name,
        ];
        let text = self.velero.ok(&[&plan[..], flags].concat()).await?;
        std::fs::write(&self.plan, &text)?;
        let mut deletions = Deletions::new();
        for line in text.lines() {
            let line: Value = serde_json::from_str(line)?;
            let item = &line["item"];
            if item["verdict"] == "delete" {
                let (kind, namespace) = (text_of(item, "kind"), text_of(item, "namespace"));
                deletions.insert(format!("{kind} {namespace}/{}", text_of(item, "name")));
            }
        }
        Ok(deletions)
    }

    async fn carry_out(&self) -> Result<Outcome> {
        let plan = self.plan.display().to_string();
        let restore = [
            "direct",
            "restore",
            "--store",
            &self.store,
            "--plan-file",
            &plan,
        ];
        self.velero.run(&restore).await
    }

    /// Carries the plan out, which must go well.
    async fn mirror(&self) -> Result<String> {
        let outcome = self.carry_out().await?;
        let text = format!("{}{}", outcome.stdout, outcome.stderr);
        ensure!(
            outcome.code == Some(0),
            "the mirror ended with {:?}:\n{text}",
            outcome.code
        );
        Ok(text)
    }
}

fn text_of<'a>(item: &'a Value, field: &str) -> &'a str {
    item[field].as_str().unwrap_or_default()
}

/// The namespace that is mirrored alone.
const TEAM: &str = "team-0";

/// The objects in that namespace, or all others.
fn only(objects: &[Value], inside: bool) -> Vec<Value> {
    let mut all = objects.to_vec();
    all.retain(|object| (text(object, "/metadata/namespace") == TEAM) == inside);
    all
}

/// The versions of objects outside of that namespace that only users change, without PriorityClasses, which pods bring.
fn versions(objects: &[Value]) -> BTreeSet<String> {
    let calm = only(objects, false).into_iter().filter(is_calm);
    calm.filter(|object| text(object, "/kind") != "PriorityClass")
        .map(|object| {
            format!(
                "{} {}",
                key(&object),
                text(&object, "/metadata/resourceVersion")
            )
        })
        .collect()
}

/// A mirror of one namespace leaves all else as it is.
async fn part(place: &Place, rng: &mut Rng) -> Result<()> {
    let churn = Churn::make(&place.kubectl, &place.before, rng, 0).await?;
    let changed = place.settled("").await?;
    let deletions = place.plan("part", &["--include-namespaces", TEAM]).await?;
    let added = churn
        .added
        .iter()
        .filter(|key| key.contains(&format!(" {TEAM}/")));
    lists(&deletions, &added.cloned().collect())?;
    let said = place.mirror().await?;
    let after = place.settled(TEAM).await?;
    same(&only(&place.before, true), &only(&after, true)).with_context(|| said.clone())?;
    let (before, after) = (versions(&changed), versions(&after));
    let moved: Vec<&String> = before.symmetric_difference(&after).collect();
    ensure!(
        moved.is_empty() && before.len() > 50,
        "objects outside of the scope have changed: {moved:?}"
    );
    report("team-0", &churn, deletions.len(), before.len());
    Ok(())
}

/// A mirror of all that the backup has.
async fn whole(place: &Place, name: &str, churn: Option<&Churn>) -> Result<()> {
    place.settled("").await?;
    let deletions = place.plan(name, &[]).await?;
    if let Some(churn) = churn {
        lists(&deletions, &churn.added)?;
    }
    let said = place.mirror().await?;
    let mut after = place.at_rest().await?;
    after.retain(|object| !is_of_newcomer(object));
    let objects = after.len();
    same(&place.before, &after).context(said)?;
    if let Some(churn) = churn {
        report("the whole cluster", churn, deletions.len(), objects);
    }
    // There is nothing left to do.
    let again = place.plan("again", &[]).await?;
    ensure!(again.is_empty(), "a second plan would delete {again:?}");
    Ok(())
}

fn is_of_newcomer(object: &Value) -> bool {
    text(object, "/metadata/namespace") == NEWCOMER
        || text(object, "/kind") == "Namespace" && name(object) == NEWCOMER
}

/// A plan lists what was added, and beside that what controllers have made of it alone.
fn lists(deletions: &Deletions, added: &Deletions) -> Result<()> {
    let missing: Vec<&String> = added.difference(deletions).collect();
    ensure!(missing.is_empty(), "the plan does not delete {missing:?}");
    let is_made =
        |key: &&String| key.starts_with("v1/Endpoints ") || key.starts_with("v1/PersistentVolume ");
    let more: Vec<&String> = deletions
        .difference(added)
        .filter(|key| !is_made(key))
        .collect();
    ensure!(
        more.is_empty(),
        "the plan deletes {more:?}, which nobody has added"
    );
    Ok(())
}

/// Whether two states mean the same. Objects with owners are their owners' affair, Endpoints their Service's, and who
/// owns which field is no part of the meaning.
fn same(before: &[Value], after: &[Value]) -> Result<()> {
    let plain = |objects: &[Value]| -> Vec<Value> {
        let is_own = |object: &&Value| {
            object["metadata"]["ownerReferences"]
                .as_array()
                .is_none_or(Vec::is_empty)
                && text(object, "/kind") != "Endpoints"
        };
        let mut plain: Vec<Value> = objects.iter().filter(is_own).cloned().collect();
        for object in &mut plain {
            if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.remove("managedFields");
            }
        }
        plain
    };
    let differences = compare(&plain(before), &plain(after), ALLOWED);
    let all: Vec<String> = differences.iter().map(ToString::to_string).collect();
    ensure!(
        all.is_empty(),
        "{} differences:\n{}",
        all.len(),
        all.join("\n")
    );
    Ok(())
}

/// A plan is not carried out when something has come since.
async fn moved(place: &Place) -> Result<()> {
    let map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "team-1"}});
    place.kubectl.apply(&[map("unwanted")], &[]).await?;
    place.plan("moved", &[]).await?;
    place.kubectl.apply(&[map("later")], &[]).await?;
    let outcome = place.carry_out().await?;
    let both = ["get", "configmaps", "unwanted", "later", "-n", "team-1"];
    place.kubectl.ok(&both).await?;
    ensure!(
        outcome.code == Some(1)
            && outcome
                .stderr
                .contains("configmaps team-1/later (not in the plan)"),
        "a plan that does not hold any more: {outcome:?}"
    );
    let unplanned = [
        "direct",
        "restore",
        "all",
        "--store",
        &place.store,
        "--existing-resource-policy",
        "mirror",
    ];
    let said = place.velero.refused(&unplanned).await?;
    ensure!(said.contains("velero direct plan"), "{said}");
    whole(place, "moved-again", None).await
}

async fn newcomer(place: &Place) -> Result<()> {
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NEWCOMER}});
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine", "namespace": NEWCOMER}});
    place.kubectl.apply(&[space, map], &[]).await
}

/// A namespace that the backup does not have goes when it is named.
async fn newcomer_goes(place: &Place) -> Result<()> {
    let there = ["get", "configmap", "mine", "-n", NEWCOMER];
    place.kubectl.ok(&there).await?;
    let deletions = place
        .plan("newcomer", &["--include-namespaces", NEWCOMER])
        .await?;
    let expected = [
        format!("v1/ConfigMap {NEWCOMER}/mine"),
        format!("v1/Namespace /{NEWCOMER}"),
    ];
    ensure!(deletions == expected.into(), "{deletions:?}");
    place.mirror().await?;
    let after = place.at_rest().await?;
    let left: Vec<String> = after
        .iter()
        .filter(|object| is_of_newcomer(object))
        .map(identity)
        .collect();
    ensure!(left.is_empty(), "of the namespace are left {left:?}");
    same(&place.before, &after)
}

#[allow(clippy::print_stdout)]
fn report(what: &str, churn: &Churn, deletions: usize, objects: usize) {
    println!(
        "  {what}: {} objects added, {} changed, {} created anew, {} deleted; {deletions} planned deletions, {objects} objects compared",
        churn.added.len(),
        churn.changed,
        churn.replaced,
        churn.deleted,
    );
}
