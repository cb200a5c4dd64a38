//! Label selectors: the text grammar of `kubectl -l`, the `LabelSelector` of the API, matching and query text.

use std::{collections::BTreeMap, fmt, str::FromStr};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::Error;
use crate::names::{key_fault, label_value_fault};

/// How a [`Requirement`] looks at a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// The label has one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label is there, with any value.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Label key.
    pub key: String,
    /// Condition.
    pub operator: Operator,
    /// Values, for [`Operator::In`] and [`Operator::NotIn`].
    pub values: Vec<String>,
}

impl Requirement {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::In => value.is_some_and(|v| self.values.contains(v)),
            Operator::NotIn => value.is_none_or(|v| !self.values.contains(v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

/// A label selector: all requirements must hold; the empty one matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector(Vec<Requirement>);

impl Selector {
    /// A selector of the given requirements.
    pub fn new(requirements: Vec<Requirement>) -> Self {
        Self(requirements)
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|r| r.matches(labels))
    }

    /// The requirements.
    pub fn requirements(&self) -> &[Requirement] {
        &self.0
    }

    /// The API form of this selector: a single value of `In` becomes `matchLabels`.
    pub fn to_label_selector(&self) -> LabelSelector {
        let mut out = LabelSelector::default();
        for r in &self.0 {
            match (r.operator, r.values.as_slice()) {
                (Operator::In, [value]) => {
                    out.match_labels
                        .get_or_insert_default()
                        .insert(r.key.clone(), value.clone());
                }
                _ => out.match_expressions.get_or_insert_default().push(
                    k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement {
                        key: r.key.clone(),
                        operator: operator_name(r.operator).to_owned(),
                        values: (!r.values.is_empty()).then(|| r.values.clone()),
                    },
                ),
            }
        }
        out
    }
}

fn operator_name(operator: Operator) -> &'static str {
    match operator {
        Operator::In => "In",
        Operator::NotIn => "NotIn",
        Operator::Exists => "Exists",
        Operator::DoesNotExist => "DoesNotExist",
    }
}

impl TryFrom<&LabelSelector> for Selector {
    type Error = Error;

    fn try_from(selector: &LabelSelector) -> Result<Self, Error> {
        let mut out = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            out.push(Requirement {
                key: key.clone(),
                operator: Operator::In,
                values: vec![value.clone()],
            });
        }
        for expression in selector.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(Error::invalid(
                        "label selector operator",
                        other,
                        "it must be In, NotIn, Exists or DoesNotExist",
                    ));
                }
            };
            let values = expression.values.clone().unwrap_or_default();
            let needs_values = matches!(operator, Operator::In | Operator::NotIn);
            if needs_values == values.is_empty() {
                let reason = if needs_values {
                    "In and NotIn need values"
                } else {
                    "Exists and DoesNotExist take no values"
                };
                return Err(Error::invalid(
                    "label selector expression",
                    &expression.key,
                    reason,
                ));
            }
            out.push(Requirement {
                key: expression.key.clone(),
                operator,
                values,
            });
        }
        for requirement in &out {
            check_requirement(requirement)?;
        }
        Ok(Self(out))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, r) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            match (r.operator, r.values.as_slice()) {
                (Operator::In, [value]) => write!(f, "{}={value}", r.key)?,
                (Operator::In, values) => write!(f, "{} in ({})", r.key, values.join(","))?,
                (Operator::NotIn, values) => write!(f, "{} notin ({})", r.key, values.join(","))?,
                (Operator::Exists, _) => f.write_str(&r.key)?,
                (Operator::DoesNotExist, _) => write!(f, "!{}", r.key)?,
            }
        }
        Ok(())
    }
}

impl FromStr for Selector {
    type Err = Error;

    /// Parses `k=v`, `k==v`, `k!=v`, `k in (a,b)`, `k notin (a,b)`, `k`, `!k`, joined by commas.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut out = Vec::new();
        for part in split_outside_parentheses(text) {
            let part = part.trim();
            if part.is_empty() {
                if text.trim().is_empty() {
                    continue;
                }
                return Err(Error::invalid(
                    "label selector",
                    text,
                    "there is nothing between two commas",
                ));
            }
            let requirement = parse_requirement(part, text)?;
            check_requirement(&requirement)?;
            out.push(requirement);
        }
        Ok(Self(out))
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut out, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                out.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    out.push(&text[start..]);
    out
}

fn parse_requirement(part: &str, whole: &str) -> Result<Requirement, Error> {
    let invalid =
        |reason: &str| Error::invalid("label selector", whole, format!("{part:?}: {reason}"));
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Requirement {
            key: key.trim().into(),
            operator: Operator::DoesNotExist,
            values: Vec::new(),
        });
    }
    if let Some(open) = part.find('(') {
        let Some(list) = part[open + 1..].strip_suffix(')') else {
            return Err(invalid("a list must end with ')'"));
        };
        let mut words = part[..open].split_whitespace();
        let (Some(key), Some(word), None) = (words.next(), words.next(), words.next()) else {
            return Err(invalid(
                "a list needs the form 'key in (a,b)' or 'key notin (a,b)'",
            ));
        };
        let operator = match word {
            "in" => Operator::In,
            "notin" => Operator::NotIn,
            _ => return Err(invalid("the word before a list must be 'in' or 'notin'")),
        };
        let mut values: Vec<String> = list.split(',').map(|v| v.trim().to_owned()).collect();
        values.sort();
        values.dedup();
        return Ok(Requirement {
            key: key.into(),
            operator,
            values,
        });
    }
    let (operator, pieces) = if let Some(pieces) = part.split_once("!=") {
        (Operator::NotIn, pieces)
    } else if let Some(pieces) = part.split_once("==").or_else(|| part.split_once('=')) {
        (Operator::In, pieces)
    } else if part.contains(['>', '<']) {
        return Err(invalid("'>' and '<' are not supported"));
    } else if part.contains(char::is_whitespace) {
        return Err(invalid(
            "expected '=', '!=', 'in (...)' or 'notin (...)' after the key",
        ));
    } else {
        return Ok(Requirement {
            key: part.into(),
            operator: Operator::Exists,
            values: Vec::new(),
        });
    };
    Ok(Requirement {
        key: pieces.0.trim().into(),
        operator,
        values: vec![pieces.1.trim().to_owned()],
    })
}

fn check_requirement(requirement: &Requirement) -> Result<(), Error> {
    let key = requirement.key.as_str();
    if let Some(reason) = key_fault(key) {
        return Err(Error::invalid("label key", key, reason));
    }
    for value in &requirement.values {
        if let Some(reason) = label_value_fault(value) {
            return Err(Error::invalid("label value", value, reason));
        }
    }
    Ok(())
}

/// Selectors of which any may match; the empty set matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SelectorSet(Vec<Selector>);

impl SelectorSet {
    /// A set of the given alternatives.
    pub fn new(selectors: Vec<Selector>) -> Self {
        Self(selectors)
    }

    /// Reads the two selector fields that a `Backup` and a `Restore` have.
    ///
    /// # Errors
    /// When both are given, or one of them is invalid.
    pub fn from_spec(
        single: Option<&LabelSelector>,
        any_of: Option<&[LabelSelector]>,
    ) -> Result<Self, Error> {
        let read = |field, list: &[LabelSelector]| {
            let read = list.iter().map(Selector::try_from);
            read.collect::<Result<Vec<_>, _>>()
                .map_err(|error| error.in_field(field))
        };
        let mut selectors = match single {
            Some(single) => read("spec.labelSelector", std::slice::from_ref(single))?,
            None => Vec::new(),
        };
        let alternatives = read("spec.orLabelSelectors", any_of.unwrap_or_default())?;
        if single.is_some() && !alternatives.is_empty() {
            let given: Vec<String> = alternatives.iter().map(Selector::to_string).collect();
            return Err(Error::invalid(
                "spec.orLabelSelectors",
                given.join(" or "),
                "it and spec.labelSelector exclude each other; put all alternatives into orLabelSelectors",
            ));
        }
        selectors.extend(alternatives);
        Ok(Self(selectors))
    }

    /// Whether everything matches.
    pub fn matches_everything(&self) -> bool {
        self.0.is_empty() || self.0.iter().any(Selector::is_empty)
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.is_empty() || self.0.iter().any(|s| s.matches(labels))
    }

    /// The alternatives.
    pub fn alternatives(&self) -> &[Selector] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        text.split(',')
            .filter(|t| !t.is_empty())
            .map(|t| t.split_once('=').unwrap())
            .map(|(k, v)| (k.into(), v.into()))
            .collect()
    }

    #[test]
    fn matching() {
        for (selector, given, expected) in [
            ("", "", true),
            ("", "a=b", true),
            ("a=b", "a=b,c=d", true),
            ("a==b", "a=c", false),
            ("a!=b", "", true),
            ("a!=b", "a=b", false),
            ("a in (b, c)", "a=c", true),
            ("a in (b,c)", "a=d", false),
            ("a notin (b,c),x", "a=d,x=1", true),
            ("a notin (b,c),x", "a=d", false),
            ("!a", "a=", false),
            ("!a", "b=1", true),
            ("a=", "a=", true),
            ("example.com/a", "example.com/a=1", true),
        ] {
            let parsed: Selector = selector.parse().unwrap();
            assert_eq!(
                parsed.matches(&labels(given)),
                expected,
                "{selector} on {given}"
            );
            let again: Selector = parsed.to_string().parse().unwrap();
            assert_eq!(again, parsed, "{selector} -> {parsed}");
            assert_eq!(
                Selector::try_from(&parsed.to_label_selector())
                    .unwrap()
                    .matches(&labels(given)),
                expected
            );
        }
    }

    #[test]
    fn bad_text_names_what_is_wrong() {
        for bad in [
            "a b",
            "a in b",
            "a in (b",
            "a near (b)",
            "-a=b",
            "a=b c",
            "a,,b",
            "a>1",
            "UPPER.x/a=b",
            "!",
        ] {
            assert!(bad.parse::<Selector>().is_err(), "{bad}");
        }
    }

    #[test]
    fn two_selector_fields_exclude_each_other() {
        let one = LabelSelector::default();
        let web = "app=web".parse::<Selector>().unwrap().to_label_selector();
        let both = SelectorSet::from_spec(Some(&one), Some(std::slice::from_ref(&web)));
        let message = both.unwrap_err().to_string();
        assert!(
            message.starts_with("invalid spec.orLabelSelectors \"app=web\": ")
                && message.contains("exclude each other"),
            "{message}"
        );
        let bad: LabelSelector = serde_json::from_value(
            serde_json::json!({"matchExpressions": [{"key": "bad key!", "operator": "In"}]}),
        )
        .unwrap();
        let list = std::slice::from_ref(&bad);
        for (single, any_of, field) in [
            (Some(&bad), None, "spec.labelSelector"),
            (None, Some(list), "spec.orLabelSelectors"),
        ] {
            let message = SelectorSet::from_spec(single, any_of)
                .unwrap_err()
                .to_string();
            assert!(
                message.starts_with(&format!("invalid {field} \"bad key!\"")),
                "{message}"
            );
        }
        assert!(SelectorSet::from_spec(Some(&one), Some(&[])).is_ok());
        assert!(
            SelectorSet::from_spec(Some(&one), None)
                .unwrap()
                .matches_everything()
        );
    }
}
