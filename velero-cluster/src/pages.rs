//! Lists, page by page.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use velero_core::{ApiResource, RawItem, Selector};

use crate::call::{Call, Caller, Ended, Sink, TooBig};
use crate::list_body::{ListBody, Splitter};
use crate::repeat::Repeat;
use crate::{BadElement, Error, ErrorKind, Target, cluster};

/// Which objects of a resource are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListScope {
    /// One namespace; `None` for all of them and for cluster-scoped resources.
    pub namespace: Option<String>,
    /// Labels; the empty selector takes all.
    pub selector: Selector,
    /// A field selector as the API server understands it, such as `status.phase=Running`.
    pub field_selector: Option<String>,
}

impl ListScope {
    /// All objects of the cluster.
    pub fn all() -> Self {
        Self::default()
    }

    /// The objects of one namespace.
    pub fn namespace(name: impl Into<String>) -> Self {
        Self {
            namespace: Some(name.into()),
            ..Self::default()
        }
    }

    /// Narrows to objects with certain labels.
    #[must_use]
    pub fn labels(mut self, selector: Selector) -> Self {
        self.selector = selector;
        self
    }
}

/// How lists are read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListOptions {
    /// Objects asked for in one page at most; 500. 0 asks for everything in one answer.
    pub page_size: u32,
    /// What `page_size` grows to where more than 5,000 objects follow; 1000. An API server counts what follows with each
    /// page, so that many small pages of a long list take it longer and longer.
    pub long_page_size: u32,
    /// Bytes of an answer beyond which the next page is asked for smaller; 8 MiB.
    pub large_page: usize,
    /// Bytes of an answer at which it is given up and asked for again in smaller pages; 16 MiB.
    pub max_page: usize,
    /// Bytes that an answer with large objects (over 16 KiB in the mean) is to have; 1 MiB. An answer with twice as many
    /// is given up when it is seen to come to twice `max_page`.
    pub large_object_page: usize,
    /// Whether only metadata is wanted: items are then `PartialObjectMetadata` of `meta.k8s.io/v1`, without spec, status
    /// and data. A server that knows no such form sends whole objects.
    pub metadata_only: bool,
}

impl Default for ListOptions {
    fn default() -> Self {
        Self {
            page_size: 500,
            long_page_size: 1000,
            large_page: 8 << 20,
            max_page: 16 << 20,
            large_object_page: 1 << 20,
            metadata_only: false,
        }
    }
}

impl ListOptions {
    /// Sets how many objects are asked for in one page at most, however long the list.
    #[must_use]
    pub fn page_size(mut self, objects: u32) -> Self {
        (self.page_size, self.long_page_size) = (objects, objects);
        self
    }

    /// Sets the sizes of an answer, in bytes, at which pages get smaller and at which an answer is given up.
    #[must_use]
    pub fn page_bytes(mut self, large: usize, max: usize) -> Self {
        (self.large_page, self.max_page) = (large, max.max(large));
        self
    }

    /// Asks for metadata only.
    #[must_use]
    pub fn metadata_only(mut self) -> Self {
        self.metadata_only = true;
        self
    }
}

/// One page of a list.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Page {
    /// The objects, in the API server's order.
    pub items: Vec<RawItem>,
    /// Elements that are no objects.
    pub bad: Vec<BadElement>,
    /// Size of the answer in bytes.
    pub bytes: usize,
    /// How many objects follow, where the API server says so.
    pub remaining: Option<u64>,
    /// Whether the list begins again with this page, because the API server had forgotten where it was: objects of
    /// earlier pages come again.
    pub restarted: bool,
    /// Whether this page and those after it were read at a later time than the ones before.
    pub inconsistent: bool,
}

/// The pages of one list. Dropping it ends the list.
///
/// Pages are asked for one at a time. Their size begins at that of the options, grows while a long list follows, is
/// halved after an answer that is too large or came too late, and grows back; objects that are large in the mean come in pages of a few. An answer that is
/// far too large is given up, and asked for again with less than what had come of it. When a continue token has expired, the list goes on with the token that the API server offers instead
/// or begins again; nothing is left out, but objects can come twice.
#[derive(Debug)]
pub struct Pages {
    caller: Caller,
    target: Target,
    path: String,
    query: String,
    api_version: String,
    kind: String,
    options: ListOptions,
    size: u32,
    token: Option<String>,
    ended: bool,
    restarts: u32,
    /// Whether no page has come since a token expired.
    renewed: bool,
    restarted: bool,
    inconsistent: bool,
    /// Good pages to come before the size grows again, and how many they were last time.
    patience: (u32, u32),
}

/// Good pages after the first late answer before the size grows again; twice as many after each further one.
const FIRST_PATIENCE: u32 = 8;

/// How often one list begins again, or gets no page between two expired tokens, before it is given up.
const MAX_RESTARTS: u32 = 5;

/// Longest wait before a list that was too late is asked for again.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// Objects that follow a page in a long list.
const LONG: u64 = 5_000;

/// Bytes of an object, in the mean of a page, beyond which it counts as large.
const LARGE_OBJECT: usize = 16 << 10;

const METADATA: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

struct PageSink {
    splitter: Splitter,
    /// Bytes at which the answer is given up.
    max: usize,
    /// Bytes from which on it is given up where its objects are so large that it will come to twice `max`.
    early: usize,
    /// Objects that were asked for.
    asked: usize,
    /// Objects that have come of the answer.
    arrived: Arc<AtomicUsize>,
}

impl Sink for PageSink {
    type Output = ListBody;

    fn push(&mut self, chunk: &[u8]) -> Result<(), TooBig> {
        self.splitter.push(chunk);
        if self.is_too_big() {
            self.arrived
                .store(self.splitter.elements(), Ordering::Relaxed);
            Err(TooBig)
        } else {
            Ok(())
        }
    }

    fn finish(self) -> Result<ListBody, String> {
        self.splitter.finish()
    }
}

impl PageSink {
    fn is_too_big(&self) -> bool {
        let bytes = self.splitter.bytes();
        let mean = bytes / self.splitter.elements().max(1);
        bytes > self.max || bytes > self.early && mean.saturating_mul(self.asked) / 2 > self.max
    }
}

impl Pages {
    pub(crate) fn new(
        caller: Caller,
        resource: &ApiResource,
        scope: ListScope,
        options: ListOptions,
    ) -> Self {
        let namespace = scope.namespace.as_deref().unwrap_or_default();
        let mut query = String::new();
        if !scope.selector.is_empty() {
            push_param(&mut query, "labelSelector", &scope.selector.to_string());
        }
        if let Some(fields) = scope.field_selector.as_deref().filter(|f| !f.is_empty()) {
            push_param(&mut query, "fieldSelector", fields);
        }
        Self {
            caller,
            target: cluster::target("list", resource, namespace, ""),
            path: resource.path(Some(namespace), None),
            query,
            api_version: resource.api_version(),
            kind: resource.kind.clone(),
            size: options.page_size,
            options,
            token: None,
            ended: false,
            restarts: 0,
            renewed: false,
            restarted: false,
            inconsistent: false,
            patience: (0, 0),
        }
    }

    /// Reads the next page; `None` after the last one.
    ///
    /// # Errors
    /// When the API server refuses or does not answer until the deadline. The same page can be asked for again.
    pub async fn next(&mut self) -> Result<Option<Page>, Error> {
        let begun = Instant::now();
        loop {
            if self.ended {
                return Ok(None);
            }
            let max = if self.size == 1 || self.options.page_size == 0 {
                usize::MAX
            } else {
                self.options.max_page
            };
            let arrived = Arc::new(AtomicUsize::new(0));
            let sink = || PageSink {
                splitter: Splitter::new(self.api_version.as_str(), self.kind.as_str()),
                max,
                early: self.options.large_object_page.saturating_mul(2),
                asked: self.size as usize,
                arrived: Arc::clone(&arrived),
            };
            match self.caller.run(&self.call(), sink).await {
                Ok(body) => return Ok(Some(self.page(body))),
                Err(Ended::TooBig) => {
                    let fit = arrived.load(Ordering::Relaxed).saturating_mul(3) / 4;
                    let fit = u32::try_from(fit).unwrap_or(u32::MAX);
                    self.size = fit.min(self.size / 2).max(1);
                }
                Err(Ended::Failed(error))
                    if error.kind() == ErrorKind::Gone && self.token.is_some() =>
                {
                    self.renew(error)?;
                }
                Err(Ended::Failed(error))
                    if error.kind() == ErrorKind::Timeout && self.caller.is_reached() =>
                {
                    self.be_patient();
                    let wait = Duration::from_millis(20)
                        .saturating_mul(self.patience.1)
                        .min(MAX_WAIT);
                    if !self.caller.has_time(begun, wait) {
                        return Err(error);
                    }
                    tokio::time::sleep(wait).await;
                }
                Err(Ended::Failed(error)) => return Err(error),
            }
        }
    }

    /// Asks for less after a late answer, and for some time.
    fn be_patient(&mut self) {
        self.shrink();
        let pages = self.patience.1.saturating_mul(2).max(FIRST_PATIENCE);
        self.patience = (pages, pages);
    }

    /// Objects that the next page asks for.
    pub fn page_size(&self) -> u32 {
        self.size
    }

    fn call(&self) -> Call {
        let mut query = self.query.clone();
        if self.size > 0 {
            push_param(&mut query, "limit", &self.size.to_string());
        }
        if let Some(token) = &self.token {
            push_param(&mut query, "continue", token);
        }
        let uri = if query.is_empty() {
            self.path.clone()
        } else {
            format!("{}?{query}", self.path)
        };
        let mut call = Call::read(self.target.clone(), uri);
        call.comparable = false;
        if self.options.metadata_only {
            call.accept = METADATA;
        }
        call.repeat = Repeat::Smaller;
        call
    }

    fn page(&mut self, body: ListBody) -> Page {
        self.renewed = false;
        let most = match body.remaining.is_some_and(|follow| follow > LONG) {
            true => self.options.long_page_size.max(self.options.page_size),
            false => self.options.page_size,
        };
        self.adapt(body.bytes, body.items.len(), most);
        self.ended = body.continue_token.is_none();
        self.token = body.continue_token;
        Page {
            items: body.items,
            bad: body.bad,
            bytes: body.bytes,
            remaining: body.remaining,
            restarted: std::mem::take(&mut self.restarted),
            inconsistent: self.inconsistent,
        }
    }

    /// Chooses the size of the next page after a good one, `most` objects at most.
    fn adapt(&mut self, bytes: usize, objects: usize, most: u32) {
        if bytes > self.options.large_page {
            self.shrink();
        } else if self.patience.0 > 0 {
            self.patience.0 -= 1;
        } else if self.size < most && bytes < self.options.large_page / 2 {
            self.size = self.size.saturating_mul(2).min(most);
        }
        let mean = bytes / objects.max(1);
        if self.size > 0 && mean > LARGE_OBJECT {
            let few = u32::try_from(self.options.large_object_page / mean).unwrap_or(u32::MAX);
            self.size = self.size.min(few).max(1);
        }
    }

    fn shrink(&mut self) {
        if self.size > 0 {
            self.size = (self.size / 2).max(1);
        }
    }

    fn renew(&mut self, error: Error) -> Result<(), Error> {
        let token = error
            .call()
            .and_then(|failure| failure.continue_token.clone());
        // A list that goes on where it was, page by page, comes to its end however often its token expires.
        if token.is_none() || self.renewed {
            self.restarts += 1;
        }
        if self.restarts > MAX_RESTARTS {
            return Err(error);
        }
        self.renewed = true;
        self.inconsistent = true;
        self.token = token;
        self.restarted = self.token.is_none();
        tracing::debug!(target = %self.target, from_the_beginning = self.restarted, "a continue token has expired");
        Ok(())
    }
}

/// Adds `key=value` to a query, escaped.
pub(crate) fn push_param(query: &mut String, key: &str, value: &str) {
    if !query.is_empty() {
        query.push('&');
    }
    query.push_str(key);
    query.push('=');
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                query.push(byte as char)
            }
            other => query.push_str(&format!("%{other:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_escaped() {
        let mut query = String::new();
        push_param(&mut query, "labelSelector", "a in (b,c),!d");
        push_param(&mut query, "limit", "5");
        assert_eq!(query, "labelSelector=a%20in%20%28b%2Cc%29%2C%21d&limit=5");
    }
}
