//! Definitions that are slow to be served or never are, objects that are too large, kinds that have moved on.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use velero_restore::{
    RestoreOptions,
    velero_core::result::{Record, Severity},
};

use super::{Faults, clean, count, lines, map, maps, object, restore};
use crate::gate::none;

/// A definition of a kind of its own.
pub(super) fn definition(plural: &str, kind: &str) -> Value {
    let mut definition = object(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "",
        &format!("{plural}.slow.example.com"),
    );
    definition["spec"] = json!({
        "group": "slow.example.com", "scope": "Namespaced",
        "names": {"plural": plural, "singular": plural.trim_end_matches('s'), "kind": kind, "listKind": format!("{kind}List")},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
    });
    definition
}

impl Faults<'_> {
    /// Many definitions at once, which discovery shows one after the other, and an object of each.
    pub(super) async fn definitions(&self) -> Result<()> {
        let mut items = Vec::new();
        for n in 0..40 {
            let kind = format!("Kind{n}");
            items.push(definition(&format!("kind{n}s"), &kind));
            items.push(object("slow.example.com/v1", &kind, "slow", "a"));
        }
        let (result, _) =
            restore(&self.client, &items, none(), 0, RestoreOptions::default()).await?;
        clean(&result)?;
        ensure!(result.counts.created == 81, "{:?}", result.counts);
        Ok(())
    }

    /// A definition that is never served, as another one has one of its names: it is waited for only so long, and told why.
    pub(super) async fn never_served(&self) -> Result<()> {
        let mut taken = definition("others", "Other");
        taken["spec"]["names"]["listKind"] = "Kind0List".into();
        let mut items = vec![
            taken,
            object("slow.example.com/v1", "Other", "unserved", "a"),
        ];
        items.extend(maps("unserved", 20));
        let impatient = RestoreOptions::default().resource_timeout(Duration::from_secs(3));
        let (result, _) = restore(&self.client, &items, none(), 0, impatient).await?;
        let said = lines(&result);
        let told = |name: &str, text: &str| {
            said.iter()
                .any(|line| line.contains(name) && line.contains(text))
        };
        ensure!(
            said.len() == 2
                && told("others.slow.example.com", "is not served within 3s")
                && told("others.slow.example.com", "\"Kind0List\" is already in use")
                && told("name: /a ", "does not serve"),
            "{said:?}"
        );
        let there = count(&self.client, "/api/v1/namespaces/unserved/configmaps").await?;
        ensure!(there == 20, "{there} objects");
        Ok(())
    }

    /// Objects that are too large for the request, for their kind and for the store, and a kind that has moved on.
    pub(super) async fn sizes_and_kinds(&self) -> Result<()> {
        let sized = |name: &str, bytes: usize| {
            let mut big = map("sizes", name);
            big["data"]["text"] = "x".repeat(bytes).into();
            big
        };
        let mut stored = object("slow.example.com/v1", "Kind0", "sizes", "store");
        stored["text"] = "x".repeat(2 << 20).into();
        let mut items = maps("sizes", 20);
        items.extend([sized("request", 4 << 20), sized("kind", 3 << 19), stored]);
        items.push(object("extensions/v1beta1", "Ingress", "sizes", "old"));
        let (result, _) =
            restore(&self.client, &items, none(), 0, RestoreOptions::default()).await?;
        let said = lines(&result);
        let errors = |name: &str, text: &str| {
            let name = format!("name: /{name} ");
            let errors = result
                .records
                .iter()
                .filter(|r| r.severity == Severity::Error);
            errors
                .map(Record::line)
                .filter(|line| line.contains(&name) && line.contains(text))
                .count()
        };
        ensure!(
            said.len() == 4
                && errors("request", "limit is 3145728") == 1
                && errors("kind", "Too long") == 1
                && errors("store", "message larger than max") == 1
                && errors("old", "it serves Ingress as networking.k8s.io/v1") == 1,
            "{said:?}"
        );
        ensure!(count(&self.client, "/api/v1/namespaces/sizes/configmaps").await? == 20);
        Ok(())
    }
}
