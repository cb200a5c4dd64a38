//! One decoder for every type of the table: a message becomes the JSON that Go would write for it, but for zero values,
//! which [`crate::schema::normalise`] settles afterwards.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

use super::reader::{Malformed, Reader, Tag, wire};
use crate::schema::{
    Message, Numbered, Problems, Schema, Slot, Struct, Ty, TypeId, canonical, normalise,
};

/// How deep messages may lie in each other. Objects that are kept are read back by a JSON parser with a limit of 128.
pub(super) const DEPTH: usize = 100;

/// Go's zero time, which JSON shows as `null`, in seconds since 1970.
const ZERO_TIME: i64 = -62_135_596_800;

/// The schemas of custom resources: one value in JSON's table, spelled out in protobuf.
const JSON_SCHEMA: &str = "apiextensions.v1.JSONSchemaProps";

/// Decodes messages of a schema's types.
pub(super) struct Decoder<'a> {
    schema: &'a Schema,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(schema: &'a Schema) -> Self {
        Self { schema }
    }

    /// Decodes a message of the struct type `id`.
    pub(super) fn object(&self, id: TypeId, data: &[u8]) -> Result<Value, Malformed> {
        let mut value = Value::Object(Map::new());
        self.merge(id, data, &mut value, 0)?;
        Ok(value)
    }

    /// Decodes a message into a value of the struct type `id`: a message sent in pieces adds up, but for schemas, of
    /// which the last counts.
    fn merge(
        &self,
        id: TypeId,
        data: &[u8],
        value: &mut Value,
        depth: usize,
    ) -> Result<(), Malformed> {
        if depth >= DEPTH {
            return Err(Malformed::Deep(DEPTH));
        }
        let Ty::Struct(s) = self.schema.ty(id) else {
            return Ok(());
        };
        let spelled_out = s.name.starts_with(JSON_SCHEMA);
        if spelled_out || !value.is_object() {
            *value = Value::Object(Map::new());
        }
        if let Value::Object(map) = value {
            self.fields(&s.name, &s.message, data, map, depth)?;
        }
        if spelled_out {
            normalise(self.schema, id, value, &mut Problems::default());
            reshape(s, value);
        }
        Ok(())
    }

    fn fields(
        &self,
        owner: &str,
        message: &Message,
        data: &[u8],
        into: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), Malformed> {
        let mut reader = Reader::new(data);
        while let Some(tag) = reader.tag(owner)? {
            match message.slot(tag.number) {
                None => reader.skip(tag)?,
                Some(Slot::Inline(inner)) => {
                    tag.want(wire::BYTES, owner)?;
                    let data = reader.bytes()?;
                    self.fields(owner, inner, data, into, depth)?;
                }
                Some(Slot::Field(field)) => self.field(field, tag, &mut reader, into, depth)?,
            }
        }
        Ok(())
    }

    fn field(
        &self,
        field: &Numbered,
        tag: Tag,
        reader: &mut Reader<'_>,
        into: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), Malformed> {
        let name = field.name.as_ref();
        match self.schema.ty(field.ty) {
            Ty::List { elem, .. } => {
                let mut found = Vec::new();
                if tag.wire == wire::BYTES && matches!(self.schema.ty(*elem), Ty::Int) {
                    let mut packed = Reader::new(reader.bytes()?);
                    while !packed.is_empty() {
                        found.push(integer(packed.varint()?, field.wide));
                    }
                } else {
                    found.push(self.single(*elem, field, tag, reader, depth)?);
                }
                let list = into.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(list) = list {
                    list.extend(found);
                }
            }
            Ty::Map { elem, .. } => {
                tag.want(wire::BYTES, name)?;
                let (key, value) = self.entry(*elem, field, reader.bytes()?, depth)?;
                let map = into
                    .entry(name)
                    .or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(map) = map {
                    map.insert(key, value);
                }
            }
            Ty::Struct(_) => {
                tag.want(wire::BYTES, name)?;
                let data = reader.bytes()?;
                match into.entry(name) {
                    Entry::Occupied(mut before) => {
                        self.merge(field.ty, data, before.get_mut(), depth + 1)?;
                    }
                    Entry::Vacant(free) => {
                        let value = free.insert(Value::Object(Map::new()));
                        self.merge(field.ty, data, value, depth + 1)?;
                    }
                }
            }
            _ => {
                let value = self.single(field.ty, field, tag, reader, depth)?;
                into.insert(name.to_owned(), value);
            }
        }
        Ok(())
    }

    /// An entry of a map: a message of its own, with the key first and the value second.
    fn entry(
        &self,
        elem: TypeId,
        field: &Numbered,
        data: &[u8],
        depth: usize,
    ) -> Result<(String, Value), Malformed> {
        let mut reader = Reader::new(data);
        let (mut key, mut value) = (String::new(), None);
        while let Some(tag) = reader.tag(&field.name)? {
            match tag.number {
                1 => {
                    tag.want(wire::BYTES, &field.name)?;
                    key = text(reader.bytes()?);
                }
                2 => value = Some(self.single(elem, field, tag, &mut reader, depth)?),
                _ => reader.skip(tag)?,
            }
        }
        // An entry without a value has the zero value of its type: that of an empty message, where it is one.
        let value = match value {
            Some(value) => value,
            None => match self.schema.ty(elem) {
                Ty::Str | Ty::Bytes => Value::String(String::new()),
                Ty::Bool => Value::Bool(false),
                Ty::Int | Ty::Num => Value::from(0),
                _ => self.parsed(elem, field, &[], depth)?,
            },
        };
        Ok((key, value))
    }

    /// One value of a type.
    fn single(
        &self,
        id: TypeId,
        field: &Numbered,
        tag: Tag,
        reader: &mut Reader<'_>,
        depth: usize,
    ) -> Result<Value, Malformed> {
        let ty = self.schema.ty(id);
        let form = match ty {
            Ty::Bool | Ty::Int => wire::VARINT,
            Ty::Num => wire::FIXED64,
            _ => wire::BYTES,
        };
        tag.want(form, &field.name)?;
        match ty {
            Ty::Bool => Ok(Value::Bool(reader.varint()? != 0)),
            Ty::Int => Ok(integer(reader.varint()?, field.wide)),
            Ty::Num => {
                let number = reader.double()?;
                Number::from_f64(number)
                    .map(Value::Number)
                    .ok_or_else(|| invalid(field, &format!("{number} is no number of JSON")))
            }
            Ty::Str => Ok(Value::String(text(reader.bytes()?))),
            Ty::Bytes => Ok(Value::String(STANDARD.encode(reader.bytes()?))),
            _ => self.parsed(id, field, reader.bytes()?, depth),
        }
    }

    /// A value that is a message.
    fn parsed(
        &self,
        id: TypeId,
        field: &Numbered,
        data: &[u8],
        depth: usize,
    ) -> Result<Value, Malformed> {
        match self.schema.ty(id) {
            Ty::Quantity => quantity(data),
            Ty::IntOrString => int_or_string(field, data),
            Ty::Time => time(field, data, false),
            Ty::MicroTime => time(field, data, true),
            Ty::List { elem, .. } => self.wrapped(*elem, field, data, depth + 1),
            Ty::Struct(_) => {
                let mut value = Value::Object(Map::new());
                self.merge(id, data, &mut value, depth + 1)?;
                Ok(value)
            }
            _ => raw(field, data),
        }
    }

    /// A list that cannot be repeated where it stands: a message whose first field is.
    fn wrapped(
        &self,
        elem: TypeId,
        field: &Numbered,
        data: &[u8],
        depth: usize,
    ) -> Result<Value, Malformed> {
        let mut reader = Reader::new(data);
        let mut items = Vec::new();
        while let Some(tag) = reader.tag(&field.name)? {
            match tag.number {
                1 => items.push(self.single(elem, field, tag, &mut reader, depth)?),
                _ => reader.skip(tag)?,
            }
        }
        Ok(Value::Array(items))
    }
}

/// The three types that are one of several things in JSON.
fn reshape(s: &Struct, value: &mut Value) {
    let mut part = |name: &str| {
        let part = value.get_mut(name).map(Value::take).unwrap_or_default();
        let empty = part.is_null() || part.as_array().is_some_and(Vec::is_empty);
        (!empty).then_some(part)
    };
    let shaped = match s.name.strip_prefix(JSON_SCHEMA) {
        Some("OrArray") => part("JSONSchemas").or_else(|| part("Schema")),
        Some("OrStringArray") => part("Property").or_else(|| part("Schema")),
        Some("OrBool") => part("Schema").or_else(|| part("Allows")),
        _ => return,
    };
    *value = shaped.unwrap_or_default();
}

fn invalid(field: &Numbered, problem: &str) -> Malformed {
    Malformed::Value(format!("field {}: {problem}", field.name))
}

/// A string of Go may hold any bytes; JSON shows those that are no text as U+FFFD.
fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
fn integer(bits: u64, wide: bool) -> Value {
    if wide {
        Value::from(bits as i64)
    } else {
        Value::from(bits as i32)
    }
}

/// `resource.Quantity`: its text.
fn quantity(data: &[u8]) -> Result<Value, Malformed> {
    let mut reader = Reader::new(data);
    let mut found = "0".to_owned();
    while let Some(tag) = reader.tag("Quantity")? {
        if tag.number == 1 {
            tag.want(wire::BYTES, "string_")?;
            let given = text(reader.bytes()?);
            found = canonical(&given).ok_or_else(|| {
                Malformed::Value(format!(
                    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$', not {given:?}"
                ))
            })?;
        } else {
            reader.skip(tag)?;
        }
    }
    Ok(Value::String(found))
}

/// `intstr.IntOrString`: which of the two, the integer, the string.
fn int_or_string(field: &Numbered, data: &[u8]) -> Result<Value, Malformed> {
    let mut reader = Reader::new(data);
    let (mut kind, mut number, mut string) = (Value::from(0), Value::from(0), String::new());
    while let Some(tag) = reader.tag("IntOrString")? {
        match tag.number {
            1 => {
                tag.want(wire::VARINT, "type")?;
                kind = integer(reader.varint()?, true);
            }
            2 => {
                tag.want(wire::VARINT, "intVal")?;
                number = integer(reader.varint()?, false);
            }
            3 => {
                tag.want(wire::BYTES, "strVal")?;
                string = text(reader.bytes()?);
            }
            _ => reader.skip(tag)?,
        }
    }
    match kind.as_i64() {
        Some(0) => Ok(number),
        Some(1) => Ok(Value::String(string)),
        _ => Err(invalid(
            field,
            &format!("impossible IntOrString.Type {kind}, want 0 or 1"),
        )),
    }
}

/// `metav1.Time` and `metav1.MicroTime`: seconds since 1970 and nanoseconds; no bytes are Go's zero time.
fn time(field: &Numbered, data: &[u8], micro: bool) -> Result<Value, Malformed> {
    if data.is_empty() {
        return Ok(Value::Null);
    }
    let mut reader = Reader::new(data);
    let (mut seconds, mut nanos) = (0, 0);
    while let Some(tag) = reader.tag("Timestamp")? {
        let part = match tag.number {
            1 => &mut seconds,
            2 => &mut nanos,
            _ => {
                reader.skip(tag)?;
                continue;
            }
        };
        let wide = tag.number == 1;
        tag.want(wire::VARINT, if wide { "seconds" } else { "nanos" })?;
        *part = integer(reader.varint()?, wide).as_i64().unwrap_or_default();
    }
    // Of a plain time only the seconds count.
    let fraction = if micro { nanos } else { 0 };
    if seconds == ZERO_TIME && fraction == 0 {
        return Ok(Value::Null);
    }
    let all = i128::from(seconds) * 1_000_000_000 + i128::from(fraction);
    let at = Timestamp::from_nanosecond(all)
        .map_err(|_| invalid(field, &format!("no time is {seconds} s after 1970")))?;
    Ok(Value::String(if micro {
        at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
    } else {
        crate::clock::seconds(at)
    }))
}

/// `RawExtension`, `FieldsV1` and `JSON`: a message that holds JSON.
fn raw(field: &Numbered, data: &[u8]) -> Result<Value, Malformed> {
    let mut reader = Reader::new(data);
    let mut held: &[u8] = &[];
    while let Some(tag) = reader.tag("RawExtension")? {
        if tag.number == 1 {
            tag.want(wire::BYTES, "raw")?;
            held = reader.bytes()?;
        } else {
            reader.skip(tag)?;
        }
    }
    if held.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(held).map_err(|e| invalid(field, &format!("holds no JSON: {e}")))
}
