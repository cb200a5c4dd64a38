//! Lines of a log, taken apart again.

use std::collections::BTreeMap;

/// The fields of a line in either form, message and time among them. What cannot be read of a line is left out.
pub(crate) fn fields(line: &str) -> BTreeMap<String, String> {
    if line.trim_start().starts_with('{') {
        return json(line);
    }
    let mut out = BTreeMap::new();
    let mut rest = line.trim();
    while let Some((key, value)) = rest.split_once('=') {
        let (value, behind) = match value.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let (word, behind) = value.split_once(' ').unwrap_or((value, ""));
                (word.to_owned(), behind)
            }
        };
        out.insert(key.trim().to_owned(), value);
        rest = behind.trim_start();
    }
    out
}

fn json(line: &str) -> BTreeMap<String, String> {
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(line).unwrap_or_default();
    object
        .into_iter()
        .map(|(key, value)| match value {
            serde_json::Value::String(text) => (key, text),
            other => (key, other.to_string()),
        })
        .collect()
}

/// Text up to its closing quote, and what follows.
fn unquote(text: &str) -> (String, &str) {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (out, &text[at + 1..]),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some('t') => out.push('\t'),
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                    let code = u32::from_str_radix(&digits, 16).ok();
                    out.extend(code.and_then(char::from_u32));
                }
                Some(c) => out.push(c),
                None => {}
            },
            c => out.push(c),
        }
    }
    (out, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_forms() {
        for line in [
            r#"time="2026-11-22T05:49:12Z" level=info msg="it is \"so\", a=b\n\u0007" resource=deployments.apps text="" x=1"#,
            r#"{"time":"2026-11-22T05:49:12Z","level":"info","msg":"it is \"so\", a=b\n\u0007","resource":"deployments.apps","text":"","x":1}"#,
        ] {
            let found = fields(line);
            assert_eq!(found["msg"], "it is \"so\", a=b\n\u{7}", "{line}");
            assert_eq!(
                (found["resource"].as_str(), found["x"].as_str()),
                ("deployments.apps", "1")
            );
            assert_eq!((found["text"].as_str(), found.len()), ("", 6));
        }
        for odd in [
            "",
            "no fields",
            "a=\"b",
            "a=b\\",
            "{",
            "a=\"\\u00",
            "=",
            "a=\"\\",
        ] {
            let _ = fields(odd);
        }
    }
}
