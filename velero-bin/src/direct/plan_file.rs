//! Plans of restores as text: what `direct plan` prints as JSON lines or YAML, and `direct restore --plan-file` reads.

use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use velero_cluster::Cluster;
use velero_core::api::Restore;
use velero_core::names::hex;
use velero_core::plan::{ItemVerdict, PlanOutline, Verdict};
use velero_core::result::{About, Record, Severity};
use velero_restore::{ExistingPolicy, ExpectedPlan, Verified};

use crate::runs::cluster_identity;

/// The form that this version writes, and the only one that it reads.
const FORM: u32 = 1;

/// One line of a plan: an object with one key that says what it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Line {
    /// The first line.
    Plan(Box<Head>),
    /// What comes in which order.
    Outline(PlanOutline),
    /// What would become of an item.
    Item(Box<ItemVerdict>),
    /// Something about the restore as a whole.
    Note(Note),
    /// The last line: without it a plan is not whole.
    End(End),
}

/// What a plan is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head {
    /// The form of the lines.
    pub(super) form: u32,
    /// Which cluster was asked.
    #[serde(default)]
    pub(super) cluster: String,
    /// The restore: its name, its namespace and what it is to do.
    pub(super) restore: Restore,
}

impl Head {
    pub(super) fn new(cluster: String, restore: Restore) -> Self {
        Self {
            form: FORM,
            cluster,
            restore,
        }
    }
}

/// A warning or error that is about no item of the archive.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Note {
    /// `warning` or `error`.
    pub(super) severity: String,
    /// `pods`; empty where the restore as a whole is meant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) resource: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) namespace: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    pub(super) message: String,
}

impl From<&Record> for Note {
    fn from(record: &Record) -> Self {
        let severity = match record.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let (resource, namespace, name) = match &record.about {
            About::Run => Default::default(),
            About::Item {
                resource,
                namespace,
                name,
            } => (resource.clone(), namespace.clone(), name.clone()),
        };
        Self {
            severity: severity.to_owned(),
            resource,
            namespace,
            name,
            message: record.message.clone(),
        }
    }
}

/// What came of it all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    /// How many items have which verdict.
    pub(super) verdicts: std::collections::BTreeMap<Verdict, u64>,
    /// How many verdicts the API server was not asked about.
    pub(super) unverified: u64,
    /// How many items the restore would count an error for.
    pub(super) errors: u64,
}

impl From<&Verified> for End {
    fn from(verified: &Verified) -> Self {
        Self {
            verdicts: verified.verdicts.clone(),
            unverified: verified.unverified,
            errors: verified.errors,
        }
    }
}

/// A plan that was read.
#[derive(Debug)]
pub(super) struct PlanFile {
    pub(super) head: Head,
    pub(super) expected: ExpectedPlan,
    /// Tells it from other plans.
    pub(super) digest: String,
}

impl PlanFile {
    /// Reads a plan of JSON lines.
    ///
    /// # Errors
    /// When the file cannot be read, is no such plan, or its end is missing.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let file = std::fs::File::open(path)
            .with_context(|| format!("cannot read the plan {}", path.display()))?;
        Self::from_lines(BufReader::new(file))
            .with_context(|| format!("cannot use the plan {}", path.display()))
    }

    /// Refuses to be carried out in another cluster than the one that was asked.
    ///
    /// # Errors
    /// When it is another one; when nobody knows, and the plan deletes objects.
    pub(super) async fn check_cluster(&self, cluster: &Cluster) -> Result<()> {
        self.is_for(&cluster_identity(cluster).await)
    }

    fn is_for(&self, here: &str) -> Result<()> {
        let there = &self.head.cluster;
        if there != here {
            bail!(
                "the plan was made for another cluster: the uid of its namespace kube-system is {there:?}, and {here:?} here"
            );
        }
        let deletes = ExistingPolicy::of(&self.head.restore) == ExistingPolicy::Mirror;
        if deletes && here.is_empty() {
            bail!(
                "nobody knows whether the plan, which deletes objects, was made for this cluster: whoever makes it and carries \
                 it out must be allowed to get the namespace kube-system, whose uid tells"
            );
        }
        Ok(())
    }

    fn from_lines(text: impl BufRead) -> Result<Self> {
        let mut head = None;
        let mut end = None;
        let mut expected = ExpectedPlan::default();
        let mut seen = End::default();
        let mut hash = Sha256::new();
        for (at, line) in text.lines().enumerate() {
            let line = line?;
            if line.trim().is_empty() {
                continue;
            }
            hash.update(line.trim());
            hash.update("\n");
            let number = at + 1;
            let line: Line = serde_json::from_str(&line).map_err(|error| {
                anyhow!("line {number} is no line of a plan as \"direct plan -o json\" prints it: {error}")
            })?;
            if end.is_some() {
                bail!("line {number} comes after the end of the plan");
            }
            match line {
                Line::Plan(found) if head.is_none() => head = Some(*found),
                Line::Plan(_) => bail!("line {number} begins a second plan"),
                _ if head.is_none() => bail!("line {number}: the plan has no beginning"),
                Line::Item(item) => {
                    *seen.verdicts.entry(item.verdict).or_default() += 1;
                    seen.unverified += u64::from(item.unverified);
                    seen.errors += u64::from(item.error);
                    expected.add(&item);
                }
                Line::End(found) => end = Some(found),
                Line::Outline(_) | Line::Note(_) => {}
            }
        }
        let head = head.context("it is empty")?;
        if head.form != FORM {
            bail!(
                "it has form {}, and this version reads form {FORM}",
                head.form
            );
        }
        match end {
            None => bail!("it is cut short: its last line is missing"),
            Some(end) if end != seen => {
                bail!("it is not whole: its lines are not those that its end counts")
            }
            Some(_) => Ok(Self {
                head,
                expected,
                digest: hex(&hash.finalize()),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#"{"plan":{"form":1,"cluster":"c","restore":{"metadata":{"name":"r"},"spec":{"backupName":"b"}}}}"#;
    const ITEM: &str = r#"{"item":{"resource":"configmaps","kind":"v1/ConfigMap","namespace":"shop","name":"a","verdict":"create"}}"#;
    const END: &str = r#"{"end":{"verdicts":{"create":1},"unverified":0,"errors":0}}"#;

    fn read(lines: &[&str]) -> Result<PlanFile> {
        PlanFile::from_lines(lines.join("\n").as_bytes())
    }

    #[test]
    fn whole_plans_are_read() {
        let note = r#"{"note":{"severity":"warning","message":"m"}}"#;
        let outline = r#"{"outline":{"namespaces":{},"waves":[]}}"#;
        let plan = read(&[HEAD, outline, ITEM, note, "", END, ""]).unwrap();
        assert_eq!(plan.expected.len(), 1);
        assert_eq!(plan.head.restore.spec.backup_name, "b");
        assert_eq!(plan.head.cluster, "c");
        let other = ITEM.replace("\"a\"", "\"b\"");
        assert_ne!(plan.digest, read(&[HEAD, &other, END]).unwrap().digest);
        assert_eq!(
            plan.digest,
            read(&[HEAD, outline, ITEM, note, END]).unwrap().digest
        );
    }

    #[test]
    fn a_plan_is_for_one_cluster_and_one_that_deletes_for_a_known_one() {
        let unknown = |head: &str| head.replace("\"cluster\":\"c\"", "\"cluster\":\"\"");
        let policy =
            "\"metadata\":{\"annotations\":{\"x.velero.io/existing-resource-policy\":\"mirror\"},";
        let mirror = HEAD.replace("\"metadata\":{", policy);
        for (head, here, expected) in [
            (HEAD.to_owned(), "c", ""),
            (HEAD.to_owned(), "d", "another cluster"),
            (HEAD.to_owned(), "", "another cluster"),
            (unknown(HEAD), "", ""),
            (mirror.clone(), "c", ""),
            (mirror.clone(), "d", "another cluster"),
            (unknown(&mirror), "c", "another cluster"),
            (unknown(&mirror), "", "nobody knows"),
        ] {
            let plan = read(&[&head, ITEM, END]).unwrap();
            let refused = plan.is_for(here).err().map(|e| e.to_string());
            let refused = refused.unwrap_or_default();
            assert!(
                refused.is_empty() == expected.is_empty() && refused.contains(expected),
                "{head} {here:?}: {refused}"
            );
        }
    }

    #[test]
    fn others_are_refused() {
        let later = HEAD.replace("\"form\":1", "\"form\":2");
        for (lines, expected) in [
            (&[][..], "it is empty"),
            (&[HEAD, ITEM], "it is cut short"),
            (&[HEAD, END], "it is not whole"),
            (&[HEAD, ITEM, ITEM, END], "it is not whole"),
            (&[ITEM, END], "line 1: the plan has no beginning"),
            (&[HEAD, HEAD], "line 2 begins a second plan"),
            (&[HEAD, ITEM, END, ITEM], "line 4 comes after the end"),
            (&["apiVersion: v1"], "line 1 is no line of a plan"),
            (&[&later, ITEM, END], "it has form 2"),
        ] {
            let error = read(lines).unwrap_err().to_string();
            assert!(error.contains(expected), "{lines:?}: {error}");
        }
    }
}
