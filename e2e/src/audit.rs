//! Reading the audit log: which calls did a client make?

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::Deserialize;

/// The audit log of a control plane, read from a point in time on.
#[derive(Debug, Clone)]
pub struct AuditLog {
    path: PathBuf,
    start: u64,
}

/// One call, as the API server logged it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct AuditEvent {
    /// `User-Agent` of the client.
    pub user_agent: String,
    /// Verb: `get`, `list`, `create`, `update`, `patch`, `delete`, `watch`, ...
    pub verb: String,
    /// Path and query of the request.
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    /// Which object; absent for paths such as `/version`.
    pub object_ref: Option<AuditObject>,
    /// What the server answered.
    pub response_status: Option<AuditStatus>,
    /// Who called.
    pub user: AuditUser,
    /// When the server got the request, in RFC 3339 with microseconds.
    pub request_received_timestamp: String,
    /// When it had answered, likewise.
    pub stage_timestamp: String,
}

/// The object of a call.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct AuditObject {
    /// API group, empty for the core group.
    pub api_group: String,
    /// Plural name.
    pub resource: String,
    /// Subresource, empty for the object itself.
    pub subresource: String,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Name; empty for lists, and for creates when the body alone names the object.
    pub name: String,
}

/// The answer to a call.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AuditStatus {
    /// HTTP status.
    pub code: u16,
}

/// The caller.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AuditUser {
    /// User name, from the certificate or the token.
    pub username: String,
}

/// Counts by verb, resource (`resource[/subresource][.group]`) and code.
pub type AuditCounts = BTreeMap<(String, String, u16), usize>;

/// Which calls to look at.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Only calls whose user agent begins with this; empty takes all.
    pub user_agent: String,
    /// Only calls of this user; empty takes all.
    pub username: String,
    /// Leave out what "calls an object" leaves out: discovery, watch, leases and `velero.io` objects. Default: false.
    pub objects_only: bool,
}

impl AuditFilter {
    /// The calls that count for "calls an object" of a client.
    #[must_use]
    pub fn objects_of(user_agent: &str) -> Self {
        Self {
            user_agent: user_agent.to_owned(),
            objects_only: true,
            ..Self::default()
        }
    }

    /// All calls of a client.
    #[must_use]
    pub fn all_of(user_agent: &str) -> Self {
        Self {
            user_agent: user_agent.to_owned(),
            ..Self::default()
        }
    }

    /// All calls of a user.
    #[must_use]
    pub fn of_user(username: &str) -> Self {
        Self {
            username: username.to_owned(),
            ..Self::default()
        }
    }

    fn matches(&self, event: &AuditEvent) -> bool {
        event.user_agent.starts_with(&self.user_agent)
            && (self.username.is_empty() || self.username == event.user.username)
            && (!self.objects_only || event.is_object_call())
    }
}

impl AuditEvent {
    /// Whether the call counts for "calls an object".
    #[must_use]
    pub fn is_object_call(&self) -> bool {
        // Discovery has no object with a resource: /api, /apis/apps/v1, /openapi, /version.
        let Some(object) = self
            .object_ref
            .as_ref()
            .filter(|object| !object.resource.is_empty())
        else {
            return false;
        };
        self.verb != "watch"
            && !(object.resource == "leases" && object.api_group == "coordination.k8s.io")
            && object.api_group != "velero.io"
    }

    /// Whether the call changes something.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch")
    }

    /// HTTP status of the answer, 0 when the log has none.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.response_status
            .as_ref()
            .map_or(0, |status| status.code)
    }

    /// `resource[/subresource][.group]`, or the path for calls without an object.
    #[must_use]
    pub fn resource(&self) -> String {
        let Some(object) = &self.object_ref else {
            return self
                .request_uri
                .split('?')
                .next()
                .unwrap_or_default()
                .to_owned();
        };
        let mut name = object.resource.clone();
        if !object.subresource.is_empty() {
            name = format!("{name}/{}", object.subresource);
        }
        if !object.api_group.is_empty() {
            name = format!("{name}.{}", object.api_group);
        }
        name
    }

    /// The `fieldManager` of the query, when there is one with a value.
    #[must_use]
    pub fn field_manager(&self) -> Option<&str> {
        let query = self.request_uri.split_once('?')?.1;
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix("fieldManager="))
            .filter(|value| !value.is_empty())
    }

    /// Whether the call was a server-side dry run.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.request_uri.contains("dryRun=All")
    }
}

impl AuditLog {
    /// The log file, from its beginning.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, start: 0 }
    }

    /// Path of the log file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same log from now on: what was written before is left out.
    ///
    /// The server writes a line before it ends the answer, so a call that was answered is in the log.
    pub fn from_now(&self) -> Result<Self> {
        let start = std::fs::metadata(&self.path)
            .map(|data| data.len())
            .unwrap_or(0);
        Ok(Self {
            path: self.path.clone(),
            start,
        })
    }

    /// All calls that match, in the order of the log.
    pub fn events(&self, filter: &AuditFilter) -> Result<Vec<AuditEvent>> {
        let mut events = Vec::new();
        self.each(|event| {
            if filter.matches(&event) {
                events.push(event);
            }
        })?;
        Ok(events)
    }

    /// Number of calls that match.
    pub fn count(&self, filter: &AuditFilter) -> Result<usize> {
        let mut count = 0;
        self.each(|event| count += usize::from(filter.matches(&event)))?;
        Ok(count)
    }

    /// Number of calls that match, by verb, resource and code.
    pub fn counts(&self, filter: &AuditFilter) -> Result<AuditCounts> {
        let mut counts = AuditCounts::new();
        self.each(|event| {
            if filter.matches(&event) {
                let key = (event.verb.clone(), event.resource(), event.code());
                *counts.entry(key).or_default() += 1;
            }
        })?;
        Ok(counts)
    }

    /// Calls for each of `objects` objects that a client made.
    ///
    /// # Errors
    /// When no call or no object was counted: then the measurement is wrong.
    pub fn calls_an_object(&self, user_agent: &str, objects: usize) -> Result<f64> {
        let calls = self.count(&AuditFilter::objects_of(user_agent))?;
        anyhow::ensure!(
            calls > 0,
            "no call by a client called {user_agent:?} in {}",
            self.path.display()
        );
        anyhow::ensure!(objects > 0, "no object to divide {calls} calls by");
        Ok(calls as f64 / objects as f64)
    }

    /// Writes that name no `fieldManager`; subresources that create nothing of their own are left out.
    ///
    /// `exec`, `eviction`, `token` and the reviews store no object, so no field has an owner.
    pub fn writes_without_field_manager(&self, filter: &AuditFilter) -> Result<Vec<AuditEvent>> {
        let mut events = self.events(filter)?;
        events.retain(|event| {
            let object = event.object_ref.as_ref();
            let stored = object.is_some_and(|object| {
                !matches!(
                    object.subresource.as_str(),
                    "exec" | "attach" | "portforward" | "proxy" | "eviction" | "token" | "binding"
                ) && !object.resource.ends_with("reviews")
            });
            event.is_write() && stored && event.field_manager().is_none()
        });
        Ok(events)
    }

    fn each(&self, mut take: impl FnMut(AuditEvent)) -> Result<()> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            // Nothing was logged yet.
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(err) => {
                return Err(err).with_context(|| format!("cannot open {}", self.path.display()));
            }
        };
        file.seek(SeekFrom::Start(self.start))?;
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut line = String::new();
        loop {
            line.clear();
            let read = reader
                .read_line(&mut line)
                .with_context(|| format!("cannot read {}", self.path.display()))?;
            // A line without its end is still being written.
            if read == 0 || !line.ends_with('\n') {
                return Ok(());
            }
            take(
                serde_json::from_str(&line)
                    .with_context(|| format!("not an audit event: {line}"))?,
            );
        }
    }
}
