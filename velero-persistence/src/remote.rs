//! Stores reached through OpenDAL: S3, Azure, Google Cloud and memory.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use opendal::layers::{RetryLayer, TimeoutLayer};
use opendal::{HttpTransporter, Metadata, OperationContext, Operator, Writer};

use crate::backend::{ObjectBackend, ObjectEntry, PutMode, UploadBackend};
use crate::error::{Error, Result};
use crate::options::StoreOptions;
use crate::remote_error::{Mapper, is_silence};
use crate::s3_uploads::S3Uploads;

/// How signed URLs are made.
pub(crate) enum Signing {
    /// By the rules of the provider.
    Urls(Box<dyn UrlSigner>),
    /// Not at all, for this reason.
    Never(&'static str),
}

/// Makes URLs that read an object without credentials.
#[async_trait]
pub(crate) trait UrlSigner: Send + Sync {
    /// Signs a URL that reads `key`, and nothing else, for `ttl`.
    async fn sign(&self, key: &str, ttl: Duration) -> opendal::Result<String>;
}

/// One OpenDAL operator with what our trait needs around it.
pub(crate) struct RemoteBackend {
    operator: Operator,
    /// Makes listings, whose single tries wait less long.
    lists: Operator,
    /// Uploads that broke off, where a store keeps such.
    uploads: Option<S3Uploads>,
    signing: Signing,
    errors: Mapper,
    /// Bytes of one part of an upload.
    part_size: usize,
    options: StoreOptions,
}

impl fmt::Debug for RemoteBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RemoteBackend")
            .field(&self.errors.store)
            .finish()
    }
}

/// Adds deadlines, and around them retries, so that each attempt has its own deadline.
fn layered(operator: Operator, options: &StoreOptions) -> Operator {
    operator
        .layer(
            TimeoutLayer::new()
                .with_timeout(options.request_timeout)
                .with_io_timeout(options.io_timeout),
        )
        .layer(
            RetryLayer::new()
                .with_max_times(options.max_retries)
                .with_min_delay(options.retry_pause)
                .with_max_delay(Duration::from_secs(5).max(options.retry_pause))
                .with_jitter()
                .with_notify(|event: opendal::layers::RetryEvent<'_>| {
                    if is_silence(event.err) {
                        tracing::warn!(
                            "the store does not answer: {} is tried again (try {})",
                            event.op,
                            event.attempt + 1
                        );
                    }
                    tracing::debug!(
                        operation = %event.op,
                        attempt = event.attempt,
                        pause_ms = event.retry_after.as_millis() as u64,
                        kind = %event.err.kind(),
                        "a storage request failed for the moment and is tried again"
                    );
                }),
        )
}

impl RemoteBackend {
    pub(crate) fn new(
        operator: Operator,
        signing: Signing,
        errors: Mapper,
        options: StoreOptions,
    ) -> Self {
        Self {
            lists: operator.clone(),
            uploads: None,
            operator,
            signing,
            errors,
            part_size: options.part_size.max(5 << 20),
            options,
        }
    }

    /// A backend whose requests go through `http`, with deadlines and retries around what `bare` makes. Single tries of
    /// listings wait half as long.
    pub(crate) fn over(
        bare: impl Fn() -> opendal::Result<Operator>,
        http: &HttpTransporter,
        signing: Signing,
        errors: Mapper,
        options: &StoreOptions,
    ) -> Result<Self> {
        let context = OperationContext::default().with_http_transport(http.clone());
        let operator = |options: &StoreOptions| match bare() {
            Ok(operator) => Ok(layered(operator.with_context(context.clone()), options)),
            Err(err) => Err(errors.map("set up", "", &err)),
        };
        let for_lists = StoreOptions {
            io_timeout: options.io_timeout / 2,
            ..options.clone()
        };
        let (all, lists) = (operator(options)?, operator(&for_lists)?);
        Ok(Self {
            lists,
            ..Self::new(all, signing, errors, options.clone())
        })
    }

    /// Sets the size of a part of an upload.
    pub(crate) fn in_parts_of(mut self, bytes: usize) -> Self {
        self.part_size = bytes;
        self
    }

    /// Sets what knows of uploads that broke off.
    pub(crate) fn with_uploads(mut self, uploads: S3Uploads) -> Self {
        self.uploads = Some(uploads);
        self
    }

    /// Lists; each page has a deadline, all its tries together.
    async fn entries(&self, prefix: &str, recursive: bool) -> Result<Vec<opendal::Entry>> {
        let path = if prefix.is_empty() { "/" } else { prefix };
        let failed = |err: opendal::Error| self.errors.map("list", prefix, &err);
        let limit = self.options.io_timeout;
        let lister = self.lists.lister_with(path).recursive(recursive);
        let mut lister = match tokio::time::timeout(limit, lister).await {
            Ok(lister) => lister.map_err(failed)?,
            Err(_) => return Err(self.errors.silent("list", prefix, limit)),
        };
        let mut entries = Vec::new();
        loop {
            match tokio::time::timeout(limit, lister.try_next()).await {
                Ok(Ok(Some(entry))) => entries.push(entry),
                Ok(Ok(None)) => return Ok(entries),
                Ok(Err(err)) => return Err(failed(err)),
                Err(_) => return Err(self.errors.silent("list", prefix, limit)),
            }
        }
    }

    /// Reads a small object and its metadata in one state; `None` when it is absent or just being changed.
    async fn tagged(&self, key: &str) -> opendal::Result<Option<(Bytes, Metadata)>> {
        let read = async {
            let meta = self.operator.stat(key).await?;
            let mut read = self.operator.read_with(key);
            if let Some(tag) = meta.etag()
                && self.operator.info().capability().read_with_if_match
            {
                read = read.if_match(tag);
            }
            Ok::<_, opendal::Error>((read.await?.to_bytes(), meta))
        };
        match read.await {
            Ok(found) => Ok(Some(found)),
            Err(err) if is_changed(&err) => Ok(None),
            Err(err) => Err(err),
        }
    }
}

#[async_trait]
impl ObjectBackend for RemoteBackend {
    fn describe(&self) -> String {
        self.errors.store.clone()
    }

    async fn put(&self, key: &str, bytes: Bytes, mode: PutMode) -> Result<()> {
        self.operator
            .write_with(key, bytes)
            .if_not_exists(mode == PutMode::Create)
            .await
            .map(drop)
            .map_err(|err| self.errors.map("write", key, &err))
    }

    async fn swap(&self, key: &str, old: &Bytes, new: Bytes) -> Result<bool> {
        let failed = |err: opendal::Error| self.errors.map("replace", key, &err);
        let Some((found, meta)) = self.tagged(key).await.map_err(failed)? else {
            return Ok(false);
        };
        if found != *old {
            return Ok(false);
        }
        let capability = self.operator.info().capability();
        let write = self.operator.write_with(key, new.clone());
        let outcome = match (meta.etag(), meta.version()) {
            (Some(tag), _) if capability.write_with_if_match => write.if_match(tag),
            (_, Some(version)) if capability.write_with_if_version_match => {
                write.if_version_match(version)
            }
            _ => return self.put(key, new, PutMode::Replace).await.map(|()| true),
        };
        match outcome.await {
            Ok(_) => Ok(true),
            // A try whose answer was lost may have done it.
            Err(err) if is_changed(&err) => {
                let now = self.tagged(key).await.map_err(failed)?;
                Ok(now.is_some_and(|(found, _)| found == new))
            }
            Err(err) => match failed(err) {
                Error::Unsupported { .. } => {
                    self.put(key, new, PutMode::Replace).await.map(|()| true)
                }
                err => Err(err),
            },
        }
    }

    async fn sweep(&self, prefix: &str) -> Result<()> {
        const LEFT: &str = "uploads that broke off could not be looked for; a lifecycle rule of the bucket takes away what is left of them";
        let Some(uploads) = &self.uploads else {
            return Ok(());
        };
        let store = &self.errors.store;
        match tokio::time::timeout(self.options.io_timeout, uploads.abort_below(prefix)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(count)) => {
                tracing::info!(%store, prefix, count, "uploads that broke off are aborted")
            }
            Ok(Err(error)) => {
                let error = self.errors.map("list the uploads below", prefix, &error);
                tracing::warn!(%error, LEFT);
            }
            Err(_) => tracing::warn!(%store, prefix, LEFT),
        }
        Ok(())
    }

    async fn writer(&self, key: &str) -> Result<Box<dyn UploadBackend>> {
        let before = match Version::look(&self.operator, key).await {
            Ok(version) => Some(version),
            // Looking may be forbidden where writing is not.
            Err(err) if err.kind() == opendal::ErrorKind::PermissionDenied => None,
            Err(err) => return Err(self.errors.map("upload", key, &err)),
        };
        let writer = self
            .operator
            .writer_with(key)
            .chunk(self.part_size)
            .await
            .map_err(|err| self.errors.map("upload", key, &err))?;
        Ok(Box::new(RemoteUpload {
            operator: self.operator.clone(),
            writer,
            written: 0,
            before,
            key: key.to_owned(),
            errors: self.errors.clone(),
        }))
    }

    async fn size(&self, key: &str) -> Result<Option<u64>> {
        match self.operator.stat(key).await {
            Ok(meta) if meta.is_dir() => Ok(None),
            Ok(meta) => Ok(Some(meta.content_length())),
            Err(err) if err.kind() == opendal::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(self.errors.map("look for", key, &err)),
        }
    }

    async fn read(
        &self,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let failed = |err: opendal::Error| self.errors.map("read", key, &err);
        let meta = self.operator.stat(key).await.map_err(failed)?;
        let size = meta.content_length();
        let range = range.unwrap_or(0..size);
        let range = range.start.min(size)..range.end.min(size);
        if range.is_empty() {
            return Ok(stream::empty().boxed());
        }
        let mut reader = self.operator.reader_with(key);
        // A transfer that resumes after a broken connection must not go on in a newer object.
        if let Some(etag) = meta.etag()
            && self.operator.info().capability().read_with_if_match
        {
            reader = reader.if_match(etag);
        }
        let stream = reader
            .await
            .map_err(failed)?
            .into_stream(range.clone())
            .await
            .map_err(failed)?;
        let expected = range.end - range.start;
        Ok(whole(stream, expected, self.errors.clone(), key.to_owned()))
    }

    async fn list_dirs(&self, prefix: &str) -> Result<Vec<String>> {
        let mut dirs: Vec<String> = self
            .entries(prefix, false)
            .await?
            .iter()
            .filter_map(|entry| {
                let name = entry.path().strip_prefix(prefix)?.strip_suffix('/')?;
                (!name.is_empty()).then(|| name.to_owned())
            })
            .collect();
        dirs.sort_unstable();
        dirs.dedup();
        Ok(dirs)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>> {
        let mut entries: Vec<ObjectEntry> = self
            .entries(prefix, true)
            .await?
            .into_iter()
            .filter(|entry| entry.path() != "/")
            .map(|entry| ObjectEntry {
                size: match entry.metadata().is_file() {
                    true => entry.metadata().content_length(),
                    false => 0,
                },
                key: entry.path().to_owned(),
            })
            .collect();
        entries.sort_unstable();
        Ok(entries)
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.operator
            .delete(key)
            .await
            .map_err(|err| self.errors.map("delete", key, &err))
    }

    async fn presign_get(&self, key: &str, ttl: Duration) -> Result<String> {
        match &self.signing {
            Signing::Urls(signer) => signer
                .sign(key, ttl)
                .await
                .map_err(|err| self.errors.map("sign a URL for", key, &err)),
            Signing::Never(why) => Err(Error::Unsupported {
                store: self.describe(),
                operation: format!("sign a URL for {key:?}"),
                detail: (*why).to_owned(),
            }),
        }
    }
}

/// Whether a request on condition found something else than it wanted.
fn is_changed(err: &opendal::Error) -> bool {
    matches!(
        err.kind(),
        opendal::ErrorKind::ConditionNotMatch
            | opendal::ErrorKind::NotFound
            | opendal::ErrorKind::Conflict
    )
}

/// Passes the pieces on and makes an early end an error.
fn whole(
    stream: opendal::BufferStream,
    expected: u64,
    errors: Mapper,
    key: String,
) -> BoxStream<'static, Result<Bytes>> {
    let late = Arc::new((errors.clone(), key.clone()));
    let counted = stream
        .map_ok(|buffer| stream::iter(Iterator::map(buffer, Ok)))
        .try_flatten()
        .map_err(move |err| errors.map("read", &key, &err));
    stream::unfold(
        (Box::pin(counted), 0u64, false),
        move |(mut inner, got, done)| {
            let late = Arc::clone(&late);
            async move {
                if done {
                    return None;
                }
                match inner.next().await {
                    Some(Ok(bytes)) => {
                        let got = got + bytes.len() as u64;
                        Some((Ok(bytes), (inner, got, false)))
                    }
                    Some(Err(err)) => Some((Err(err), (inner, got, true))),
                    None if got == expected => None,
                    None => {
                        let err = late.0.cut_off(&late.1, got, expected);
                        Some((Err(err), (inner, got, true)))
                    }
                }
            }
        },
    )
    .boxed()
}

/// Which object a key holds: none, or one of this tag and size.
#[derive(PartialEq)]
struct Version(Option<(Option<String>, u64)>);

impl Version {
    async fn look(operator: &Operator, key: &str) -> opendal::Result<Self> {
        match operator.stat(key).await {
            Ok(meta) => {
                let tag = meta.etag().map(str::to_owned);
                Ok(Self(Some((tag, meta.content_length()))))
            }
            Err(err) if err.kind() == opendal::ErrorKind::NotFound => Ok(Self(None)),
            Err(err) => Err(err),
        }
    }
}

struct RemoteUpload {
    operator: Operator,
    writer: Writer,
    written: u64,
    /// What was there when the upload began, if that could be seen.
    before: Option<Version>,
    key: String,
    errors: Mapper,
}

impl fmt::Debug for RemoteUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RemoteUpload").field(&self.key).finish()
    }
}

impl RemoteUpload {
    /// Says whether the object is there, of the right size and not the one from before.
    async fn arrived(&self) -> bool {
        let Some(before) = &self.before else {
            return false;
        };
        match Version::look(&self.operator, &self.key).await {
            Ok(now) => {
                let size = now.0.as_ref().map(|(_, size)| *size);
                size == Some(self.written) && now != *before
            }
            Err(_) => false,
        }
    }
}

#[async_trait]
impl UploadBackend for RemoteUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let len = bytes.len() as u64;
        self.writer
            .write(bytes)
            .await
            .map_err(|err| self.errors.map("upload", &self.key, &err))?;
        self.written += len;
        Ok(())
    }

    /// S3 copies whole parts by itself; what is too small for one, and memory stores, pass through here in pieces.
    async fn copy_from(&mut self, key: &str, range: Range<u64>) -> Result<bool> {
        let len = range.end - range.start;
        let mut options = opendal::options::ReadOptions {
            range: range.into(),
            ..Default::default()
        };
        // All parts must come from one object, although another writer may replace it meanwhile.
        if self.operator.info().capability().read_with_if_match
            && key == self.key
            && let Some(Version(Some((tag, _)))) = &self.before
        {
            options.if_match.clone_from(tag);
        }
        self.writer
            .copy_from_options(key, options)
            .await
            .map_err(|err| self.errors.map("copy into", &self.key, &err))?;
        self.written += len;
        Ok(true)
    }

    async fn close(&mut self) -> Result<()> {
        match self.writer.close().await {
            Ok(_) => Ok(()),
            // The server knows no such upload: either it never finishes, or an earlier attempt did after all.
            Err(err) if err.kind() == opendal::ErrorKind::NotFound && self.arrived().await => {
                Ok(())
            }
            Err(err) if err.kind() == opendal::ErrorKind::NotFound => Err(Error::Store {
                store: self.errors.store.clone(),
                operation: format!("upload {:?}", self.key),
                detail: "the store has dropped the upload before its end".to_owned(),
                retryable: true,
            }),
            Err(err) => Err(self.errors.map("upload", &self.key, &err)),
        }
    }

    async fn abort(&mut self) -> Result<()> {
        self.writer
            .abort()
            .await
            .map_err(|err| self.errors.map("give up the upload of", &self.key, &err))
    }
}
