//! Values as rules have them: text, of which the form says what it stands for.

use serde_json::Value;

/// Reads the value of a patch or of a condition.
///
/// `"text"` in quotes of its own is that text; `null`, `true`, `false`, numbers and what begins with `{` or `[` are
/// JSON; everything else is text. Text is read as between the quotes of a JSON string, so that `\n` ends a line.
/// Mirrors `addQuotes` in upstream's `internal/resourcemodifiers/json_patch.go`, which tells only when the rule is
/// applied, and for each item anew, that the outcome is no JSON.
pub(super) fn read(text: &str) -> Result<Value, String> {
    if let Some(inner) = text.strip_prefix('"').filter(|_| text.ends_with('"')) {
        return quoted(text, inner.strip_suffix('"').unwrap_or(inner));
    }
    if is_raw(text) {
        return serde_json::from_str(text).map_err(|error| {
            format!("{text:?} is read as json, and it is none ({error}); for the text write it in quotes of its own: '\"...\"'")
        });
    }
    quoted(text, text)
}

fn is_raw(text: &str) -> bool {
    let number = text.parse::<f64>().is_ok_and(|number| {
        // What is too large for a number stays text; `inf` and `nan` count as numbers, which json does not know.
        number.is_finite() || !text.contains(|c: char| c.is_ascii_digit())
    });
    text == "null"
        || text.eq_ignore_ascii_case("true")
        || text.eq_ignore_ascii_case("false")
        || text.starts_with(['{', '['])
        || number
}

fn quoted(whole: &str, inner: &str) -> Result<Value, String> {
    serde_json::from_str(&format!("\"{inner}\""))
        .ok()
        .filter(Value::is_string)
        .ok_or_else(|| {
            format!("{whole:?} is no json string; write \\\" for a quote, \\\\ for a backslash and \\n for the end of a line")
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_form_says_what_a_value_is() {
        for (text, want) in [
            ("", json!("")),
            ("premium", json!("premium")),
            ("two words", json!("two words")),
            ("\"true\"", json!("true")),
            ("\"1\"", json!("1")),
            ("\"null\"", json!("null")),
            ("\"\"", json!("")),
            ("\"", json!("")),
            ("null", json!(null)),
            ("Null", json!("Null")),
            ("true", json!(true)),
            ("false", json!(false)),
            ("1", json!(1)),
            ("-2.5", json!(-2.5)),
            ("1e3", json!(1000.0)),
            ("1e999", json!("1e999")),
            ("10Gi", json!("10Gi")),
            ("0x10", json!("0x10")),
            ("{\"a\": [1]}", json!({"a": [1]})),
            ("[{\"containerPort\": 80}]", json!([{"containerPort": 80}])),
            ("a\\nb \\u00e9 \\\"c\\\"", json!("a\nb \u{e9} \"c\"")),
        ] {
            assert_eq!(read(text).as_ref(), Ok(&want), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_told() {
        for (text, want) in [
            ("{a}", "is read as json"),
            ("{\"a\": 1}, \"op\": \"remove\"", "is read as json"),
            ("True", "is read as json"),
            ("007", "is read as json"),
            ("+1", "is read as json"),
            ("inf", "is read as json"),
            ("say \"hi\"", "is no json string"),
            ("x\", \"op\": \"remove", "is no json string"),
            ("two\nlines", "is no json string"),
            ("C:\\path", "is no json string"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
