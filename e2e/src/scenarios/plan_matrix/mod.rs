//! What a plan says of each object, and what the restore then makes of it, in some hundreds of situations.

mod agreement;
mod cluster;
mod kinds;
mod round;
mod rounds;
mod score;
mod truth;

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use self::{
    agreement::{Outcomes, disagreements},
    cluster::{Cluster, key_of, namespace_of},
    round::{Change, LABEL, Round},
    score::{Played, Score},
    truth::Seen,
};
use crate::{AuditEvent, AuditFilter, Context, ControlPlane, Options, Outcome, Velero};

/// The user who looks and restores; all that it calls is ours.
const USER: &str = "matrix-user";
/// A user who may do some things.
const CLERK: &str = "clerk";
/// How long a restore waits for what is being deleted; no part of a plan.
const LIMIT: &str = "--terminating-resource-timeout";
/// How long single steps may take.
const SOON: Duration = Duration::from_secs(90);

/// Plays all rounds, and then tells where plan and restore do not agree.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let options = Options {
        nodes: 0,
        scheduler: false,
        ..Options::default()
    };
    let rounds = chosen(cx)?;
    let plane = cx.control_plane(options).await?;
    let matrix = Matrix::new(cx, &plane).await?;
    let mut score = Score::default();
    for round in rounds {
        let (name, began) = (round.name, Instant::now());
        let played = matrix.play(round).await.unwrap_or_else(Played::cut_short);
        score.add(name, played, began.elapsed());
    }
    score.verdict(cx.parts().is_empty())?;
    matrix.moved_world().await.context("a world that moves")?;
    plane.stop().await;
    Ok(())
}

/// The rounds that are asked for; all where none is.
fn chosen(cx: &Context) -> Result<Vec<Round>> {
    let (names, mut rounds) = (cx.parts(), rounds::all(cx.seed()));
    for name in names {
        let is_there = rounds.iter().any(|round| round.name == name);
        ensure!(is_there, "no round is called {name:?}");
    }
    rounds.retain(|round| names.is_empty() || names.iter().any(|name| name == round.name));
    Ok(rounds)
}

struct Matrix<'a> {
    plane: &'a ControlPlane,
    cluster: Cluster,
    velero: Velero,
    clerk: Velero,
    bucket: PathBuf,
    plans: PathBuf,
}

impl<'a> Matrix<'a> {
    async fn new(cx: &Context, plane: &'a ControlPlane) -> Result<Self> {
        let bucket = cx.scratch().join("bucket");
        fs::create_dir_all(&bucket)?;
        let as_user = |user, group| -> Result<Velero> {
            let kubeconfig = plane.kubeconfig_for(user, group)?;
            let velero = Velero::new(cx.velero()?, &kubeconfig, cx.scratch());
            Ok(velero.env("VELERO_STORE", format!("file://{}", bucket.display())))
        };
        Ok(Self {
            plane,
            cluster: Cluster::new(plane.client().await?),
            velero: as_user(USER, Some("system:masters"))?,
            clerk: as_user(CLERK, None)?,
            bucket,
            plans: cx.scratch().to_owned(),
        })
    }

    /// Backs the objects of a round up, brings them into their situations, plans, restores, and compares.
    async fn play(&self, round: Round) -> Result<Played> {
        self.set_up(&round).await.context("setting up")?;
        self.back_up(round.name).await?;
        self.change(&round).await.context("changing")?;

        let velero = if round.is_clerk {
            &self.clerk
        } else {
            &self.velero
        };
        let (before, writes) = (self.cluster.versions().await?, self.writes()?);
        let planned = velero
            .run(&self.words(&round, "plan", &["-o", "json"]))
            .await?;
        let plan = read_plan(&planned)?;
        let mut played = self.expected(&round, &plan);
        played.faults.extend(self.untouched(&before, writes).await?);

        let file = self.plans.join(format!("{}.jsonl", round.name));
        fs::write(&file, &planned.stdout)?;
        let file = file.display().to_string();
        let before = Seen::read(self.cluster.client()).await?;
        let restored = velero
            .run(&["direct", "restore", "--plan-file", &file, LIMIT, "2s"])
            .await?;
        if restored.code != planned.code {
            played.faults.push(format!(
                "the plan ends with {:?}, the restore with {:?}: {}{}",
                planned.code, restored.code, restored.stdout, restored.stderr
            ));
        }
        if restored.code == Some(1) {
            return Ok(played);
        }
        let outcomes = Outcomes::read(&self.bucket, &format!("r-{}", round.name))?;
        played.faults.extend(disagreements(&plan, &outcomes));
        let after = Seen::read(self.cluster.client()).await?;
        let seen = (&before, &after);
        played
            .faults
            .extend(truth::faults(&round, &plan, &outcomes, seen));
        Ok(played)
    }

    /// Counts the situations, and tells where the plan says something else than it should.
    fn expected(&self, round: &Round, plan: &[Value]) -> Played {
        let mut played = Played::default();
        for situation in &round.situations {
            let key = self.key(round, &situation.object);
            let of_key = plan.iter().filter(|item| agreement::key(item) == key);
            let expected = situation.expected;
            *played.situations.entry(expected.to_owned()).or_default() += 1;
            if !of_key
                .clone()
                .any(|item| agreement::summary(item) == expected)
            {
                let said: Vec<String> = of_key.map(Value::to_string).collect();
                played.faults.push(format!(
                    "{key} should be {expected:?}, and the plan says [{}]",
                    said.join(", ")
                ));
            }
        }
        played.others = plan.len().saturating_sub(round.situations.len());
        played
    }

    /// The words of a command over the backup of a round.
    fn words<'b>(&self, round: &'b Round, command: &'b str, more: &[&'b str]) -> Vec<String> {
        let name = format!("r-{}", round.name);
        let words = ["direct", command, round.name, "--restore-name", &name];
        let all = words.iter().chain(&round.flags).chain(more);
        all.map(|word| (*word).to_owned()).collect()
    }

    async fn set_up(&self, round: &Round) -> Result<()> {
        let own = kinds::object(
            "v1",
            "Namespace",
            serde_json::json!({"metadata": {"name": round.space()}}),
        );
        self.cluster.put(&own).await?;
        let of_kind = |kind: &'static str| {
            let all = round.surroundings.iter();
            all.chain(before_the_backup(round))
                .filter(move |object| object["kind"] == kind)
        };
        for first in [
            "Namespace",
            "CustomResourceDefinition",
            "PriorityClass",
            "ServiceAccount",
        ] {
            for object in of_kind(first) {
                self.cluster.put(object).await?;
            }
        }
        for object in of_kind("CustomResourceDefinition") {
            self.cluster.served(object).await?;
        }
        for object in std::iter::once(&own).chain(of_kind("Namespace")) {
            self.cluster.ready(object).await?;
        }
        let objects = before_the_backup(round);
        for object in round.surroundings.iter().chain(objects) {
            self.cluster.put(object).await?;
        }
        self.cluster.bound(&round.space()).await
    }

    async fn back_up(&self, round: &str) -> Result<()> {
        let selector = format!("{LABEL}={round}");
        let words = [
            "direct",
            "backup",
            round,
            "--selector",
            &selector,
            "--include-cluster-resources=true",
        ];
        self.velero.ok(&words).await.map(drop)
    }

    async fn change(&self, round: &Round) -> Result<()> {
        for situation in &round.situations {
            if matches!(situation.change, Change::Delete | Change::Replace(_)) {
                self.cluster.delete(&situation.object).await?;
            }
        }
        for situation in &round.situations {
            let object = &situation.object;
            match &situation.change {
                Change::Keep => {}
                Change::Come => self.cluster.put(object).await?,
                Change::Patch(patch) => self.cluster.patch(object, patch).await?,
                Change::Delete => self.cluster.gone(object).await?,
                Change::Replace(other) => {
                    self.cluster.gone(object).await?;
                    let mut other = other.clone();
                    for field in ["name", "namespace", "labels"] {
                        if let Some(value) = object["metadata"].get(field) {
                            other["metadata"][field] = value.clone();
                        }
                    }
                    self.cluster.put(&other).await?;
                    if other["kind"] == "CustomResourceDefinition" {
                        self.cluster.served(&other).await?;
                    }
                }
            }
        }
        for obstacle in &round.obstacles {
            let mut obstacle = obstacle.clone();
            // In the target of a mapping it must not differ by that.
            obstacle["metadata"]["labels"][LABEL] = round.name.into();
            self.cluster.put(&obstacle).await?;
        }
        for (name, is_waited_for) in &round.deleted {
            let space = kinds::object(
                "v1",
                "Namespace",
                serde_json::json!({"metadata": {"name": name}}),
            );
            self.cluster.delete(&space).await?;
            if *is_waited_for {
                self.cluster.gone(&space).await?;
            } else {
                self.cluster.held(&space).await?;
            }
        }
        if let Some(canary) = &round.canary {
            self.cluster.refused(canary).await?;
        }
        self.cluster.bound(&round.space()).await?;
        self.cluster.at_rest().await
    }

    /// The number of our writes so far that were no dry runs.
    fn writes(&self) -> Result<usize> {
        let audit = self.plane.audit().context("no audit log")?;
        let mut count = 0;
        for user in [USER, CLERK] {
            let calls = audit.events(&AuditFilter::of_user(user))?;
            let is_real = |call: &&AuditEvent| {
                (call.is_write() || call.verb == "delete")
                    && !call.request_uri.contains("dryRun=All")
            };
            count += calls.iter().filter(is_real).count();
        }
        Ok(count)
    }

    /// What a plan has changed: versions of objects, and writes that were no dry runs.
    async fn untouched(
        &self,
        before: &BTreeMap<String, String>,
        writes: usize,
    ) -> Result<Vec<String>> {
        let mut faults = Vec::new();
        let after = self.cluster.versions().await?;
        for (key, version) in before {
            if after.get(key) != Some(version) {
                let now = after.get(key);
                faults.push(format!(
                    "{key} was at {version} before the plan, and is at {now:?}"
                ));
            }
        }
        let new = after.keys().filter(|key| !before.contains_key(*key));
        faults.extend(new.map(|key| format!("{key} was not there before the plan")));
        match self.writes()?.saturating_sub(writes) {
            0 => {}
            more => faults.push(format!(
                "the plan has made {more} writes that are no dry runs"
            )),
        }
        Ok(faults)
    }

    fn key(&self, round: &Round, object: &Value) -> String {
        let source = namespace_of(object);
        key_of(object, round.target(source))
    }

    /// A plan is refused, and nothing done, when an object has changed since.
    async fn moved_world(&self) -> Result<()> {
        let mut round = Round::new("moved", &["--existing-resource-policy", "update"]);
        let theirs = |value: &str| serde_json::json!({"data": {"key": value}});
        round
            .add(
                &kinds::config_map("ours"),
                "absent",
                Change::Delete,
                "create",
            )
            .add(
                &kinds::config_map("ours"),
                "differs",
                Change::Patch(theirs("theirs")),
                "update",
            );
        self.set_up(&round).await?;
        self.back_up(round.name).await?;
        self.change(&round).await?;
        let planned = self
            .velero
            .ok(&self.words(&round, "plan", &["-o", "json"]))
            .await?;
        let file = self.plans.join("moved.jsonl");
        fs::write(&file, planned)?;
        let file = file.display().to_string();
        let differs = &round.situations[1].object;
        self.cluster.patch(differs, &theirs("another's")).await?;
        let words = ["direct", "restore", "--plan-file", &file];
        let line = self.velero.refused(&words).await?;
        ensure!(
            line.contains("configmaps m-moved/differs") && !line.contains("absent"),
            "the refusal is {line}"
        );
        let absent = &round.situations[0].object;
        ensure!(
            self.cluster.get(absent).await?.is_none(),
            "an object was created"
        );
        self.cluster.patch(differs, &theirs("theirs")).await?;
        self.velero.ok(&words).await?;
        ensure!(
            self.cluster.get(absent).await?.is_some(),
            "no object was created"
        );
        Ok(())
    }
}

/// Objects of the situations that there are before the backup is made.
fn before_the_backup(round: &Round) -> impl Iterator<Item = &Value> {
    let there = round.situations.iter();
    there
        .filter(|situation| !matches!(situation.change, Change::Come))
        .map(|situation| &situation.object)
}

/// The items of a plan.
fn read_plan(planned: &Outcome) -> Result<Vec<Value>> {
    ensure!(
        matches!(planned.code, Some(0 | 2)),
        "the plan failed: {planned:?}"
    );
    let mut items = Vec::new();
    for line in planned.stdout.lines() {
        let mut line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        if let Some(item) = line.get_mut("item") {
            items.push(item.take());
        }
    }
    Ok(items)
}
