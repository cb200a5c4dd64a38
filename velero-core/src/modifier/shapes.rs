//! What strategic merge patches need to know of the types of Kubernetes.
//!
//! `types.txt` has one line without indent for a type; indented lines are its fields: the name, then what the field
//! holds (nothing for a plain value; `a` anything, `#name` a type of this table, `{}T` a mapping of names to `T`, `[]T`
//! a list of `T`), then `~` when a patch replaces it, `@key` when lists are merged by that key (`@` alone: lists of
//! plain values). It is written by `cargo xtask merge-keys`.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

const TABLE: &str = include_str!("types.txt");

/// Groups, and the Go package that their types are in.
const PACKAGES: [(&str, &str); 17] = [
    ("", "core"),
    ("admissionregistration.k8s.io", "admissionregistration"),
    ("apiextensions.k8s.io", "apiextensions"),
    ("apiregistration.k8s.io", "apiregistration"),
    ("apps", "apps"),
    ("autoscaling", "autoscaling"),
    ("batch", "batch"),
    ("certificates.k8s.io", "certificates"),
    ("coordination.k8s.io", "coordination"),
    ("discovery.k8s.io", "discovery"),
    ("events.k8s.io", "events"),
    ("flowcontrol.apiserver.k8s.io", "flowcontrol"),
    ("networking.k8s.io", "networking"),
    ("policy", "policy"),
    ("rbac.authorization.k8s.io", "rbac"),
    ("scheduling.k8s.io", "scheduling"),
    ("storage.k8s.io", "storage"),
];

/// Custom resources that the peer knows the types of; none of their own fields is a list that is merged.
const OWN: [(&str, &[&str]); 4] = [
    (
        "velero.io/v1",
        &[
            "Backup",
            "BackupRepository",
            "BackupStorageLocation",
            "DeleteBackupRequest",
            "DownloadRequest",
            "PodVolumeBackup",
            "PodVolumeRestore",
            "Restore",
            "Schedule",
            "ServerStatusRequest",
            "VolumeSnapshotLocation",
        ],
    ),
    ("velero.io/v2alpha1", &["DataDownload", "DataUpload"]),
    (
        "snapshot.storage.k8s.io/v1",
        &[
            "VolumeSnapshot",
            "VolumeSnapshotClass",
            "VolumeSnapshotContent",
        ],
    ),
    (
        "groupsnapshot.storage.k8s.io/v1beta2",
        &[
            "VolumeGroupSnapshot",
            "VolumeGroupSnapshotClass",
            "VolumeGroupSnapshotContent",
        ],
    ),
];

/// What a value is made of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Anything.
    Any,
    /// Neither mapping nor list.
    Plain,
    /// Fields of a type, by its place in the table.
    Fields(usize),
    Map(Box<Shape>),
    List(Box<Shape>),
}

/// A field of a type.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) shape: Shape,
    /// The key that tells elements of a list apart that patches merge; empty in lists of plain values.
    pub(super) merge_key: Option<&'static str>,
    /// A patch replaces the whole value.
    pub(super) replaced: bool,
}

#[derive(Debug)]
struct Type {
    name: &'static str,
    fields: BTreeMap<&'static str, Field>,
    /// Fields that are not listed may hold anything.
    open: bool,
}

/// The table, loaded.
#[derive(Debug)]
pub(super) struct Shapes {
    types: Vec<Type>,
    names: HashMap<&'static str, usize>,
}

/// The shapes of the kinds of Kubernetes.
pub(super) fn shapes() -> &'static Shapes {
    static SHAPES: OnceLock<Shapes> = OnceLock::new();
    SHAPES.get_or_init(Shapes::load)
}

impl Shapes {
    fn load() -> Self {
        let heads = TABLE.lines().filter(|line| !line.starts_with(' '));
        let mut types: Vec<Type> = heads
            .map(|name| Type {
                name,
                fields: BTreeMap::new(),
                open: false,
            })
            .collect();
        let names: HashMap<_, _> = types.iter().enumerate().map(|(i, t)| (t.name, i)).collect();
        let mut next = 0;
        for line in TABLE.lines() {
            let Some(line) = line.strip_prefix(' ') else {
                next += 1;
                continue;
            };
            if let Some(current) = types.get_mut(next - 1) {
                let (name, field) = field(line, &names);
                current.fields.insert(name, field);
            }
        }
        let metadata = Field {
            shape: shape("#meta.v1.ObjectMeta", &names),
            merge_key: None,
            replaced: false,
        };
        types.push(Type {
            name: "object",
            fields: BTreeMap::from([("metadata", metadata)]),
            open: true,
        });
        Self { types, names }
    }

    /// The shape of objects of a kind; `None` for kinds that neither Kubernetes nor the peer itself has.
    pub(super) fn of_kind(&self, api_version: &str, kind: &str) -> Option<Shape> {
        if OWN
            .iter()
            .any(|(version, kinds)| *version == api_version && kinds.contains(&kind))
        {
            return Some(Shape::Fields(self.types.len() - 1));
        }
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let (_, package) = PACKAGES.iter().find(|(known, _)| *known == group)?;
        let at = *self
            .names
            .get(format!("{package}.{version}.{kind}").as_str())?;
        let is_object = self.types.get(at)?.fields.contains_key("kind");
        is_object.then_some(Shape::Fields(at))
    }

    /// The field `key` of a mapping; the error names the type that has no such field.
    pub(super) fn field<'a>(
        &'a self,
        shape: &'a Shape,
        key: &str,
    ) -> Result<(&'a Shape, Option<&'a Field>), &'static str> {
        match shape {
            Shape::Fields(at) => {
                let Some(of) = self.types.get(*at) else {
                    return Ok((&Shape::Any, None));
                };
                match of.fields.get(key) {
                    Some(field) => Ok((&field.shape, Some(field))),
                    None if of.open => Ok((&Shape::Any, None)),
                    None => Err(of.name.rsplit('.').next().unwrap_or(of.name)),
                }
            }
            Shape::Map(values) => Ok((values, None)),
            _ => Ok((&Shape::Any, None)),
        }
    }
}

fn field(line: &'static str, names: &HashMap<&'static str, usize>) -> (&'static str, Field) {
    let mut words = line.split(' ');
    let name = words.next().unwrap_or_default();
    let mut field = Field {
        shape: Shape::Plain,
        merge_key: None,
        replaced: false,
    };
    for word in words {
        if let Some(key) = word.strip_prefix('@') {
            field.merge_key = Some(key);
        } else if word == "~" {
            field.replaced = true;
        } else {
            field.shape = shape(word, names);
        }
    }
    (name, field)
}

fn shape(text: &str, names: &HashMap<&'static str, usize>) -> Shape {
    if let Some(rest) = text.strip_prefix("[]") {
        return Shape::List(Box::new(shape(rest, names)));
    }
    if let Some(rest) = text.strip_prefix("{}") {
        return Shape::Map(Box::new(shape(rest, names)));
    }
    match text.strip_prefix('#').and_then(|name| names.get(name)) {
        Some(at) => Shape::Fields(*at),
        None if text.is_empty() => Shape::Plain,
        None => Shape::Any,
    }
}
