//! Store URLs of direct mode.

use std::collections::BTreeMap;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::Url;

use super::{Environment, Kind, Location, LocationConfig};
use crate::error::{Error, Result};

const FIELD: &str = "store URL";
const FORMS: &str = "file:///path, s3://bucket/prefix?region=..., az://container/prefix?storageAccount=..., gs://bucket/prefix or memory://name";

/// A kind of store with buckets: the provider whose settings the query has, and short names of some of them.
struct Cloud {
    scheme: &'static str,
    provider: &'static str,
    /// What a complaint about the bucket says.
    bucket: &'static str,
    short: &'static [(&'static str, &'static str)],
}

const CLOUDS: [Cloud; 3] = [
    Cloud {
        scheme: "s3",
        provider: "aws",
        bucket: "a bucket: s3://bucket/prefix; a server goes in ?endpoint=http://host:port",
        short: &[
            ("endpoint", "s3Url"),
            ("forcePathStyle", "s3ForcePathStyle"),
        ],
    },
    Cloud {
        scheme: "az",
        provider: "azure",
        bucket: "a container: az://container/prefix; the account goes in ?storageAccount=...",
        short: &[("endpoint", "storageAccountURI")],
    },
    Cloud {
        scheme: "gs",
        provider: "gcp",
        bucket: "a bucket: gs://bucket/prefix; a server goes in ?endpoint=http://host:port",
        short: &[("endpoint", "storeEndpoint")],
    },
];

pub(super) fn parse(text: &str, env: &Environment) -> Result<Location> {
    let url = Url::parse(text).map_err(|err| bad(&masked(text), &format!("{FORMS} ({err})")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad(
            &masked(text),
            "no credentials in the URL; use ?credentialsFile=... or the environment",
        ));
    }
    if url.fragment().is_some() {
        return Err(bad(text, "no '#' part; write %23 for one in a name"));
    }
    match url.scheme() {
        "file" => file(text, &url),
        "memory" => memory(text, &url),
        scheme => match CLOUDS.iter().find(|cloud| cloud.scheme == scheme) {
            Some(cloud) => bucket(cloud, text, &url, env),
            None => Err(bad(text, FORMS)),
        },
    }
}

fn bad(value: &str, expected: &str) -> Error {
    Error::config(FIELD, value, expected)
}

/// Hides what stands before an `@`, where people put passwords.
fn masked(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://***@{rest}"),
        _ => text.to_owned(),
    }
}

fn no_query(text: &str, url: &Url) -> Result<()> {
    match url.query() {
        None => Ok(()),
        Some(_) => Err(bad(
            text,
            "no '?' part for this kind of store; write %3F for one in a name",
        )),
    }
}

fn decoded(text: &str, part: &str) -> Result<String> {
    percent_decode_str(part)
        .decode_utf8()
        .map(|part| part.into_owned())
        .map_err(|_| bad(text, "percent signs that encode UTF-8"))
}

fn file(text: &str, url: &Url) -> Result<Location> {
    no_query(text, url)?;
    if url
        .host_str()
        .is_some_and(|host| !host.is_empty() && host != "localhost")
    {
        return Err(bad(
            text,
            "an absolute path, with three slashes: file:///path",
        ));
    }
    let path = decoded(text, url.path())?;
    if path.trim_matches('/').is_empty() {
        return Err(bad(text, "a folder other than the root: file:///path"));
    }
    let kind = Kind::Folder {
        root: PathBuf::from(path),
        create: true,
    };
    Location::new(kind, FIELD, "", Vec::new())
}

fn memory(text: &str, url: &Url) -> Result<Location> {
    no_query(text, url)?;
    let name = url.host_str().unwrap_or_default();
    if name.is_empty() {
        return Err(bad(text, "a name: memory://name"));
    }
    let kind = Kind::Memory {
        name: name.to_owned(),
    };
    Location::new(kind, FIELD, &decoded(text, url.path())?, Vec::new())
}

fn bucket(cloud: &Cloud, text: &str, url: &Url, env: &Environment) -> Result<Location> {
    let bucket = url.host_str().unwrap_or_default();
    if bucket.is_empty() || url.port().is_some() {
        return Err(bad(text, cloud.bucket));
    }
    let mut config = LocationConfig {
        provider: cloud.provider.to_owned(),
        bucket: bucket.to_owned(),
        prefix: decoded(text, url.path())?,
        ..LocationConfig::default()
    };
    let (mut settings, mut spelled) = (BTreeMap::new(), BTreeMap::new());
    for (name, value) in url.query_pairs() {
        let short = cloud.short.iter().find(|(short, _)| *short == name);
        let key = short.map_or(&*name, |(_, key)| key);
        let field = format!("store URL key {name}");
        if key == "caCertFile" {
            let pem = std::fs::read(&*value).map_err(|err| {
                Error::config(&field, &*value, format!("a readable file ({err})"))
            })?;
            config.ca_cert = Some(pem);
            continue;
        }
        if settings
            .insert(key.to_owned(), value.into_owned())
            .is_some()
        {
            return Err(bad(text, &format!("setting {key} only once")));
        }
        spelled.insert(key.to_owned(), name.into_owned());
    }
    config.config = settings;
    Location::from_config_in(&config, env).map_err(|error| in_words_of_urls(error, cloud, &spelled))
}

/// Turns what is wrong with a setting of a location into what is wrong with a key of the URL; `spelled` has the keys as
/// they stand there.
fn in_words_of_urls(error: Error, cloud: &Cloud, spelled: &BTreeMap<String, String>) -> Error {
    match error {
        Error::Config {
            field,
            value,
            expected,
        } if field.starts_with("config.") => {
            let key = field.trim_start_matches("config.");
            let name = spelled.get(key).map_or(key, String::as_str);
            let unknown = format!("not a setting of provider {}, which knows", cloud.provider);
            let mut expected = expected.replace(&unknown, "not one of");
            for (short, key) in cloud.short {
                expected = expected.replace(key, short);
            }
            let expected = expected.replace("config.", "");
            Error::config(format!("{FIELD} key {name}"), value, expected)
        }
        other => other,
    }
}
