//! The resources that the server knows: built-in ones and those of CustomResourceDefinitions.

use std::sync::Arc;

use serde_json::Value;

use crate::kinds;
use crate::schema::{Root, from_openapi};
use crate::status::qualified;

/// A subresource.
#[derive(Debug, Clone)]
pub(crate) struct Subresource {
    pub(crate) name: String,
    pub(crate) verbs: String,
    /// Group, version and kind of its bodies where they differ from the parent's.
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
}

/// What a CustomResourceDefinition says beyond the resource itself.
#[derive(Debug, Clone)]
pub(crate) struct Custom {
    /// Name of the definition.
    pub(crate) crd: String,
    pub(crate) columns: Vec<Value>,
    /// Field selectors, as `.spec.x` paths without the leading dot.
    pub(crate) selectable: Vec<String>,
    pub(crate) scale: Option<Value>,
    /// The schema as written, for OpenAPI.
    pub(crate) openapi: Option<Value>,
}

/// A resource in one version.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) short: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    pub(crate) verbs: String,
    pub(crate) subresources: Vec<Subresource>,
    /// Whether `status` is a subresource.
    pub(crate) status: bool,
    /// Whether the server counts generations.
    pub(crate) generation: bool,
    pub(crate) root: Option<Root>,
    /// Where objects are kept, `plural.group`; versions of one resource share it.
    pub(crate) table: Arc<str>,
    pub(crate) custom: Option<Custom>,
}

impl Resource {
    pub(crate) fn new(group: &str, version: &str, plural: &str, kind: &str) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
            plural: plural.into(),
            singular: kind.to_lowercase(),
            kind: kind.into(),
            list_kind: format!("{kind}List"),
            short: Vec::new(),
            categories: Vec::new(),
            namespaced: true,
            verbs: "cdDglpuw".into(),
            subresources: Vec::new(),
            status: false,
            generation: false,
            root: None,
            table: qualified(plural, group).into(),
            custom: None,
        }
    }

    /// `group/version`, or `version` in the core group.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    pub(crate) fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Whether this is the plain resource of a group, whatever the version.
    pub(crate) fn is(&self, group: &str, plural: &str) -> bool {
        self.group == group && self.plural == plural
    }
}

/// The resources served at a moment.
#[derive(Debug)]
pub(crate) struct Registry {
    resources: Vec<Arc<Resource>>,
    builtin: usize,
}

impl Default for Registry {
    fn default() -> Self {
        let resources = kinds::all();
        let builtin = resources.len();
        Self { resources, builtin }
    }
}

impl Registry {
    pub(crate) fn all(&self) -> &[Arc<Resource>] {
        &self.resources
    }

    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.resources
            .iter()
            .find(|r| r.version == version && r.is(group, plural))
            .cloned()
    }

    pub(crate) fn by_kind(&self, api_version: &str, kind: &str) -> Option<Arc<Resource>> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let same = |r: &&Arc<Resource>| r.kind == kind && r.group == group && r.version == version;
        self.resources.iter().find(same).cloned()
    }

    /// The resource in which objects of a table are written.
    pub(crate) fn by_table(&self, table: &str) -> Option<Arc<Resource>> {
        self.resources
            .iter()
            .find(|r| r.table.as_ref() == table)
            .cloned()
    }

    pub(crate) fn serves(&self, group: &str, version: &str) -> bool {
        self.resources
            .iter()
            .any(|r| r.group == group && r.version == version)
    }

    /// Takes a definition's versions out and puts its current ones in.
    pub(crate) fn define(&mut self, crd: &Value) {
        let name = crd["metadata"]["name"].as_str().unwrap_or_default();
        self.forget(name);
        self.resources
            .extend(versions(name, crd).into_iter().map(Arc::new));
        let builtin = self.builtin;
        self.resources[builtin..].sort_by(|a, b| {
            a.group
                .cmp(&b.group)
                .then_with(|| version_order(&a.version, &b.version))
                .then(a.plural.cmp(&b.plural))
        });
    }

    pub(crate) fn forget(&mut self, crd: &str) {
        self.resources
            .retain(|r| r.custom.as_ref().is_none_or(|c| c.crd != crd));
    }
}

/// The order in which versions are preferred: `v2`, `v1`, `v1beta2`, `v1beta1`, `v1alpha1`, then by name.
fn version_order(a: &str, b: &str) -> std::cmp::Ordering {
    fn rank(v: &str) -> Option<(u8, u32, u32)> {
        let rest = v.strip_prefix('v')?;
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let major: u32 = rest[..digits].parse().ok()?;
        match &rest[digits..] {
            "" => Some((2, major, 0)),
            tail => match (tail.strip_prefix("beta"), tail.strip_prefix("alpha")) {
                (Some(n), _) => Some((1, major, n.parse().ok()?)),
                (_, Some(n)) => Some((0, major, n.parse().ok()?)),
                _ => None,
            },
        }
    }
    match (rank(a), rank(b)) {
        (Some(x), Some(y)) => y.cmp(&x),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

fn strings(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn versions(name: &str, crd: &Value) -> Vec<Resource> {
    let spec = &crd["spec"];
    let names = &spec["names"];
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let (group, plural, kind) = (
        text(&spec["group"]),
        text(&names["plural"]),
        text(&names["kind"]),
    );
    let mut found = Vec::new();
    for version in spec["versions"].as_array().into_iter().flatten() {
        if version["served"] != Value::Bool(true) {
            continue;
        }
        let mut resource = Resource::new(
            &group,
            version["name"].as_str().unwrap_or_default(),
            &plural,
            &kind,
        );
        if let Some(singular) = names["singular"].as_str().filter(|s| !s.is_empty()) {
            resource.singular = singular.to_owned();
        }
        if let Some(list) = names["listKind"].as_str().filter(|s| !s.is_empty()) {
            resource.list_kind = list.to_owned();
        }
        resource.short = strings(&names["shortNames"]);
        resource.categories = strings(&names["categories"]);
        resource.namespaced = spec["scope"] == "Namespaced";
        resource.generation = true;
        resource.status = version["subresources"]["status"].is_object();
        let mut sub = |name: &str, group: &str, version: &str, kind: &str| {
            resource.subresources.push(Subresource {
                name: name.into(),
                verbs: "gpu".into(),
                group: group.into(),
                version: version.into(),
                kind: kind.into(),
            });
        };
        if version["subresources"]["scale"].is_object() {
            sub("scale", "autoscaling", "v1", "Scale");
        }
        if version["subresources"]["status"].is_object() {
            sub("status", "", "", &kind);
        }
        let open = spec["preserveUnknownFields"] == Value::Bool(true);
        let custom = custom(name, version);
        resource.root = Some(from_openapi(custom.openapi.as_ref().filter(|_| !open)));
        resource.custom = Some(custom);
        found.push(resource);
    }
    found
}

/// What one version of a definition says beyond the resource itself.
fn custom(name: &str, version: &Value) -> Custom {
    let selectable = version["selectableFields"].as_array().into_iter().flatten();
    Custom {
        crd: name.to_owned(),
        columns: version["additionalPrinterColumns"]
            .as_array()
            .cloned()
            .unwrap_or_default(),
        selectable: selectable
            .filter_map(|f| f["jsonPath"].as_str())
            .map(|p| p.trim_start_matches('.').to_owned())
            .collect(),
        scale: version["subresources"]
            .get("scale")
            .filter(|s| s.is_object())
            .cloned(),
        openapi: version["schema"]
            .get("openAPIV3Schema")
            .filter(|s| s.is_object())
            .cloned(),
    }
}
