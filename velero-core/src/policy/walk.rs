//! Walking through a document, with the place of each fault.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Where in a document a value stands.
#[derive(Debug, Clone)]
pub(super) struct Place<'a> {
    value: &'a Value,
    path: String,
}

static NULL: Value = Value::Null;

/// What was found to be wrong so far.
pub(super) type Faults = Vec<String>;

impl<'a> Place<'a> {
    /// The document itself.
    pub(super) fn top(value: &'a Value) -> Self {
        Self {
            value,
            path: String::new(),
        }
    }

    /// Notes that this value is wrong.
    pub(super) fn fault(&self, faults: &mut Faults, message: impl std::fmt::Display) {
        let separator = if self.path.is_empty() { "" } else { ": " };
        faults.push(format!("{}{separator}{message}", self.path));
    }

    /// The fields of an object, of which no others than `known` may be there.
    pub(super) fn fields(&self, known: &[&str], faults: &mut Faults) -> BTreeMap<&'a str, Self> {
        let Some(map) = self.object(faults) else {
            return BTreeMap::new();
        };
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            self.child(key).fault(
                faults,
                format_args!("unknown key; there are {}", known.join(", ")),
            );
        }
        map.iter()
            .filter(|(key, value)| !value.is_null() && known.contains(&key.as_str()))
            .map(|(key, value)| (key.as_str(), self.at(value, key)))
            .collect()
    }

    /// The value as an object; null counts as one without fields.
    pub(super) fn object(&self, faults: &mut Faults) -> Option<&'a Map<String, Value>> {
        match self.value {
            Value::Object(map) => Some(map),
            Value::Null => None,
            other => {
                self.fault(
                    faults,
                    format_args!("{other} is no mapping; write keys and values under it"),
                );
                None
            }
        }
    }

    /// The elements of a list.
    pub(super) fn elements(&self, faults: &mut Faults) -> Vec<Self> {
        match self.value {
            Value::Array(list) => list
                .iter()
                .enumerate()
                .map(|(at, value)| Self {
                    value,
                    path: format!("{}[{at}]", self.path),
                })
                .collect(),
            other => {
                self.fault(
                    faults,
                    format_args!(
                        "{other} is no list; write each entry on a line of its own behind a dash"
                    ),
                );
                Vec::new()
            }
        }
    }

    /// The value as text; numbers and booleans count as they are written.
    pub(super) fn text(&self, faults: &mut Faults) -> Option<String> {
        match self.value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            other => {
                self.fault(faults, format_args!("{other} is no text"));
                None
            }
        }
    }

    /// A list of texts.
    pub(super) fn texts(&self, faults: &mut Faults) -> Vec<String> {
        self.elements(faults)
            .iter()
            .filter_map(|element| element.text(faults))
            .collect()
    }

    /// An object whose values are all texts.
    pub(super) fn text_map(&self, faults: &mut Faults) -> BTreeMap<String, String> {
        let Some(map) = self.object(faults) else {
            return BTreeMap::new();
        };
        map.iter()
            .filter_map(|(key, value)| Some((key.clone(), self.at(value, key).text(faults)?)))
            .collect()
    }

    /// The place of a field that may be missing.
    pub(super) fn child(&self, key: &str) -> Self {
        self.at(&NULL, key)
    }

    fn at<'b>(&self, value: &'b Value, key: &str) -> Place<'b> {
        let separator = if self.path.is_empty() { "" } else { "." };
        Place {
            value,
            path: format!("{}{separator}{key}", self.path),
        }
    }
}
