//! Reading documents that users write: yaml, walked through with the place of each fault.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// How much of a document may come from aliases: far more than rules need, and no burden.
const MAX_REPEATED: usize = 20_000;

/// How a document writes its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Octal {
    /// `0o644`.
    Marked,
    /// `0644` too, as in YAML 1.1.
    Plain,
}

/// Reads a yaml document, of which json is a part.
pub(crate) fn document(yaml: &str, octal: Octal) -> Result<Value, String> {
    let options = serde_saphyr::options! {
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPEATED },
        legacy_octal_numbers: octal == Octal::Plain,
    };
    serde_saphyr::from_str_with_options(yaml, options).map_err(|error| {
        let text = error.without_snippet().to_string();
        let line: Vec<&str> = text.split_whitespace().collect();
        format!("it is no yaml document: {}", line.join(" "))
    })
}

/// Where in a document a value stands.
#[derive(Debug, Clone)]
pub(crate) struct Place<'a> {
    value: &'a Value,
    path: String,
}

static NULL: Value = Value::Null;

/// What was found to be wrong so far.
pub(crate) type Faults = Vec<String>;

impl<'a> Place<'a> {
    /// The document itself.
    pub(crate) fn top(value: &'a Value) -> Self {
        Self {
            value,
            path: String::new(),
        }
    }

    /// Notes that this value is wrong.
    pub(crate) fn fault(&self, faults: &mut Faults, message: impl std::fmt::Display) {
        let separator = if self.path.is_empty() { "" } else { ": " };
        faults.push(format!("{}{separator}{message}", self.path));
    }

    /// The fields of an object, of which no others than `known` may be there.
    pub(crate) fn fields(&self, known: &[&str], faults: &mut Faults) -> BTreeMap<&'a str, Self> {
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

    /// As [`Place::fields`]; keys have no case, as where the peer reads a document as JSON.
    pub(crate) fn fields_in_any_case(
        &self,
        known: &[&'static str],
        faults: &mut Faults,
    ) -> BTreeMap<&'a str, Self> {
        let Some(map) = self.object(faults) else {
            return BTreeMap::new();
        };
        let mut fields = BTreeMap::new();
        for (key, value) in map {
            let Some(name) = known.iter().find(|name| name.eq_ignore_ascii_case(key)) else {
                self.child(key).fault(
                    faults,
                    format_args!("unknown key; there are {}", known.join(", ")),
                );
                continue;
            };
            if !value.is_null() && fields.insert(*name, self.at(value, name)).is_some() {
                self.child(name)
                    .fault(faults, "it is there twice; keep one");
            }
        }
        fields
    }

    /// The value as an object; null counts as one without fields.
    pub(crate) fn object(&self, faults: &mut Faults) -> Option<&'a Map<String, Value>> {
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
    pub(crate) fn elements(&self, faults: &mut Faults) -> Vec<Self> {
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
    pub(crate) fn text(&self, faults: &mut Faults) -> Option<String> {
        match self.value {
            Value::String(text) => Some(text.clone()),
            // Whole numbers are written without a point, `1.0` too.
            Value::Number(number) => Some(match number.as_f64() {
                Some(float) if number.is_f64() => float.to_string(),
                _ => number.to_string(),
            }),
            Value::Bool(value) => Some(value.to_string()),
            other => {
                self.fault(faults, format_args!("{other} is no text"));
                None
            }
        }
    }

    /// The value as text, which tells those who wrote a mapping or a list how to write it instead.
    pub(crate) fn scalar(&self, faults: &mut Faults, instead: &str) -> Option<String> {
        if self.value.is_object() || self.value.is_array() {
            self.fault(faults, format_args!("it is no text; {instead}"));
            return None;
        }
        self.text(faults)
    }

    /// A list of texts.
    pub(crate) fn texts(&self, faults: &mut Faults) -> Vec<String> {
        self.elements(faults)
            .iter()
            .filter_map(|element| element.text(faults))
            .collect()
    }

    /// An object whose values are all texts.
    pub(crate) fn text_map(&self, faults: &mut Faults) -> BTreeMap<String, String> {
        let Some(map) = self.object(faults) else {
            return BTreeMap::new();
        };
        map.iter()
            .filter_map(|(key, value)| Some((key.clone(), self.at(value, key).text(faults)?)))
            .collect()
    }

    /// The place of a field that may be missing.
    pub(crate) fn child(&self, key: &str) -> Self {
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
