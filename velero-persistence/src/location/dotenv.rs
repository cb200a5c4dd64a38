//! Credentials files of `NAME=value` lines.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Error, Result};

/// The entries of such a file. `Debug` shows names only.
#[derive(Clone, Default)]
pub(super) struct Dotenv(BTreeMap<String, String>);

impl fmt::Debug for Dotenv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Dotenv {
    /// Reads a file; `field` names it in messages. `#` begins a comment, `export ` before a name and quotes around a value do
    /// not count.
    pub(super) fn parse(field: &str, file: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(file)
            .map_err(|_| Error::config(field, "<credentials>", "NAME=value lines in UTF-8"))?;
        let mut entries = BTreeMap::new();
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // The line itself may be a secret: only its number is told.
            let (name, value) = line.split_once('=').ok_or_else(|| {
                let place = format!("{field} line {}", number + 1);
                Error::config(place, "<hidden>", "a line is NAME=value")
            })?;
            let name = name.trim();
            let name = name.strip_prefix("export ").map_or(name, str::trim);
            entries.insert(name.to_owned(), unquoted(value.trim()).to_owned());
        }
        Ok(Self(entries))
    }

    /// An entry that is there and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        let inside = value
            .strip_prefix(quote)
            .and_then(|rest| rest.split_once(quote));
        if let Some((inside, _)) = inside {
            return inside;
        }
    }
    // Behind a blank a `#` begins a comment.
    value
        .split_once(" #")
        .map_or(value, |(value, _)| value.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_as_people_write_them() {
        let file =
            "\u{feff}# top\nA=1\r\n export B = two=2 # note\nC=\"quoted # value\"\nD='x'\nE=\n\n";
        let entries = Dotenv::parse("credential", file.as_bytes()).unwrap();
        for (name, want) in [
            ("A", Some("1")),
            ("B", Some("two=2")),
            ("C", Some("quoted # value")),
            ("D", Some("x")),
            ("E", None),
            ("F", None),
        ] {
            assert_eq!(entries.get(name), want, "{name}");
        }
    }

    #[test]
    fn no_text_shows_a_value() {
        let err = Dotenv::parse("credential", b"A=1\nHUNTER2\n").unwrap_err();
        assert_eq!(
            err.to_string(),
            "credential line 2 \"<hidden>\" is not valid: a line is NAME=value"
        );
        assert!(Dotenv::parse("credential", b"\xff").is_err());
        let entries = Dotenv::parse("credential", b"A=HUNTER2").unwrap();
        assert_eq!(format!("{entries:?}"), "{\"A\"}");
    }
}
