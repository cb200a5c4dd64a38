//! Writes.

use bytes::Bytes;
use http::Method;
use velero_core::{ApiResource, RawItem};

use crate::call::Call;
use crate::cluster::{Cluster, item, target};
use crate::pages::push_param;
use crate::repeat::Repeat;
use crate::{Error, Target};

/// How a write is done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteOptions {
    /// Who owns the written fields; `velero-server`.
    pub field_manager: String,
    /// Whether the API server only checks what it would do; `false`.
    pub dry_run: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            field_manager: "velero-server".to_owned(),
            dry_run: false,
        }
    }
}

impl WriteOptions {
    /// Sets who owns the written fields.
    #[must_use]
    pub fn field_manager(mut self, manager: impl Into<String>) -> Self {
        self.field_manager = manager.into();
        self
    }

    /// Sets whether the API server only checks what it would do.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }
}

/// The form of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    /// JSON merge patch (RFC 7386).
    Merge,
    /// JSON patch (RFC 6902). Not sent again when the answer is lost.
    Json,
    /// Strategic merge patch, for kinds that are built in.
    Strategic,
}

impl PatchKind {
    fn content_type(self) -> &'static str {
        match self {
            Self::Merge => "application/merge-patch+json",
            Self::Json => "application/json-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
        }
    }
}

/// How an object is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DeleteOptions {
    /// `Background`, `Foreground` or `Orphan`; the kind's default when empty.
    pub propagation: Option<String>,
    /// Delete only the object of this uid.
    pub uid: Option<String>,
    /// Delete only this version of the object.
    pub resource_version: Option<String>,
    /// Whether the API server only checks what it would do; `false`.
    pub dry_run: bool,
}

impl DeleteOptions {
    /// Deletes only the object of this uid.
    #[must_use]
    pub fn uid(mut self, uid: impl Into<String>) -> Self {
        self.uid = Some(uid.into());
        self
    }

    /// Deletes only this version of the object.
    #[must_use]
    pub fn resource_version(mut self, version: impl Into<String>) -> Self {
        self.resource_version = Some(version.into());
        self
    }

    /// Sets what happens to dependants.
    #[must_use]
    pub fn propagation(mut self, policy: impl Into<String>) -> Self {
        self.propagation = Some(policy.into());
        self
    }

    fn body(&self, dry_run: bool) -> Bytes {
        let mut body = serde_json::json!({"kind": "DeleteOptions", "apiVersion": "v1"});
        if let Some(policy) = &self.propagation {
            body["propagationPolicy"] = policy.as_str().into();
        }
        if let Some(uid) = &self.uid {
            body["preconditions"]["uid"] = uid.as_str().into();
        }
        if let Some(version) = &self.resource_version {
            body["preconditions"]["resourceVersion"] = version.as_str().into();
        }
        if self.dry_run || dry_run {
            body["dryRun"] = serde_json::json!(["All"]);
        }
        body.to_string().into()
    }
}

impl Cluster {
    /// Creates an object of its complete JSON. `namespace` is empty for cluster-scoped objects, `name` for one that
    /// the API server names (`generateName`): that one is not sent again when the answer is lost.
    ///
    /// # Errors
    /// When the API server refuses or does not answer. After a lost answer the object is sent again; an `AlreadyExists`
    /// with [`Error::maybe_done`] can then be our own object.
    pub async fn create(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<RawItem, Error> {
        let repeat = if name.is_empty() {
            Repeat::Never
        } else {
            Repeat::Telling
        };
        let uri = self.with_options(resource.path(Some(namespace), None), options);
        self.write(
            target("create", resource, namespace, name),
            Method::POST,
            uri,
            "application/json",
            body,
            repeat,
        )
        .await
    }

    /// Changes parts of an object, or of one of its subresources such as `status`.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    #[expect(
        clippy::too_many_arguments,
        reason = "each one is a part of the request line"
    )]
    pub async fn patch(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
        kind: PatchKind,
        subresource: Option<&str>,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<RawItem, Error> {
        let repeat = if kind == PatchKind::Json {
            Repeat::Never
        } else {
            Repeat::Telling
        };
        let uri = self.with_options(object_path(resource, namespace, name, subresource), options);
        self.write(
            target("patch", resource, namespace, name),
            Method::PATCH,
            uri,
            kind.content_type(),
            body,
            repeat,
        )
        .await
    }

    /// Replaces an object by its complete JSON. A `resourceVersion` in it must be the present one.
    ///
    /// # Errors
    /// When the API server refuses or does not answer. A `Conflict` with [`Error::maybe_done`] can be our own change.
    pub async fn replace(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<RawItem, Error> {
        let uri = self.with_options(object_path(resource, namespace, name, None), options);
        self.write(
            target("update", resource, namespace, name),
            Method::PUT,
            uri,
            "application/json",
            body,
            Repeat::Telling,
        )
        .await
    }

    /// Replaces an object's status; the rest of the JSON is ignored by the API server.
    ///
    /// # Errors
    /// As [`Cluster::replace`].
    pub async fn replace_status(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<RawItem, Error> {
        let uri = self.with_options(
            object_path(resource, namespace, name, Some("status")),
            options,
        );
        self.write(
            target("update", resource, namespace, name),
            Method::PUT,
            uri,
            "application/json",
            body,
            Repeat::Telling,
        )
        .await
    }

    /// Deletes an object. `false` when it did not exist.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn delete(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<bool, Error> {
        let mut uri = object_path(resource, namespace, name, None);
        if options.dry_run || self.is_dry_run() {
            // The body is what counts; with this it shows in logs of requests, too.
            uri.push_str("?dryRun=All");
        }
        let mut call = Call::read(target("delete", resource, namespace, name), uri);
        call.method = Method::DELETE;
        call.content_type = Some("application/json");
        call.body = options.body(self.is_dry_run());
        call.repeat = Repeat::Telling;
        match self.caller.whole(&call).await {
            Ok(_) => Ok(true),
            // A 404 on a repeat means that the first try deleted it.
            Err(error) if error.kind() == crate::ErrorKind::NotFound => Ok(error.maybe_done()),
            Err(error) => Err(error),
        }
    }

    fn with_options(&self, path: String, options: &WriteOptions) -> String {
        with_options(path, options, self.is_dry_run())
    }

    async fn write(
        &self,
        target: Target,
        method: Method,
        uri: String,
        content_type: &'static str,
        body: Bytes,
        repeat: Repeat,
    ) -> Result<RawItem, Error> {
        let mut call = Call::read(target, uri);
        (call.method, call.content_type, call.body, call.repeat) =
            (method, Some(content_type), body, repeat);
        let answer = self.caller.whole(&call).await?;
        item(&call.target, answer)
    }
}

fn object_path(
    resource: &ApiResource,
    namespace: &str,
    name: &str,
    subresource: Option<&str>,
) -> String {
    let mut path = resource.path(Some(namespace), Some(name));
    if let Some(subresource) = subresource {
        path.push('/');
        path.push_str(subresource);
    }
    path
}

fn with_options(path: String, options: &WriteOptions, dry_run: bool) -> String {
    let mut query = String::new();
    push_param(&mut query, "fieldManager", &options.field_manager);
    if options.dry_run || dry_run {
        push_param(&mut query, "dryRun", "All");
    }
    format!("{path}?{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_write_names_its_field_manager() {
        assert_eq!(
            with_options("/p".into(), &WriteOptions::default(), false),
            "/p?fieldManager=velero-server"
        );
        assert_eq!(
            with_options("/p".into(), &WriteOptions::default(), true),
            "/p?fieldManager=velero-server&dryRun=All"
        );
        let options = WriteOptions::default().field_manager("a b").dry_run(true);
        assert_eq!(
            with_options("/p".into(), &options, false),
            "/p?fieldManager=a%20b&dryRun=All"
        );
    }

    #[test]
    fn delete_options_hold_what_was_asked_for() {
        let body = DeleteOptions::default()
            .uid("u")
            .resource_version("7")
            .propagation("Orphan")
            .body(false);
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&body).unwrap(),
            serde_json::json!({"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Orphan","preconditions":{"uid":"u","resourceVersion":"7"}})
        );
    }
}
