//! The table of built-in types, `types.txt`.
//!
//! One line without indent names a type (` !` after it: one value for field ownership); indented lines are its fields:
//! name, type, flags. Types: `s` string, `i` integer, `n` number, `b` bool, `q` quantity, `x` integer or string, `t`
//! time, `u` time with microseconds, `y` base64, `a` anything, `[a]T` atomic list, `[s]T` set, `[m:k1,k2]T` list with
//! keys, `{g}T` map, `{a}T` atomic map, `#name` a type of this table. Flags: `?` omitempty, `!`
//! omitzero, `*` pointer, `^` retainKeys, `~` replaced by strategic merge patches, `@key` their merge key. Last, `=` and the
//! protobuf number, with dots behind those of inlined messages (`=2.1`); `l` after it for 64 bits, `:T` for the type where
//! it is `a` in JSON. Made by `typegen/`.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::{Field, ListKind, Numbered, Schema, Struct, Ty, TypeId};

const TABLE: &str = include_str!("types.txt");

/// The types of every built-in kind.
pub(crate) fn builtin() -> &'static Arc<Schema> {
    static SCHEMA: OnceLock<Arc<Schema>> = OnceLock::new();
    SCHEMA.get_or_init(|| Arc::new(Loader::default().load(TABLE)))
}

#[derive(Default)]
struct Loader {
    types: Vec<Ty>,
    names: BTreeMap<Box<str>, TypeId>,
    shared: BTreeMap<String, TypeId>,
}

impl Loader {
    fn load(mut self, table: &str) -> Schema {
        self.types.push(Ty::Any);
        for line in table.lines().filter(|l| !l.starts_with(' ')) {
            let (name, atomic) = line.strip_suffix(" !").map_or((line, false), |n| (n, true));
            let id = self.types.len();
            self.types.push(Ty::Struct(Struct {
                name: name.into(),
                atomic,
                ..Struct::default()
            }));
            self.names.insert(name.into(), id);
        }
        let mut current = None;
        for line in table.lines() {
            if let Some(field) = line.strip_prefix(' ') {
                self.field(current, field);
            } else {
                current = self
                    .names
                    .get(line.strip_suffix(" !").unwrap_or(line))
                    .copied();
            }
        }
        Schema {
            types: self.types,
            names: self.names,
            go: true,
        }
    }

    fn field(&mut self, owner: Option<TypeId>, line: &str) {
        let mut words = line.split(' ');
        let (Some(name), Some(expr)) = (words.next(), words.next()) else {
            return;
        };
        let (mut flags, mut wire) = ("", None);
        for word in words {
            match word.strip_prefix('=') {
                Some(rest) => wire = Some(rest),
                None => flags = word,
            }
        }
        let ty = self.expr(expr);
        let sent = wire.map(|wire| self.wire(name, ty, wire));
        let (marks, merge_key) = match flags.split_once('@') {
            Some((marks, key)) => (marks, Some(Box::from(key))),
            None => (flags, None),
        };
        let field = Field {
            ty,
            omit_empty: marks.contains('?'),
            omit_zero: marks.contains('!'),
            pointer: marks.contains('*'),
            merge_key,
            default: None,
            nullable: false,
        };
        if let Some(Ty::Struct(s)) = owner.and_then(|id| self.types.get_mut(id)) {
            s.fields.insert(name.into(), field);
            if let Some((path, numbered)) = sent {
                s.message.place(&path, numbered);
            }
        }
    }

    /// The protobuf form of a field: `2.1`, `3l`, `4:#name`.
    fn wire(&mut self, name: &str, ty: TypeId, text: &str) -> (Vec<u32>, Numbered) {
        let (number, ty) = match text.split_once(':') {
            Some((number, expr)) => (number, self.expr(expr)),
            None => (text, ty),
        };
        let (number, wide) = number
            .strip_suffix('l')
            .map_or((number, false), |n| (n, true));
        let path = number.split('.').filter_map(|n| n.parse().ok()).collect();
        let name = name.into();
        (path, Numbered { name, ty, wide })
    }

    fn expr(&mut self, text: &str) -> TypeId {
        if let Some(name) = text.strip_prefix('#') {
            return self.names.get(name).copied().unwrap_or(super::ANY);
        }
        if let Some((kind, rest)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
            let elem = self.expr(rest);
            let kind = match kind.strip_prefix("m:") {
                Some(keys) => ListKind::Map(keys.split(',').map(Box::from).collect()),
                None if kind == "s" => ListKind::Set,
                None => ListKind::Atomic,
            };
            return self.share(text, Ty::List { elem, kind });
        }
        if let Some((kind, rest)) = text.strip_prefix('{').and_then(|t| t.split_once('}')) {
            let elem = self.expr(rest);
            return self.share(
                text,
                Ty::Map {
                    elem,
                    atomic: kind == "a",
                },
            );
        }
        let ty = match text {
            "s" => Ty::Str,
            "i" => Ty::Int,
            "n" => Ty::Num,
            "b" => Ty::Bool,
            "q" => Ty::Quantity,
            "x" => Ty::IntOrString,
            "t" => Ty::Time,
            "u" => Ty::MicroTime,
            "y" => Ty::Bytes,
            _ => return super::ANY,
        };
        self.share(text, ty)
    }

    fn share(&mut self, text: &str, ty: Ty) -> TypeId {
        if let Some(id) = self.shared.get(text) {
            return *id;
        }
        let id = self.types.len();
        self.types.push(ty);
        self.shared.insert(text.to_owned(), id);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_loads() {
        let schema = builtin();
        let pod = schema.named("core.v1.Pod").unwrap();
        let spec = schema.child(pod, "spec");
        let containers = schema.child(spec, "containers");
        assert!(
            matches!(schema.ty(containers), Ty::List { kind, .. } if *kind == ListKind::Map(vec!["name".into()]))
        );
        let container = schema.item(containers);
        assert!(matches!(
            schema.ty(schema.child(container, "image")),
            Ty::Str
        ));
        let ports = schema.child(container, "ports");
        assert!(
            matches!(schema.ty(ports), Ty::List { kind, .. } if *kind == ListKind::Map(vec!["containerPort".into(), "protocol".into()]))
        );
    }
}
