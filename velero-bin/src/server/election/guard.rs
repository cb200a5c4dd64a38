//! The fence in front of the API server, and in front of stores.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use kube::Client;
use kube::client::Body;
use velero_persistence::{
    Error, ObjectBackend, ObjectEntry, ObjectStore, PutMode, Result, UploadBackend,
};

use super::fence::Fence;

impl Fence {
    /// A client each of whose requests passes the fence.
    pub(in crate::server) fn client(&self, client: &Client) -> Client {
        if !self.excludes_others() {
            return client.clone();
        }
        let (fence, inner) = (self.clone(), client.clone());
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let (fence, inner) = (fence.clone(), inner.clone());
            async move {
                fence.check()?;
                Ok::<_, tower::BoxError>(inner.send(request).await?)
            }
        });
        Client::new(service, client.default_namespace())
    }

    /// A store each of whose requests passes the fence.
    ///
    /// # Errors
    /// When the store's own prefix is none.
    pub(in crate::server) fn store(&self, store: &ObjectStore) -> Result<ObjectStore> {
        if !self.excludes_others() {
            return Ok(store.clone());
        }
        let guarded = Guarded {
            inner: Arc::clone(store.backend()),
            fence: self.clone(),
        };
        ObjectStore::new(Arc::new(guarded), store.prefix())
    }
}

#[derive(Debug)]
struct Guarded {
    inner: Arc<dyn ObjectBackend>,
    fence: Fence,
}

fn pass(fence: &Fence, store: impl FnOnce() -> String, operation: &str) -> Result<()> {
    fence.check().map_err(|lost| Error::Store {
        store: store(),
        operation: operation.to_owned(),
        detail: lost.to_string(),
        retryable: false,
    })
}

impl Guarded {
    fn pass(&self, operation: &str) -> Result<()> {
        pass(&self.fence, || self.inner.describe(), operation)
    }
}

#[async_trait]
impl ObjectBackend for Guarded {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn put(&self, key: &str, bytes: Bytes, mode: PutMode) -> Result<()> {
        self.pass("write")?;
        self.inner.put(key, bytes, mode).await
    }

    async fn swap(&self, key: &str, old: &Bytes, new: Bytes) -> Result<bool> {
        self.pass("replace")?;
        self.inner.swap(key, old, new).await
    }

    async fn sweep(&self, prefix: &str) -> Result<()> {
        self.pass("tidy up")?;
        self.inner.sweep(prefix).await
    }

    async fn clear_folder(&self, prefix: &str) -> Result<()> {
        self.pass("tidy up")?;
        self.inner.clear_folder(prefix).await
    }

    async fn writer(&self, key: &str) -> Result<Box<dyn UploadBackend>> {
        self.pass("begin to upload")?;
        Ok(Box::new(GuardedUpload {
            inner: self.inner.writer(key).await?,
            store: self.inner.describe(),
            fence: self.fence.clone(),
        }))
    }

    async fn size(&self, key: &str) -> Result<Option<u64>> {
        self.pass("look at")?;
        self.inner.size(key).await
    }

    async fn read(
        &self,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        self.pass("read")?;
        self.inner.read(key, range).await
    }

    async fn list_dirs(&self, prefix: &str) -> Result<Vec<String>> {
        self.pass("list")?;
        self.inner.list_dirs(prefix).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>> {
        self.pass("list")?;
        self.inner.list(prefix).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.pass("delete")?;
        self.inner.delete(key).await
    }

    async fn delete_all(&self, prefix: &str) -> Result<(usize, Vec<Error>)> {
        self.pass("delete")?;
        if self.inner.local_path(prefix).is_some() {
            // Folders go with what is in them, in one step.
            return self.inner.delete_all(prefix).await;
        }
        let mut entries = self.list(prefix).await?;
        entries.reverse();
        let mut errors = Vec::new();
        for entry in &entries {
            if let Err(error) = self.delete(&entry.key).await {
                errors.push(error);
            }
        }
        Ok((entries.len(), errors))
    }

    async fn presign_get(&self, key: &str, ttl: Duration) -> Result<String> {
        self.inner.presign_get(key, ttl).await
    }

    fn local_path(&self, key: &str) -> Option<PathBuf> {
        self.inner.local_path(key)
    }

    async fn check(&self, prefix: &str) -> Result<()> {
        self.pass("check")?;
        self.inner.check(prefix).await
    }
}

#[derive(Debug)]
struct GuardedUpload {
    inner: Box<dyn UploadBackend>,
    store: String,
    fence: Fence,
}

impl GuardedUpload {
    fn pass(&self, operation: &str) -> Result<()> {
        pass(&self.fence, || self.store.clone(), operation)
    }
}

#[async_trait]
impl UploadBackend for GuardedUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.pass("upload")?;
        self.inner.write(bytes).await
    }

    async fn copy_from(&mut self, key: &str, range: Range<u64>) -> Result<bool> {
        self.pass("copy")?;
        self.inner.copy_from(key, range).await
    }

    async fn close(&mut self) -> Result<()> {
        self.pass("end the upload")?;
        self.inner.close().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.pass("abort the upload")?;
        self.inner.abort().await
    }
}

#[cfg(test)]
mod tests {
    use super::super::fence::now;
    use super::*;
    use velero_persistence::Location;

    #[tokio::test]
    async fn nothing_is_begun_behind_a_fence_that_is_shut() {
        let plain = Location::from_url("memory://fenced")
            .unwrap()
            .open()
            .await
            .unwrap();
        let fence = Fence::closed();
        let store = fence.store(&plain).unwrap();
        assert!(store.put("a", "1".into()).await.is_err());
        fence.open_until(now() + Duration::from_secs(60));
        store.put("a", "1".into()).await.unwrap();
        let mut upload = store.writer("b").await.unwrap();
        upload.write("part").await.unwrap();
        fence.close();
        let error = upload.close().await.unwrap_err();
        assert!(
            error.to_string().contains("does not lead any more") && !error.is_retryable(),
            "{error}"
        );
        assert!(store.delete("a").await.is_err());
        assert!(store.put_if_absent("c", "1".into()).await.is_err());
        assert!(store.list_dirs("").await.is_err());
        // All that was written before is there, and nothing else.
        assert_eq!(plain.get("a", 9).await.unwrap(), "1");
        assert!(plain.get("b", 9).await.is_err() && plain.get("c", 9).await.is_err());
    }
}
