//! Flags that commands about locations share.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use velero_core::api::{BackupStorageLocation, ByteString, SecretKeySelector};

use super::super::filters::merged;
use super::super::objects::Objects;
use super::super::values::Pairs;

/// Settings of the provider, and where its credentials are.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct ProviderArgs {
    /// Provider, such as aws
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub(super) provider: String,
    /// Settings of the provider, such as region=eu-west-1
    #[arg(long, value_name = "PAIRS")]
    config: Vec<Pairs>,
    /// Labels of the location, such as a=b,c=d
    #[arg(long, value_name = "LABELS", value_parser = super::super::values::labels)]
    labels: Vec<Pairs>,
    #[command(flatten)]
    credential: CredentialArgs,
}

impl ProviderArgs {
    /// Checks that there is a provider.
    pub(super) fn check(&self) -> Result<()> {
        if self.provider.is_empty() {
            bail!("--provider is needed, such as aws");
        }
        Ok(())
    }

    pub(super) fn config(&self) -> BTreeMap<String, String> {
        merged(&self.config)
    }

    pub(super) fn labels(&self) -> Option<BTreeMap<String, String>> {
        Some(merged(&self.labels)).filter(|labels| !labels.is_empty())
    }

    pub(super) fn credential(&self) -> Result<Option<SecretKeySelector>> {
        self.credential.selector()
    }
}

/// Where the credentials of a location are.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct CredentialArgs {
    /// Secret in Velero's namespace with the credentials, and the key that they are under; the server's own without it
    #[arg(long, value_name = "SECRET=KEY")]
    credential: Vec<Pairs>,
}

impl CredentialArgs {
    /// The reference that the flag asks for.
    ///
    /// # Errors
    /// When it names more than one secret, or none.
    pub(super) fn selector(&self) -> Result<Option<SecretKeySelector>> {
        let pairs = merged(&self.credential);
        if pairs.len() > 1 {
            let names: Vec<&str> = pairs.keys().map(String::as_str).collect();
            bail!(
                "--credential names {} secrets, {}; one is needed",
                pairs.len(),
                names.join(" and ")
            );
        }
        let Some((name, key)) = pairs.into_iter().next() else {
            return Ok(None);
        };
        if name.is_empty() || key.is_empty() {
            bail!("--credential {name}={key} names no secret or no key; the form is SECRET=KEY");
        }
        Ok(Some(SecretKeySelector {
            name,
            key,
            optional: None,
        }))
    }
}

/// Reads a file of certificates.
pub(super) fn read_certificates(path: &Path) -> Result<ByteString> {
    let bytes = std::fs::read(path).with_context(|| {
        format!(
            "cannot read the certificates in --cacert {}",
            path.display()
        )
    })?;
    if bytes.is_empty() {
        bail!("--cacert {} is empty", path.display());
    }
    Ok(ByteString(bytes))
}

/// Checks that no other location is the default one.
///
/// # Errors
/// When one is, or they cannot be read.
pub(super) async fn check_only_default(
    locations: &Objects<BackupStorageLocation>,
    name: &str,
) -> Result<()> {
    let all = locations.list("").await?;
    let defaults = all.iter().filter(|location| location.spec.default);
    let mut names = defaults.filter_map(|location| location.metadata.name.as_deref());
    match names.find(|other| *other != name) {
        Some(other) => bail!(
            "backup storage location {other:?} is the default one; take that from it with `velero backup-location set {other} \
             --default=false` first"
        ),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_secret_is_named() {
        for (flags, expected) in [
            (&[] as &[&str], Ok(None)),
            (&["s=k"], Ok(Some(("s", "k")))),
            (&["s=k", "s=k"], Ok(Some(("s", "k")))),
            (&["s=k=l"], Ok(Some(("s", "k=l")))),
            (&["s=k,t=l"], Err("names 2 secrets, s and t")),
            (&["s=k", "t=l"], Err("names 2 secrets, s and t")),
            (&["=k"], Err("no secret or no key")),
            (&["s="], Err("no secret or no key")),
        ] {
            let credential = flags.iter().map(|flag| flag.parse().unwrap()).collect();
            let found = CredentialArgs { credential }.selector();
            match (found, expected) {
                (Ok(found), Ok(expected)) => {
                    let found = found.map(|found| (found.name, found.key));
                    let expected = expected.map(|(name, key)| (name.to_owned(), key.to_owned()));
                    assert_eq!(found, expected, "{flags:?}");
                }
                (Err(fault), Err(part)) => {
                    assert!(fault.to_string().contains(part), "{flags:?}: {fault}")
                }
                other => panic!("{flags:?}: {other:?}"),
            }
        }
    }
}
