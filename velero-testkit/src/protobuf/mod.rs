//! Request bodies in protobuf: four magic bytes, an envelope (`runtime.Unknown`) with the kind, and a message.
//!
//! Only bodies are understood; answers are always JSON, which every client accepts that sends protobuf.

mod decoder;
mod reader;
#[cfg(test)]
mod tests;

use serde_json::Value;

use decoder::{DEPTH, Decoder};
use reader::{Malformed, Reader, wire};

use crate::schema::{Problems, TypeId, builtin, normalise};
use crate::status::ApiError;

/// The media type.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What every body starts with.
const MAGIC: &[u8] = b"k8s\0";

/// How many bytes of a body that is no message an answer shows.
const SHOWN: usize = 30;

/// `runtime.Unknown`, as far as servers read it.
#[derive(Debug, Default)]
struct Envelope<'a> {
    api_version: String,
    kind: String,
    raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn open(body: &'a [u8]) -> Result<Self, Malformed> {
        if body.is_empty() {
            return Err(Malformed::NoData);
        }
        let data = body.strip_prefix(MAGIC).ok_or(Malformed::Prefix)?;
        if data.is_empty() {
            return Err(Malformed::NoBody);
        }
        let mut reader = Reader::new(data);
        let mut envelope = Self::default();
        while let Some(tag) = reader.tag("Unknown")? {
            match tag.number {
                1 => {
                    tag.want(wire::BYTES, "typeMeta")?;
                    envelope.type_meta(reader.bytes()?)?;
                }
                2 => {
                    tag.want(wire::BYTES, "raw")?;
                    envelope.raw = reader.bytes()?;
                }
                3 | 4 => {
                    let content = ["contentEncoding", "contentType"];
                    tag.want(wire::BYTES, content[usize::from(tag.number == 4)])?;
                    reader.bytes()?;
                }
                _ => reader.skip(tag)?,
            }
        }
        Ok(envelope)
    }

    fn type_meta(&mut self, data: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(data);
        while let Some(tag) = reader.tag("TypeMeta")? {
            let (field, name) = match tag.number {
                1 => (&mut self.api_version, "aPIVersion"),
                2 => (&mut self.kind, "kind"),
                _ => {
                    reader.skip(tag)?;
                    continue;
                }
            };
            tag.want(wire::BYTES, name)?;
            *field = String::from_utf8_lossy(reader.bytes()?).into_owned();
        }
        Ok(())
    }
}

/// What a body should hold.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    /// The type in the table of built-in types.
    pub(crate) ty: TypeId,
    /// Whether any version will do: options are sent in the version of the group that they are for.
    pub(crate) any_version: bool,
}

impl Expected {
    /// A type of the table by its name there.
    pub(crate) fn named(api_version: &str, name: &str) -> Option<Self> {
        let ty = builtin().named(name)?;
        Some(Self {
            api_version: api_version.to_owned(),
            kind: name.rsplit_once('.').map_or(name, |(_, k)| k).to_owned(),
            ty,
            any_version: false,
        })
    }
}

/// Decodes a body into the JSON that Go would write for the object in it.
///
/// A body of another kind gives an object that has nothing but its kind: to be refused by whoever checks kinds.
pub(crate) fn decode(body: &[u8], expected: &Expected) -> Result<Value, ApiError> {
    let envelope = Envelope::open(body).map_err(|e| unrecognised(body, expected, &e))?;
    let given = |text: &str, default: &str| if text.is_empty() { default } else { text }.to_owned();
    let kind = given(&envelope.kind, &expected.kind);
    let api_version = given(&envelope.api_version, &expected.api_version);
    let of_other_kind =
        kind != expected.kind || (api_version != expected.api_version && !expected.any_version);
    let mut tree = Value::Object(serde_json::Map::new());
    if !of_other_kind {
        let refuse = |problem: &str| {
            let version = api_version.rsplit('/').next().unwrap_or_default();
            ApiError::bad_request(format!(
                "{kind} in version \"{version}\" cannot be handled as a {}: {problem}",
                expected.kind
            ))
        };
        tree = Decoder::new(builtin())
            .object(expected.ty, envelope.raw)
            .map_err(|e| refuse(&e.to_string()))?;
        let mut problems = Problems::default();
        normalise(builtin(), expected.ty, &mut tree, &mut problems);
        if let Some(first) = problems.mismatches.first() {
            return Err(refuse(first));
        }
        if nesting(&tree) > DEPTH {
            return Err(refuse(&Malformed::Deep(DEPTH).to_string()));
        }
    }
    tree["apiVersion"] = api_version.into();
    tree["kind"] = kind.into();
    Ok(tree)
}

/// The name in a body, as far as it can be found: in the first field of the first field of nearly every kind.
pub(crate) fn name(body: &[u8]) -> Option<String> {
    fn first(data: &[u8]) -> Option<&[u8]> {
        let mut reader = Reader::new(data);
        while let Some(tag) = reader.tag("").ok()? {
            if tag.number == 1 && tag.wire == wire::BYTES {
                return reader.bytes().ok();
            }
            reader.skip(tag).ok()?;
        }
        None
    }
    let envelope = Envelope::open(body).ok()?;
    let name = std::str::from_utf8(first(first(envelope.raw)?)?).ok()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// How deep a value is nested; scalars are 0.
fn nesting(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(nesting).max().unwrap_or_default(),
        Value::Object(map) => 1 + map.values().map(nesting).max().unwrap_or_default(),
        _ => 0,
    }
}

/// The answer to a body that is not even an envelope.
fn unrecognised(body: &[u8], expected: &Expected, problem: &Malformed) -> ApiError {
    let shown = match body {
        [] => "<empty>".to_owned(),
        [b'{', ..] => String::from_utf8_lossy(&body[..body.len().min(SHOWN)]).into_owned(),
        _ => body
            .iter()
            .take(SHOWN)
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}")),
    };
    let more = if body.len() > SHOWN { " ..." } else { "" };
    ApiError::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): {problem} ({shown}{more})",
        expected.kind
    ))
}
