//! Types of flag values, with the peer's rules for repeats and empty texts.

use std::collections::BTreeMap;
use std::str::FromStr;

use velero_core::names::{is_namespace_name, key_fault, label_value_fault};
use velero_core::{GoDuration, Selector};

/// Names separated by commas; nothing is trimmed, a repeated flag replaces the earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Names(pub(crate) Vec<String>);

impl FromStr for Names {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.split(',').map(str::to_owned).collect()))
    }
}

/// One CSV record of names; repeated flags are joined.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct NameRecord(pub(crate) Vec<String>);

impl FromStr for NameRecord {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        csv_record(text).map(Self)
    }
}

/// `true`, `false` or not set; `--flag=` takes an earlier value back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TriState(pub(crate) Option<bool>);

impl FromStr for TriState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            Ok(Self(None))
        } else {
            parse_bool(text).map(|value| Self(Some(value)))
        }
    }
}

/// The words that Go takes for booleans.
pub(crate) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("a boolean is needed: true or false".to_owned()),
    }
}

/// One record of `key=value` pairs; double quotes protect commas. Repeated flags are merged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Pairs(pub(crate) BTreeMap<String, String>);

impl FromStr for Pairs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        pairs(text, '=').map(Self)
    }
}

/// Pairs that can be labels.
pub(crate) fn labels(text: &str) -> Result<Pairs, String> {
    let pairs: Pairs = text.parse()?;
    for (key, value) in &pairs.0 {
        if let Some(fault) = key_fault(key) {
            return Err(format!("{key:?} cannot be the key of a label: {fault}"));
        }
        if let Some(fault) = label_value_fault(value) {
            return Err(format!("{value:?} cannot be the value of a label: {fault}"));
        }
    }
    Ok(pairs)
}

/// Pairs that can be annotations, whose keys API servers look at in lower case.
pub(crate) fn annotations(text: &str) -> Result<Pairs, String> {
    let pairs: Pairs = text.parse()?;
    for key in pairs.0.keys() {
        if let Some(fault) = key_fault(&key.to_lowercase()) {
            return Err(format!(
                "{key:?} cannot be the key of an annotation: {fault}"
            ));
        }
    }
    Ok(pairs)
}

/// How long a backup is kept.
pub(crate) fn ttl(text: &str) -> Result<GoDuration, String> {
    let ttl: GoDuration = text
        .parse()
        .map_err(|error: velero_core::ParseDurationError| error.to_string())?;
    if ttl.is_negative() {
        return Err(
            "the backup would have expired before it is made; a duration such as 720h is needed"
                .to_owned(),
        );
    }
    Ok(ttl)
}

/// How long something may take.
pub(crate) fn timeout(text: &str) -> Result<GoDuration, String> {
    let timeout: GoDuration = text
        .parse()
        .map_err(|error: velero_core::ParseDurationError| error.to_string())?;
    if timeout.is_negative() {
        return Err("it cannot be negative; a duration such as 10m is needed".to_owned());
    }
    Ok(timeout)
}

/// How many there are; zero leaves it to the server.
pub(crate) fn count(text: &str) -> Result<i64, String> {
    match text.parse() {
        Ok(count) if count < 0 => Err("it cannot be negative".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err("a whole number is needed".to_owned()),
    }
}

/// One record of `from:to` pairs, `to` being the name of a namespace. Repeated flags are merged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Mappings(pub(crate) BTreeMap<String, String>);

impl FromStr for Mappings {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pairs = pairs(text, ':')?;
        match pairs.values().find(|target| !is_namespace_name(target)) {
            Some(target) => Err(format!(
                "{target:?} is no namespace name; at most 63 lower-case letters, digits and '-' are, beginning and ending \
                 with a letter or digit"
            )),
            None => Ok(Self(pairs)),
        }
    }
}

impl Mappings {
    /// Reads one record of `from:to` pairs where `to` may be anything.
    pub(crate) fn pairs(text: &str) -> Result<BTreeMap<String, String>, String> {
        pairs(text, ':')
    }
}

fn pairs(text: &str, delimiter: char) -> Result<BTreeMap<String, String>, String> {
    if text.is_empty() {
        return Err(format!("pairs of the form KEY{delimiter}VALUE are needed"));
    }
    let mut pairs = BTreeMap::new();
    for item in csv_record(text)? {
        let Some((key, value)) = item.split_once(delimiter) else {
            return Err(format!(
                "{item:?} has no {delimiter:?}; the form is KEY{delimiter}VALUE"
            ));
        };
        add(&mut pairs, key.to_owned(), value.to_owned())?;
    }
    Ok(pairs)
}

/// Adds a pair whose key stands for nothing else yet.
///
/// # Errors
/// When it does.
pub(crate) fn add(
    pairs: &mut BTreeMap<String, String>,
    key: String,
    value: String,
) -> Result<(), String> {
    match pairs.get(&key) {
        Some(first) if *first != value => Err(format!(
            "{key:?} is given twice, with {first:?} and with {value:?}; one of them is needed"
        )),
        _ => {
            pairs.insert(key, value);
            Ok(())
        }
    }
}

/// Splits one CSV record: fields in double quotes may hold commas, and `""` for a quote.
fn csv_record(text: &str) -> Result<Vec<String>, String> {
    let (mut fields, mut rest) = (Vec::new(), text);
    loop {
        let (field, tail) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                if rest[..end].contains('"') {
                    return Err("a double quote must enclose a whole pair".to_owned());
                }
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match tail.strip_prefix(',') {
            Some(more) => rest = more,
            None if tail.is_empty() => return Ok(fields),
            None => return Err("a comma is needed after a closing double quote".to_owned()),
        }
    }
}

fn quoted_field(text: &str) -> Result<(String, &str), String> {
    let (mut field, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('"') {
        field.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Ok((field, rest)),
        }
    }
    Err("a double quote is not closed".to_owned())
}

/// Kinds and the order of their objects: `pods=shop/web,shop/db;persistentvolumes=pv1`. The last flag counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Ordered(pub(crate) BTreeMap<String, String>);

impl FromStr for Ordered {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let mut orders = BTreeMap::new();
        for entry in text.split(';') {
            let parts: Vec<&str> = entry.split('=').collect();
            let [kind, names] = parts[..] else {
                return Err(format!(
                    "{entry:?} is no order; the form is KIND=NAMESPACE/NAME,...;KIND=..."
                ));
            };
            add(&mut orders, kind.trim().to_owned(), names.trim().to_owned())?;
        }
        Ok(Self(orders))
    }
}

/// Parses a selector of `create` and `delete`, which knows neither `!=` nor comparisons.
pub(crate) fn strict_selector(text: &str) -> Result<Selector, String> {
    if text.contains("!=") {
        return Err("\"!=\" cannot be used here; write 'key notin (value)'".to_owned());
    }
    text.parse()
        .map_err(|error: velero_core::Error| error.to_string())
}

/// Selectors joined by ` or `.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct AnySelector(pub(crate) Vec<Selector>);

impl FromStr for AnySelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let alternatives: Vec<&str> = text.split(" or ").collect();
        if alternatives.len() > 1 && alternatives.iter().any(|one| one.trim().is_empty()) {
            return Err(
                "there is nothing on one side of an \" or \", which would take everything"
                    .to_owned(),
            );
        }
        alternatives
            .into_iter()
            .map(strict_selector)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_and_not_trimmed() {
        for (text, expected) in [
            ("a,b", vec!["a", "b"]),
            ("a, b", vec!["a", " b"]),
            ("", vec![""]),
        ] {
            assert_eq!(text.parse::<Names>().unwrap().0, expected, "{text:?}");
        }
    }

    #[test]
    fn booleans_are_those_of_go() {
        for (text, expected) in [
            ("", Ok(None)),
            ("t", Ok(Some(true))),
            ("False", Ok(Some(false))),
            ("0", Ok(Some(false))),
            ("yes", Err(())),
        ] {
            assert_eq!(
                text.parse::<TriState>().map(|t| t.0).map_err(drop),
                expected,
                "{text:?}"
            );
        }
    }

    #[test]
    fn pairs_are_one_csv_record() {
        let map = |text: &str| {
            text.parse::<Pairs>()
                .map(|pairs| pairs.0.into_iter().collect::<Vec<_>>())
                .map_err(drop)
        };
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        for (text, expected) in [
            ("a=b", Ok(vec![pair("a", "b")])),
            ("a=b,c=d=e", Ok(vec![pair("a", "b"), pair("c", "d=e")])),
            ("\"a=b,c\",d=", Ok(vec![pair("a", "b,c"), pair("d", "")])),
            ("\"a=\"\"b\"\"\"", Ok(vec![pair("a", "\"b\"")])),
            ("a=1,a=1", Ok(vec![pair("a", "1")])),
            ("a=1,a=2", Err(())),
            ("", Err(())),
            ("a", Err(())),
            ("a=b,", Err(())),
            ("\"a=b", Err(())),
            ("\"a=b\"c", Err(())),
            ("a=\"b\"", Err(())),
        ] {
            assert_eq!(map(text), expected, "{text:?}");
        }
        assert_eq!("a:b".parse::<Mappings>().unwrap().0["a"], "b");
    }

    #[test]
    fn orders_are_split_by_kind() {
        let parse = |text: &str| {
            text.parse::<Ordered>()
                .map(|ordered| ordered.0)
                .map_err(drop)
        };
        let kinds = |pairs: &[(&str, &str)]| {
            Ok(pairs
                .iter()
                .map(|(kind, names)| ((*kind).to_owned(), (*names).to_owned()))
                .collect::<BTreeMap<_, _>>())
        };
        for (text, expected) in [
            ("", kinds(&[])),
            ("pods=a/x,a/y", kinds(&[("pods", "a/x,a/y")])),
            (
                " pods = a/x ;persistentvolumes=p1,p2",
                kinds(&[("pods", "a/x"), ("persistentvolumes", "p1,p2")]),
            ),
            ("pods=a;pods=a", kinds(&[("pods", "a")])),
            ("pods=a;pods=b", Err(())),
            ("pods", Err(())),
            ("pods=a=b", Err(())),
            ("pods=a;", Err(())),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_no_api_server_takes_is_refused() {
        for (text, good) in [
            ("a:b,c:d-1", true),
            ("a:b,c:b", true),
            ("a:b,a:c", false),
            ("a:Bad_NS", false),
            ("a:", false),
            ("a:b.c", false),
        ] {
            assert_eq!(text.parse::<Mappings>().is_ok(), good, "{text}");
        }
        for (text, label, annotation) in [
            ("a=b,example.com/c=", true, true),
            ("Bad Key=x", false, false),
            ("a=b c", false, true),
            ("Example.com/a=b", false, true),
            ("=b", false, false),
        ] {
            assert_eq!(labels(text).is_ok(), label, "{text}");
            assert_eq!(annotations(text).is_ok(), annotation, "{text}");
        }
        for (text, good) in [("720h", true), ("0", true), ("-5h", false), ("5d", false)] {
            assert_eq!(ttl(text).is_ok(), good, "{text}");
            assert_eq!(timeout(text).is_ok(), good, "{text}");
        }
        for (text, good) in [("4", true), ("0", true), ("-1", false), ("x", false)] {
            assert_eq!(count(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn selectors_of_create_know_no_inequality() {
        assert!(
            strict_selector("a=b,c in (d,e),!f").is_ok() && strict_selector("").unwrap().is_empty()
        );
        assert!(strict_selector("a!=b").is_err() && strict_selector("a>1").is_err());
        assert_eq!("a=b or c=d".parse::<AnySelector>().unwrap().0.len(), 2);
        for (text, good) in [
            ("", true),
            ("a=b or ", false),
            (" or a=b", false),
            ("a or  or b", false),
        ] {
            assert_eq!(text.parse::<AnySelector>().is_ok(), good, "{text:?}");
        }
    }
}
