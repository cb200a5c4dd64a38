//! Lists in strategic merge patches.

use serde_json::Value;

use super::{Directive, Merger, ORDER, Object, Outcome, PATCH, Trouble, directive, element};
use crate::modifier::shapes::Shape;

impl<'a> Merger<'a> {
    /// Merges lists whose elements are told apart by `key`, or by themselves where it is empty.
    pub(super) fn merge_lists(
        self,
        shape: &'a Shape,
        old: Vec<Value>,
        new: &[Value],
        key: &str,
    ) -> Outcome<Vec<Value>> {
        if old
            .iter()
            .chain(new)
            .any(|v| v.is_object() == key.is_empty() || v.is_array())
        {
            return Err(Trouble::new(if key.is_empty() {
                "its elements must be plain values".to_owned()
            } else {
                format!("its elements must be mappings with a {key}")
            }));
        }
        if key.is_empty() {
            let mut merged = Vec::new();
            for value in old.iter().chain(new) {
                if !merged.contains(value) {
                    merged.push(value.clone());
                }
            }
            return Ok(arrange(merged, &ids(new, key), &ids(&old, key), key));
        }
        self.merge_mappings(shape, old, new, key)
    }

    fn merge_mappings(
        self,
        shape: &'a Shape,
        old: Vec<Value>,
        new: &[Value],
        key: &str,
    ) -> Outcome<Vec<Value>> {
        let (mut list, mut kept) = (old.clone(), Vec::new());
        let mut replaced = false;
        for (at, value) in new.iter().enumerate() {
            let place = |trouble: Trouble| trouble.under(&format!("[{at}]"));
            match value
                .as_object()
                .map(directive)
                .transpose()
                .map_err(place)?
                .flatten()
            {
                Some(Directive::Replace) => replaced = true,
                Some(Directive::Delete) => {
                    let id = id_of(value, key).map_err(place)?;
                    list.retain(|element| element.get(key) != Some(id));
                }
                None => {
                    id_of(value, key).map_err(place)?;
                    kept.push((at, value));
                }
            }
        }
        if replaced {
            list.clear();
        }
        for (at, value) in &kept {
            let Value::Object(patch) = value else {
                continue;
            };
            let same = |element: &Value| element.get(key) == value.get(key);
            let made = match list.iter_mut().find(|element| same(element)) {
                Some(slot) => match std::mem::take(slot) {
                    Value::Object(current) => self
                        .merge(shape, current, patch)
                        .map(|merged| *slot = Value::Object(merged)),
                    _ => Ok(()),
                },
                None => self
                    .fresh_object(shape, patch)
                    .map(|made| list.push(Value::Object(made))),
            };
            made.map_err(|trouble| trouble.under(&format!("[{at}]")))?;
        }
        for element in &list {
            id_of(element, key)?;
        }
        let order: Vec<&Value> = kept.iter().map(|(_, value)| &value[key]).collect();
        Ok(arrange(list, &order, &ids(&old, key), key))
    }

    /// Carries out `$setElementOrder`; gives the lists that are merged with that.
    pub(super) fn set_orders<'p>(
        self,
        shape: &'a Shape,
        original: &mut Object,
        patch: &'p Object,
    ) -> Outcome<Vec<&'p str>> {
        let mut done = Vec::new();
        for (directive, order) in patch {
            if let Some(key) = directive.strip_prefix(ORDER) {
                self.set_order(shape, original, key, patch.get(key), order)
                    .map_err(|trouble| trouble.under(directive))?;
                done.push(key);
            }
        }
        Ok(done)
    }

    fn set_order(
        self,
        shape: &'a Shape,
        original: &mut Object,
        key: &str,
        patch: Option<&Value>,
        order: &Value,
    ) -> Outcome<()> {
        let (child, field) = self.field(shape, key)?;
        let Some(merge_key) = field.and_then(|field| field.merge_key) else {
            return Err(Trouble::new(format!(
                "{key} is not merged but replaced; give the whole of it in the order that it shall have"
            )));
        };
        let (Value::Array(order), Some(new)) = (order, patch.map_or(Some(&[][..]), as_list)) else {
            return Err(Trouble::new(format!("it and {key} must be lists")));
        };
        if let Some(bad) = order.iter().find(|value| id_of(value, merge_key).is_err()) {
            return Err(Trouble::new(format!("{bad} has no {merge_key}")));
        }
        let order = ids(order, merge_key);
        check_order(new, &order, key, merge_key)?;
        let old = match original.remove(key) {
            Some(Value::Array(old)) => old,
            None | Some(Value::Null) if patch.is_none() => return Ok(()),
            None | Some(Value::Null) => Vec::new(),
            Some(_) => return Err(Trouble::new(format!("{key} of the object is no list"))),
        };
        let merged = self.merge_lists(element(child), old.clone(), new, merge_key)?;
        let arranged = arrange(merged, &order, &ids(&old, merge_key), merge_key);
        original.insert(key.to_owned(), Value::Array(arranged));
        Ok(())
    }
}

fn as_list(value: &Value) -> Option<&[Value]> {
    value.as_array().map(Vec::as_slice)
}

/// What tells an element apart: the value of its key, or in a list of plain values itself.
fn id_of<'v>(value: &'v Value, key: &str) -> Outcome<&'v Value> {
    if key.is_empty() {
        return Ok(value);
    }
    value
        .get(key)
        .ok_or_else(|| Trouble::new(format!("{key} is missing, which tells the elements apart")))
}

fn ids<'v>(list: &'v [Value], key: &str) -> Vec<&'v Value> {
    list.iter()
        .map(|value| id_of(value, key).unwrap_or(&Value::Null))
        .collect()
}

/// The elements of a patch must be in the list of the order, and in that order. An empty one says nothing.
fn check_order(new: &[Value], order: &[&Value], list: &str, key: &str) -> Outcome<()> {
    if order.is_empty() {
        return Ok(());
    }
    let mut last = None;
    for value in new.iter().filter(|value| value.get(PATCH).is_none()) {
        let id = id_of(value, key)?;
        let place = order.iter().position(|other| *other == id);
        if place.is_none() || place <= last {
            return Err(Trouble::new(format!(
                "{id} of {list} must be in it, and in the same order"
            )));
        }
        last = place;
    }
    Ok(())
}

/// Puts the elements that `order` names into that order; the others stay before what they were before in `old`.
fn arrange(list: Vec<Value>, order: &[&Value], old: &[&Value], key: &str) -> Vec<Value> {
    let place = |among: &[&Value], value: &Value| {
        let id = id_of(value, key).ok()?;
        among.iter().position(|other| *other == id)
    };
    let (mut named, mut others): (Vec<Value>, Vec<Value>) = list
        .into_iter()
        .partition(|value| place(order, value).is_some());
    named.sort_by_key(|value| place(order, value));
    others.sort_by_key(|value| place(old, value));
    let mut others = others.into_iter().peekable();
    let mut out = Vec::new();
    for value in named {
        let before = place(old, &value);
        while let Some(other) = others.next_if(|other| {
            matches!((place(old, other), before), (Some(other), Some(before)) if other < before)
        }) {
            out.push(other);
        }
        out.push(value);
    }
    out.extend(others);
    out
}
