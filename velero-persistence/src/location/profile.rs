//! AWS credentials files: sections of `name = value` lines.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Error, Result};

/// An access key pair. `Debug` shows the id only.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct AccessKeys {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
}

impl fmt::Debug for AccessKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKeys")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Ways to get keys that a profile can ask for and that are not built in.
const INDIRECT: [&str; 7] = [
    "role_arn",
    "source_profile",
    "credential_source",
    "credential_process",
    "web_identity_token_file",
    "sso_session",
    "sso_start_url",
];

/// Reads the keys of one profile. `field` names the file in messages: `credential`, or its path.
///
/// Sections are `[name]` as in credentials files, or `[profile name]` as in config files. `#` and `;` begin comments,
/// at the start of a line or after a blank. Indented lines belong to a nested setting and are skipped.
pub(crate) fn access_keys(field: &str, file: &[u8], profile: &str) -> Result<AccessKeys> {
    let text = std::str::from_utf8(file)
        .map_err(|_| Error::config(field, "<credentials>", "an AWS credentials file in UTF-8"))?;
    let mut sections = parse(field, text)?;
    let names = sections.keys().cloned().collect::<Vec<_>>().join(", ");
    let Some(mut section) = sections.remove(profile) else {
        let have = if names.is_empty() {
            "none".to_owned()
        } else {
            names
        };
        return Err(Error::config(
            format!("{field} profile"),
            profile,
            format!("a profile of the credentials file, which has: {have}"),
        ));
    };
    let mut take = |name: &str| section.remove(name).filter(|v| !v.is_empty());
    match (take("aws_access_key_id"), take("aws_secret_access_key")) {
        (Some(id), Some(secret)) => Ok(AccessKeys {
            id,
            secret,
            token: take("aws_session_token"),
        }),
        (None, Some(_)) => Err(missing(field, profile, "aws_access_key_id")),
        (Some(_), None) => Err(missing(field, profile, "aws_secret_access_key")),
        (None, None) => match INDIRECT.iter().find(|name| section.contains_key(**name)) {
            Some(indirect) => Err(Error::config(
                format!("{field} profile {profile:?}"),
                *indirect,
                "this way to credentials is not supported; give aws_access_key_id and aws_secret_access_key",
            )),
            None => Err(missing(
                field,
                profile,
                "aws_access_key_id and aws_secret_access_key",
            )),
        },
    }
}

fn missing(field: &str, profile: &str, names: &str) -> Error {
    Error::config(
        format!("{field} profile"),
        profile,
        format!("{names} must be in it"),
    )
}

type Sections = BTreeMap<String, BTreeMap<String, String>>;

fn parse(field: &str, text: &str) -> Result<Sections> {
    let mut sections = Sections::new();
    let mut current: Option<String> = None;
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let nested = line.starts_with([' ', '\t']);
        let line = without_comment(line).trim();
        if line.is_empty() {
            continue;
        }
        // The line itself may be a secret: only its number is told.
        let bad = |expected: &str| {
            Error::config(format!("{field} line {}", number + 1), "<hidden>", expected)
        };
        if let Some(rest) = line.strip_prefix('[').filter(|_| !nested) {
            let name = rest
                .strip_suffix(']')
                .ok_or_else(|| bad("a section ends with ']'"))?
                .trim();
            let name = name.strip_prefix("profile ").map_or(name, str::trim);
            sections.entry(name.to_owned()).or_default();
            current = Some(name.to_owned());
            continue;
        }
        let Some(section) = current.as_ref().and_then(|name| sections.get_mut(name)) else {
            return Err(bad(
                "a section such as [default] comes before the first setting",
            ));
        };
        if nested && !line.starts_with("aws_") {
            continue;
        }
        let (name, value) = line
            .split_once('=')
            .ok_or_else(|| bad("a line is name = value"))?;
        section.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
    }
    Ok(sections)
}

fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with(['#', ';']) {
        return "";
    }
    [" #", " ;", "\t#", "\t;"]
        .iter()
        .filter_map(|mark| line.find(mark))
        .min()
        .map_or(line, |at| &line[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(
        file: &str,
        profile: &str,
    ) -> std::result::Result<(String, String, Option<String>), String> {
        access_keys("credential", file.as_bytes(), profile)
            .map(|k| (k.id, k.secret, k.token))
            .map_err(|err| err.to_string())
    }

    #[test]
    fn files_as_people_write_them() {
        let plain = Ok(("AK".to_owned(), "s/e+c=ret".to_owned(), None));
        for file in [
            "[default]\naws_access_key_id=AK\naws_secret_access_key=s/e+c=ret\n",
            "\u{feff}[default]\r\naws_access_key_id = AK\r\naws_secret_access_key = s/e+c=ret",
            "# top\n\n[ default ]\nAWS_ACCESS_KEY_ID = AK # id\n; note\naws_secret_access_key\t=\ts/e+c=ret ; x\n",
            "[other]\naws_access_key_id=no\n[default]\n  aws_access_key_id = AK\n  aws_secret_access_key = s/e+c=ret\n",
            "[default]\nregion=eu\ns3 =\n  max = 1\n  nothing here\naws_access_key_id=AK\naws_secret_access_key=s/e+c=ret",
        ] {
            assert_eq!(keys(file, "default"), plain, "{file}");
        }
        let token =
            "[profile ci]\naws_access_key_id=A\naws_secret_access_key=B\naws_session_token=C==\n";
        assert_eq!(
            keys(token, "ci"),
            Ok(("A".to_owned(), "B".to_owned(), Some("C==".to_owned())))
        );
    }

    #[test]
    fn errors_name_the_place_and_never_a_value() {
        for (file, profile, want) in [
            ("", "default", "which has: none"),
            ("[a]\n[b]\n", "default", "which has: a, b"),
            ("aws_access_key_id=SECRET\n", "default", "line 1"),
            ("[default\nx=SECRET", "default", "a section ends with ']'"),
            ("[default]\nSECRET\n", "default", "line 2"),
            (
                "[default]\naws_access_key_id=SECRET\n",
                "default",
                "aws_secret_access_key must be in it",
            ),
            (
                "[default]\naws_secret_access_key=SECRET\n",
                "default",
                "aws_access_key_id must be in it",
            ),
            (
                "[default]\naws_access_key_id=\naws_secret_access_key=\n",
                "default",
                "must be in it",
            ),
            (
                "[default]\nrole_arn=SECRET\nsource_profile=x\n",
                "default",
                "\"role_arn\" is not valid",
            ),
            (
                "[default]\ncredential_process=SECRET\n",
                "default",
                "credential_process",
            ),
        ] {
            let text = keys(file, profile).unwrap_err();
            assert!(text.contains(want), "{file:?}: {text}");
            assert!(!text.contains("SECRET"), "{text}");
            assert!(!text.contains('\n'), "{text}");
        }
        assert!(access_keys("credential", b"\xff\xfe", "default").is_err());
    }

    #[test]
    fn debug_hides_the_secret() {
        let keys = access_keys(
            "credential",
            b"[default]\naws_access_key_id=AK\naws_secret_access_key=SECRET\naws_session_token=TOKEN",
            "default",
        )
        .unwrap();
        assert_eq!(format!("{keys:?}"), "AccessKeys { id: \"AK\", .. }");
    }
}
