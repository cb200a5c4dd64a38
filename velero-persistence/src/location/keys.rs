//! `spec.config` with the checks that its values need, whatever the provider.

use std::collections::BTreeMap;

use url::Url;

use crate::error::{Error, Result};

/// The settings of a location.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a>(pub(super) &'a BTreeMap<String, String>);

impl<'a> Keys<'a> {
    /// A setting that is there and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    }

    /// Refuses what the provider does not know; `shown` are the keys to name then.
    pub(super) fn refuse_unknown(
        &self,
        provider: &str,
        known: &[&str],
        shown: &[&str],
    ) -> Result<()> {
        let unknown = self
            .0
            .iter()
            .find(|(key, _)| !known.contains(&key.as_str()));
        match unknown {
            None => Ok(()),
            Some((key, value)) => Err(Error::config(
                format!("config.{key}"),
                value,
                format!(
                    "not a setting of provider {provider}, which knows {}",
                    shown.join(", ")
                ),
            )),
        }
    }

    /// Notes each of these settings that is given: it has no effect.
    pub(super) fn warn_of(&self, names: &[&str], warnings: &mut Vec<String>) {
        for name in names {
            if let Some(value) = self.get(name) {
                warnings.push(format!("config.{name} {value:?} has no effect"));
            }
        }
    }

    /// A boolean in the spellings Go's `strconv.ParseBool` takes; absent is false.
    pub(super) fn flag(&self, name: &str) -> Result<bool> {
        match self.get(name) {
            None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some(other) => Err(Error::config(
                format!("config.{name}"),
                other,
                "true or false",
            )),
        }
    }

    /// An URL of a server.
    pub(super) fn url(&self, name: &str) -> Result<Option<Url>> {
        self.url_like(name, "https://minio.example.com:9000")
    }

    /// As `url`, with an example for the message.
    pub(super) fn url_like(&self, name: &str, example: &str) -> Result<Option<Url>> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let bad = |value: &str| {
            Error::config(
                format!("config.{name}"),
                value,
                format!("an URL such as {example}"),
            )
        };
        let url = Url::parse(text).map_err(|_| bad(text))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("<hidden>"));
        }
        let fits = matches!(url.scheme(), "http" | "https") && url.host_str().is_some();
        if !fits || url.query().is_some() || url.fragment().is_some() {
            return Err(bad(text));
        }
        Ok(Some(url))
    }

    /// The content of the credentials file: the location's own secret, `config.credentialsFile`, or the file that
    /// `variable` names.
    ///
    /// With its name for messages. A file that only the environment names and that cannot be read gives a warning.
    pub(super) fn credentials_file(
        &self,
        secret: Option<&[u8]>,
        variable: (&'static str, Option<&str>),
        warnings: &mut Vec<String>,
    ) -> Result<Option<(&'static str, Vec<u8>)>> {
        if let Some(secret) = secret {
            return Ok(Some(("credential", secret.to_vec())));
        }
        if let Some(path) = self.get("credentialsFile") {
            let file = std::fs::read(path).map_err(|err| {
                Error::config(
                    "config.credentialsFile",
                    path,
                    format!("a readable file ({err})"),
                )
            })?;
            return Ok(Some(("config.credentialsFile", file)));
        }
        let (name, Some(path)) = variable else {
            return Ok(None);
        };
        match std::fs::read(path) {
            Ok(file) => Ok(Some((name, file))),
            Err(err) => {
                warnings.push(format!(
                    "{name} {path:?} cannot be read and is passed over: {err}"
                ));
                Ok(None)
            }
        }
    }
}
