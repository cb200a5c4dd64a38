//! Items as raw JSON bytes with a small parsed head.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Error, ItemKey, ItemTree};

/// The parts of an object that filters and ordering look at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ItemHead {
    /// `apps/v1`, `v1`.
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Unique id given by the API server, empty in hand-written objects.
    pub uid: String,
    /// Version of the object, empty in hand-written objects.
    pub resource_version: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Owner references.
    pub owners: Vec<OwnerRef>,
    /// Whether the object carries a deletion timestamp.
    pub deleting: bool,
    /// `status.phase`, empty where there is none.
    pub phase: String,
}

impl ItemHead {
    /// The key of this object within a run.
    pub fn key(&self) -> ItemKey {
        ItemKey::new(
            &self.api_version,
            &self.kind,
            self.namespace.as_str(),
            self.name.as_str(),
        )
    }

    /// The API group, empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version
            .split_once('/')
            .map_or("", |(group, _)| group)
    }

    /// The API version without its group.
    pub fn version(&self) -> &str {
        self.api_version
            .split_once('/')
            .map_or(self.api_version.as_str(), |(_, version)| version)
    }
}

/// An owner of an object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerRef {
    /// API version of the owner.
    pub api_version: String,
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner.
    pub name: String,
    /// Unique id of the owner.
    pub uid: String,
    /// Whether the owner is the managing controller.
    pub controller: bool,
}

/// One object as the bytes that the API server or an archive gave, and its [`ItemHead`].
///
/// The bytes stay untouched: key order and big numbers survive. A full tree is built only by [`RawItem::tree`].
/// Cloning shares the bytes.
#[derive(Debug, Clone)]
pub struct RawItem {
    json: Bytes,
    head: ItemHead,
}

impl RawItem {
    /// Reads the head of a complete object.
    ///
    /// # Errors
    /// When the bytes are no JSON object, or `apiVersion`, `kind` or `metadata.name` is missing.
    pub fn parse(json: Bytes) -> Result<Self, Error> {
        let wire = parse_wire(&json)?;
        let head = wire.into_head(None)?;
        Ok(Self { json, head })
    }

    /// Reads an element of a list answer, whose items of typed kinds carry no `apiVersion` and `kind`.
    ///
    /// Missing fields are put in front of the server's bytes; fields that are there stay as they are.
    ///
    /// # Errors
    /// When the bytes are no JSON object or `metadata.name` is missing.
    pub fn from_list_element(raw: &RawValue, api_version: &str, kind: &str) -> Result<Self, Error> {
        Self::from_element(raw.get().as_bytes(), api_version, kind)
    }

    fn from_element(text: &[u8], api_version: &str, kind: &str) -> Result<Self, Error> {
        let wire = parse_wire(text)?;
        let (has_version, has_kind) = (wire.api_version.is_some(), wire.kind.is_some());
        let head = wire.into_head(Some((api_version, kind)))?;
        let json = if has_version && has_kind {
            Bytes::copy_from_slice(text)
        } else {
            splice(
                text,
                (!has_version).then_some(api_version),
                (!has_kind).then_some(kind),
            )
        };
        Ok(Self { json, head })
    }

    /// As [`RawItem::from_list_element`], for bytes that nobody has looked at.
    ///
    /// # Errors
    /// When the bytes are no text or no JSON object, or `metadata.name` is missing.
    pub fn from_list_bytes(text: &[u8], api_version: &str, kind: &str) -> Result<Self, Error> {
        // The parser does not look at the text of strings that it passes over.
        if std::str::from_utf8(text).is_err() {
            return Err(Error::item("an item", "it is not utf-8"));
        }
        Self::from_element(text.trim_ascii(), api_version, kind)
    }

    /// Makes an item of a tree; the bytes get sorted keys and Go's escapes.
    ///
    /// # Errors
    /// When `apiVersion`, `kind` or `metadata.name` is missing.
    pub fn from_tree(tree: &ItemTree) -> Result<Self, Error> {
        Self::parse(crate::to_go_json(tree.as_value()).into())
    }

    /// The object's bytes: one JSON object with `apiVersion` and `kind`.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// The parsed head.
    pub fn head(&self) -> &ItemHead {
        &self.head
    }

    /// The object's annotations, parsed on each call.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default)]
            metadata: Meta,
        }
        #[derive(Deserialize, Default)]
        struct Meta {
            #[serde(default)]
            annotations: Option<BTreeMap<String, String>>,
        }
        serde_json::from_slice::<Wire>(&self.json)
            .ok()
            .and_then(|w| w.metadata.annotations)
            .unwrap_or_default()
    }

    /// Parses the whole object.
    ///
    /// # Errors
    /// When the bytes are no JSON object.
    pub fn tree(&self) -> Result<ItemTree, Error> {
        ItemTree::parse(&self.json)
    }
}

fn splice(text: &[u8], api_version: Option<&str>, kind: Option<&str>) -> Bytes {
    let mut out = Vec::with_capacity(text.len() + 64);
    out.push(b'{');
    for (field, value) in [("apiVersion", api_version), ("kind", kind)] {
        let Some(value) = value else { continue };
        out.push(b'"');
        out.extend_from_slice(field.as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(serde_json::Value::from(value).to_string().as_bytes());
        out.push(b',');
    }
    let open = text.iter().position(|b| *b == b'{').map_or(0, |at| at + 1);
    let rest = &text[open..];
    if rest.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'}') && out.last() == Some(&b',') {
        out.pop();
    }
    out.extend_from_slice(rest);
    out.into()
}

fn parse_wire(json: &[u8]) -> Result<Wire<'_>, Error> {
    // A derived struct would also be read from an array of its fields.
    if json.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Error::item("an item", "it is no json object"));
    }
    serde_json::from_slice(json).map_err(|source| Error::Item {
        what: "an item".into(),
        reason: "its json does not parse".into(),
        source: Some(Box::new(source)),
    })
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(rename = "apiVersion", borrow, default)]
    api_version: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    metadata: Option<WireMeta<'a>>,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct WireMeta<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    uid: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    resource_version: Option<Cow<'a, str>>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    owner_references: Option<Vec<OwnerRef>>,
    #[serde(borrow, default)]
    deletion_timestamp: Option<Cow<'a, str>>,
}

impl Wire<'_> {
    fn into_head(self, default_gvk: Option<(&str, &str)>) -> Result<ItemHead, Error> {
        let (api_version, kind) = match (self.api_version, self.kind, default_gvk) {
            (Some(version), Some(kind), _) => (version.into_owned(), kind.into_owned()),
            (version, kind, Some((default_version, default_kind))) => (
                version.map_or_else(|| default_version.to_owned(), Cow::into_owned),
                kind.map_or_else(|| default_kind.to_owned(), Cow::into_owned),
            ),
            (None, _, None) => return Err(Error::item("an item", "it has no apiVersion")),
            (Some(_), None, None) => return Err(Error::item("an item", "it has no kind")),
        };
        let meta = self.metadata.unwrap_or_default();
        let name = meta.name.map(Cow::into_owned).unwrap_or_default();
        if name.is_empty() {
            return Err(Error::item(format!("a {kind}"), "it has no metadata.name"));
        }
        Ok(ItemHead {
            api_version,
            kind,
            name,
            namespace: meta.namespace.map(Cow::into_owned).unwrap_or_default(),
            uid: meta.uid.map(Cow::into_owned).unwrap_or_default(),
            resource_version: meta
                .resource_version
                .map(Cow::into_owned)
                .unwrap_or_default(),
            labels: meta.labels.unwrap_or_default(),
            owners: meta.owner_references.unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
            phase: self.status.map(phase_of).unwrap_or_default(),
        })
    }
}

/// Reads `status.phase`; a status that is no object, or a phase that is no string, has none.
fn phase_of(status: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Status<'a> {
        #[serde(borrow, default)]
        phase: Option<&'a RawValue>,
    }
    serde_json::from_str::<Status<'_>>(status.get())
        .ok()
        .and_then(|s| s.phase)
        .and_then(|raw| serde_json::from_str::<String>(raw.get()).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn list_elements_get_their_missing_type_in_front() {
        let cases = [
            (
                r#"{"metadata":{"name":"a"}}"#,
                r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}"#,
            ),
            (
                r#"{ "kind":"X","metadata":{"name":"a"}}"#,
                r#"{"apiVersion":"v1", "kind":"X","metadata":{"name":"a"}}"#,
            ),
            (
                r#"{"metadata":{"name":"a"},"kind":"X","apiVersion":"g/v2"}"#,
                r#"{"metadata":{"name":"a"},"kind":"X","apiVersion":"g/v2"}"#,
            ),
        ];
        for (input, expected) in cases {
            let item = RawItem::from_list_element(&raw(input), "v1", "Pod").unwrap();
            assert_eq!(std::str::from_utf8(item.json()).unwrap(), expected);
            assert_eq!(
                RawItem::parse(item.json().clone()).unwrap().head(),
                item.head()
            );
        }
    }

    #[test]
    fn heads_hold_what_filters_look_at() {
        let item = RawItem::parse(Bytes::from_static(
            br#"{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"w","namespace":"n","uid":"u",
            "labels":{"a":"b"},"annotations":{"x":"y"},"deletionTimestamp":"2026-01-01T00:00:00Z",
            "ownerReferences":[{"kind":"K","name":"o","uid":"1","apiVersion":"v1","controller":true}]},
            "spec":{"big":9007199254740993},"status":{"phase":"Running"}}"#,
        ))
        .unwrap();
        let head = item.head();
        assert_eq!(
            (head.group(), head.version(), head.phase.as_str()),
            ("apps", "v1", "Running")
        );
        assert!(head.deleting && head.owners[0].controller && head.labels["a"] == "b");
        assert_eq!(item.annotations()["x"], "y");
        assert_eq!(
            item.tree().unwrap().as_value()["spec"]["big"].to_string(),
            "9007199254740993"
        );
    }

    #[test]
    fn what_is_no_object_is_an_error_that_says_so() {
        for (text, want) in [
            ("[]", "no json object"),
            ("{", "does not parse"),
            (r#"{"kind":"A","metadata":{"name":"x"}}"#, "no apiVersion"),
            (r#"{"apiVersion":"v1","metadata":{"name":"x"}}"#, "no kind"),
            (
                r#"{"apiVersion":"v1","kind":"A","metadata":{}}"#,
                "no metadata.name",
            ),
        ] {
            let error = RawItem::parse(Bytes::from(text.to_owned())).unwrap_err();
            assert!(error.to_string().contains(want), "{text}: {error}");
        }
    }
}
