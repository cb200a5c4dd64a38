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
    /// The role that these keys take on, if any.
    pub(crate) role: Option<Role>,
}

/// A role that is taken on with the keys of another profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Role {
    pub(crate) arn: String,
    pub(crate) external_id: Option<String>,
    pub(crate) session_name: Option<String>,
}

impl fmt::Debug for AccessKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKeys")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Ways to get keys that a profile can ask for and that are not built in.
const INDIRECT: [&str; 8] = [
    "role_arn",
    "source_profile",
    "mfa_serial",
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
    let mut section = |name: &str| {
        sections.remove(name).ok_or_else(|| {
            let have = Some(names.as_str()).filter(|names| !names.is_empty());
            Error::config(
                format!("{field} profile"),
                name,
                format!(
                    "a profile of the credentials file, which has: {}",
                    have.unwrap_or("none")
                ),
            )
        })
    };
    let mut own = section(profile)?;
    let Some(arn) = take(&mut own, "role_arn") else {
        return plain_keys(field, profile, own);
    };
    let (external_id, session_name) = (
        take(&mut own, "external_id"),
        take(&mut own, "role_session_name"),
    );
    let role = Role {
        arn,
        external_id,
        session_name,
    };
    let Some(source) = take(&mut own, "source_profile") else {
        return Err(Error::config(
            format!("{field} profile {profile:?}"),
            "role_arn",
            "source_profile beside it, a profile with aws_access_key_id and aws_secret_access_key",
        ));
    };
    if own.contains_key("mfa_serial") {
        return Err(indirect(field, profile, "mfa_serial"));
    }
    let keys = match source == profile {
        true => own,
        false => section(&source)?,
    };
    let keys = plain_keys(field, &source, keys)?;
    Ok(AccessKeys {
        role: Some(role),
        ..keys
    })
}

fn take(section: &mut BTreeMap<String, String>, name: &str) -> Option<String> {
    section.remove(name).filter(|value| !value.is_empty())
}

/// The keys that stand in a profile itself.
fn plain_keys(
    field: &str,
    profile: &str,
    mut section: BTreeMap<String, String>,
) -> Result<AccessKeys> {
    if section.contains_key("role_arn") {
        return Err(indirect(field, profile, "role_arn"));
    }
    let id = take(&mut section, "aws_access_key_id");
    match (id, take(&mut section, "aws_secret_access_key")) {
        (Some(id), Some(secret)) => Ok(AccessKeys {
            id,
            secret,
            token: take(&mut section, "aws_session_token"),
            role: None,
        }),
        (None, Some(_)) => Err(missing(field, profile, "aws_access_key_id")),
        (Some(_), None) => Err(missing(field, profile, "aws_secret_access_key")),
        (None, None) => match INDIRECT.iter().find(|name| section.contains_key(**name)) {
            Some(name) => Err(indirect(field, profile, name)),
            None => Err(missing(
                field,
                profile,
                "aws_access_key_id and aws_secret_access_key",
            )),
        },
    }
}

fn indirect(field: &str, profile: &str, name: &str) -> Error {
    Error::config(
        format!("{field} profile {profile:?}"),
        name,
        "this way to credentials is not supported; give aws_access_key_id and aws_secret_access_key, or role_arn and a source_profile with them",
    )
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
                "profile \"x\" is not valid: a profile of the credentials file, which has: default",
            ),
            (
                "[default]\nrole_arn=SECRET\naws_access_key_id=SECRET\naws_secret_access_key=SECRET\n",
                "default",
                "\"role_arn\" is not valid: source_profile beside it",
            ),
            (
                "[default]\nrole_arn=SECRET\nsource_profile=x\nmfa_serial=SECRET\n[x]\n",
                "default",
                "\"mfa_serial\" is not valid",
            ),
            (
                "[default]\nrole_arn=SECRET\nsource_profile=x\n[x]\nrole_arn=SECRET\nsource_profile=y\n",
                "default",
                "profile \"x\" \"role_arn\" is not valid: this way to credentials",
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
    fn a_role_is_taken_on_with_the_keys_of_another_profile_or_of_its_own() {
        let keys = "aws_access_key_id=AK\naws_secret_access_key=S\n";
        let role = "role_arn=arn:r\nexternal_id=e\nrole_session_name=n\n";
        for file in [
            format!("[default]\n{role}source_profile=base\n[base]\n{keys}"),
            format!("[default]\n{role}source_profile=default\n{keys}"),
        ] {
            let found = access_keys("credential", file.as_bytes(), "default").unwrap();
            assert_eq!((found.id.as_str(), found.secret.as_str()), ("AK", "S"));
            let want = Role {
                arn: "arn:r".to_owned(),
                external_id: Some("e".to_owned()),
                session_name: Some("n".to_owned()),
            };
            assert_eq!(found.role, Some(want));
        }
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
