//! Types of objects: one table that normalising, merging, field ownership, OpenAPI and protobuf all read.

mod builtin;
mod crd;
mod normalise;
mod quantity;

use std::collections::BTreeMap;

use serde_json::Value;

pub(crate) use builtin::builtin;
pub(crate) use crd::from_openapi;
pub(crate) use normalise::{Problems, apply_defaults, normalise, zero};
pub(crate) use quantity::canonical;

/// Index of a type in its [`Schema`].
pub(crate) type TypeId = usize;

/// The type of anything: `Schema::ty` of index 0.
pub(crate) const ANY: TypeId = 0;

/// How the items of a list are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListKind {
    /// The list is one value.
    Atomic,
    /// Scalars, each at most once.
    Set,
    /// Objects with these key fields.
    Map(Vec<Box<str>>),
}

/// A type.
#[derive(Debug, Clone)]
pub(crate) enum Ty {
    Any,
    Str,
    Int,
    Num,
    Bool,
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    Bytes,
    Struct(Struct),
    Map { elem: TypeId, atomic: bool },
    List { elem: TypeId, kind: ListKind },
}

/// An object with known fields.
#[derive(Debug, Clone, Default)]
pub(crate) struct Struct {
    /// Name in the table, empty for types of custom resources.
    pub(crate) name: Box<str>,
    pub(crate) fields: BTreeMap<Box<str>, Field>,
    /// The whole object is one value.
    pub(crate) atomic: bool,
    /// Unknown fields are kept (`x-kubernetes-preserve-unknown-fields`).
    pub(crate) open: bool,
    /// An object with `apiVersion`, `kind` and `metadata` of its own.
    pub(crate) embedded: bool,
    /// What the numbers of the protobuf form stand for: built-in types only.
    pub(crate) message: Message,
}

/// The protobuf form of a [`Struct`]: its fields by number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message(BTreeMap<u32, Slot>);

/// What a field number stands for.
#[derive(Debug, Clone)]
pub(crate) enum Slot {
    Field(Numbered),
    /// A message whose fields stand among the struct's own.
    Inline(Message),
}

/// A field as protobuf sends it.
#[derive(Debug, Clone)]
pub(crate) struct Numbered {
    pub(crate) name: Box<str>,
    /// The type as it is sent: says more than the type of the field where that is [`ANY`].
    pub(crate) ty: TypeId,
    /// Integers have 64 bits, not 32.
    pub(crate) wide: bool,
}

impl Message {
    pub(crate) fn slot(&self, number: u32) -> Option<&Slot> {
        self.0.get(&number)
    }

    /// Puts a field at a path of numbers; every number but the last is that of an inlined message.
    fn place(&mut self, path: &[u32], field: Numbered) {
        match path {
            [] => {}
            [number] => {
                self.0.insert(*number, Slot::Field(field));
            }
            [number, rest @ ..] => {
                let slot = self.0.entry(*number);
                if let Slot::Inline(inner) = slot.or_insert_with(|| Slot::Inline(Self::default())) {
                    inner.place(rest, field);
                }
            }
        }
    }
}

/// A field of a [`Struct`].
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) ty: TypeId,
    /// Zero values are left out when the server writes the object.
    pub(crate) omit_empty: bool,
    /// Zero structs and times are left out as well.
    pub(crate) omit_zero: bool,
    /// The zero value is `null`, not an empty object or scalar.
    pub(crate) pointer: bool,
    /// Strategic merge patch merges this list by the given key (empty: a list of scalars).
    pub(crate) merge_key: Option<Box<str>>,
    /// Default of a custom resource's field.
    pub(crate) default: Option<Value>,
    /// `null` is a value of its own (custom resources).
    pub(crate) nullable: bool,
}

impl Field {
    /// A field of a custom resource or an untyped object.
    pub(crate) fn plain(ty: TypeId) -> Self {
        Self {
            ty,
            omit_empty: true,
            omit_zero: true,
            pointer: true,
            merge_key: None,
            default: None,
            nullable: false,
        }
    }
}

/// A set of types that refer to each other.
#[derive(Debug)]
pub(crate) struct Schema {
    types: Vec<Ty>,
    names: BTreeMap<Box<str>, TypeId>,
    /// Whether absent fields are filled with Go zero values: true for built-in kinds.
    pub(crate) go: bool,
}

impl Schema {
    pub(crate) fn ty(&self, id: TypeId) -> &Ty {
        self.types.get(id).unwrap_or(&Ty::Any)
    }

    /// The type of that name, `core.v1.Pod` for example.
    pub(crate) fn named(&self, name: &str) -> Option<TypeId> {
        self.names.get(name).copied()
    }

    /// The field `key` of an object of type `id`: of a struct by name, of a map the element.
    pub(crate) fn child(&self, id: TypeId, key: &str) -> TypeId {
        match self.ty(id) {
            Ty::Struct(s) => s.fields.get(key).map_or(ANY, |f| f.ty),
            Ty::Map { elem, .. } => *elem,
            _ => ANY,
        }
    }

    /// Whether `key` is a declared field of the struct `id`.
    pub(crate) fn declares(&self, id: TypeId, key: &str) -> bool {
        matches!(self.ty(id), Ty::Struct(s) if s.fields.contains_key(key))
    }

    /// The type of the items of the list type `id`.
    pub(crate) fn item(&self, id: TypeId) -> TypeId {
        match self.ty(id) {
            Ty::List { elem, .. } => *elem,
            _ => ANY,
        }
    }

    /// Whether an object of type `id` is one value.
    pub(crate) fn atomic_map(&self, id: TypeId) -> bool {
        match self.ty(id) {
            Ty::Struct(s) => s.atomic,
            Ty::Map { atomic, .. } => *atomic,
            _ => false,
        }
    }
}

/// A type inside its schema.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    pub(crate) schema: std::sync::Arc<Schema>,
    pub(crate) id: TypeId,
}
