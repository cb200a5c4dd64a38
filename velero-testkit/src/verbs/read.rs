//! `get` and `list`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::convert;
use crate::registry::Resource;
use crate::reply::Reply;
use crate::selector::{FieldSelector, LabelSelector};
use crate::server::Inner;
use crate::status::ApiError;
use crate::store::{Stored, prefix};
use crate::tables;
use crate::verbs::Request;

/// One object in the form that the client accepts.
pub(crate) fn object_reply(request: &Request, code: u16, object: &Stored) -> Reply {
    if let Some(form) = tables::wanted(&request.accept) {
        return tables::object(request, form, code, object);
    }
    let mut out = Vec::with_capacity(object.raw.len() + 64);
    write_full(&request.resource, object, &mut out);
    Reply::bytes(code, out)
}

/// Appends an object as it stands alone, in the version asked for.
pub(crate) fn write_full(resource: &Resource, object: &Stored, out: &mut Vec<u8>) {
    if convert::needed(resource) {
        let tree = convert::from_storage(resource, object.full(resource));
        out.extend_from_slice(&serde_json::to_vec(&tree).unwrap_or_default());
    } else {
        object.write_full(resource, out);
    }
}

fn write_item(resource: &Resource, object: &Stored, out: &mut Vec<u8>) {
    if convert::needed(resource) {
        let mut tree = convert::from_storage(resource, object.full(resource));
        crate::objects::remove(&mut tree, "apiVersion");
        crate::objects::remove(&mut tree, "kind");
        out.extend_from_slice(&serde_json::to_vec(&tree).unwrap_or_default());
    } else {
        object.write_item(resource, out);
    }
}

pub(crate) fn get(inner: &Arc<Inner>, request: &Request) -> Result<Reply, ApiError> {
    let found = inner
        .lock()
        .get(&request.resource.table, &request.key())
        .ok_or_else(|| request.not_found())?;
    Ok(object_reply(request, 200, &found))
}

/// What a list is to hold.
pub(crate) struct Selection {
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
}

impl Selection {
    pub(crate) fn of(request: &Request) -> Result<Self, ApiError> {
        let mut fields =
            FieldSelector::parse(request.query.field_selector.as_deref(), &request.resource)?;
        if let Some(name) = &request.path.name {
            let text = format!("metadata.name={name}");
            fields = FieldSelector::parse(Some(&text), &request.resource)?;
        }
        Ok(Self {
            labels: LabelSelector::parse(request.query.label_selector.as_deref())?,
            fields,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, object: &Stored) -> bool {
        if !self.labels.matches(&object.labels) {
            return false;
        }
        let (namespace, name) = object.identity();
        self.fields.is_empty() || self.fields.matches(namespace, name, || object.tree())
    }
}

/// A page of a list.
pub(crate) struct Page {
    pub(crate) items: Vec<Arc<Stored>>,
    pub(crate) rv: u64,
    pub(crate) token: Option<String>,
    pub(crate) remaining: Option<usize>,
}

const EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

fn token(rv: i64, after: &str) -> String {
    let text =
        json!({"v": "meta.k8s.io/v1", "rv": rv, "start": format!("{after}\u{0}")}).to_string();
    URL_SAFE_NO_PAD.encode(text)
}

/// Takes a token apart: the version of the list (negative: any) and the key after which it goes on.
fn read_token(text: &str) -> Result<(i64, String), ApiError> {
    let bad = || ApiError::bad_request(format!("continue key is not valid: {text}"));
    let raw = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad())?;
    let value: Value = serde_json::from_slice(&raw).map_err(|_| bad())?;
    let start = value["start"]
        .as_str()
        .ok_or_else(bad)?
        .trim_end_matches('\u{0}')
        .to_owned();
    Ok((value["rv"].as_i64().ok_or_else(bad)?, start))
}

/// Where a page begins: the version of the list, and the key after which it goes on.
fn position(request: &Request, now: u64) -> Result<(u64, Option<String>), ApiError> {
    let query = &request.query;
    let Some(text) = &query.continue_token else {
        return Ok((now, None));
    };
    let version = query.resource_version.as_deref();
    if version.is_some_and(|v| v != "0") {
        return Err(ApiError::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    let (rv, after) = read_token(text)?;
    Ok((u64::try_from(rv).unwrap_or(now), Some(after)))
}

/// Cuts the page that a request asks for.
pub(crate) fn page(
    inner: &Inner,
    request: &Request,
    selection: &Selection,
) -> Result<Page, ApiError> {
    let table = &request.resource.table;
    let prefix = prefix(request.namespace());
    let mut state = inner.lock();
    let (rv, after) = position(request, state.rv)?;
    check_version(&state, request)?;
    let limit = request.query.limit.unwrap_or(usize::MAX);
    let snapshot = if limit == usize::MAX && after.is_none() {
        None
    } else if rv == state.rv {
        Some(state.snapshot(table, &prefix, inner.now()))
    } else {
        let found = state.find_snapshot(table, &prefix, rv, inner.now());
        if found.is_none() {
            let mut error = ApiError::expired(EXPIRED);
            error.continue_token = after.as_deref().map(|after| token(-1, after));
            return Err(error);
        }
        found
    };
    let Some(all) = snapshot else {
        let (items, _) = collect(selection, limit, state.range(table, &prefix));
        return Ok(Page {
            items,
            rv,
            token: None,
            remaining: None,
        });
    };
    drop(state);
    let start = after.map_or(0, |after| {
        all.partition_point(|o| o.key.as_ref() <= after.as_str())
    });
    let (items, more) = collect(selection, limit, all[start..].iter());
    let last = items.last().map(|o| o.key.to_string());
    let token = last
        .filter(|_| more)
        .map(|key| token(i64::try_from(rv).unwrap_or(i64::MAX), &key));
    let remaining = (more && selection.is_empty()).then(|| all.len() - start - items.len());
    Ok(Page {
        items,
        rv,
        token,
        remaining,
    })
}

/// The first objects of a source that are selected, and whether more follow.
fn collect<'a>(
    selection: &Selection,
    limit: usize,
    source: impl Iterator<Item = &'a Arc<Stored>>,
) -> (Vec<Arc<Stored>>, bool) {
    let mut items = Vec::new();
    for object in source.filter(|o| selection.matches(o)) {
        if items.len() == limit {
            return (items, true);
        }
        items.push(object.clone());
    }
    (items, false)
}

/// Refuses versions that the server has not reached or, asked for exactly, no longer holds.
fn check_version(state: &crate::store::State, request: &Request) -> Result<(), ApiError> {
    let Some(text) = request
        .query
        .resource_version
        .as_deref()
        .filter(|v| *v != "0")
    else {
        return Ok(());
    };
    let Ok(asked) = text.parse::<u64>() else {
        return Err(ApiError::bad_request(format!(
            "invalid resource version \"{text}\": want a number"
        )));
    };
    if asked > state.rv {
        let text = format!("Too large resource version: {asked}, current: {}", state.rv);
        let mut error = ApiError::new(504, "Timeout", text);
        error.details = Some(
            json!({"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}], "retryAfterSeconds": 1}),
        );
        error.retry_after = Some(1);
        return Err(error);
    }
    if request.query.resource_version_match.as_deref() == Some("Exact") && asked < state.rv {
        return Err(ApiError::expired(
            "The resourceVersion for the provided list is too old.",
        ));
    }
    Ok(())
}

pub(crate) fn list(inner: &Arc<Inner>, request: &Request) -> Result<Reply, ApiError> {
    let selection = Selection::of(request)?;
    let page = page(inner, request, &selection)?;
    if let Some(form) = tables::wanted(&request.accept) {
        return Ok(tables::list(request, form, &page));
    }
    let resource = &request.resource;
    let mut out =
        Vec::with_capacity(page.items.iter().map(|o| o.raw.len() + 64).sum::<usize>() + 256);
    list_head(
        &resource.list_kind,
        &resource.api_version(),
        &page,
        &mut out,
    );
    for (index, object) in page.items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_item(resource, object, &mut out);
    }
    out.extend_from_slice(b"]}");
    Ok(Reply::bytes(200, out))
}

/// Writes everything of a list up to its first item.
pub(crate) fn list_head(kind: &str, api_version: &str, page: &Page, out: &mut Vec<u8>) {
    let head = format!(
        "{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{},\"items\":[",
        list_metadata(page)
    );
    out.extend_from_slice(head.as_bytes());
}

/// Metadata of a list.
pub(crate) fn list_metadata(page: &Page) -> Value {
    let mut metadata = json!({"resourceVersion": page.rv.to_string()});
    if let Some(token) = &page.token {
        metadata["continue"] = token.clone().into();
    }
    if let Some(remaining) = page.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    metadata
}
