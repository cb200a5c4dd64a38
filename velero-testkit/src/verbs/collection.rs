//! `deletecollection`.

use std::sync::Arc;

use crate::reply::Reply;
use crate::server::Inner;
use crate::status::ApiError;
use crate::verbs::{DeleteOptions, Request, delete_key, read};

/// Deletes what a list would show, and answers with that list.
pub(crate) fn delete_collection(inner: &Arc<Inner>, request: &Request) -> Result<Reply, ApiError> {
    let options = DeleteOptions::of(request)?;
    let selection = read::Selection::of(request)?;
    let page = read::page(inner, request, &selection)?;
    let mut state = inner.lock();
    for object in &page.items {
        delete_key(inner, &mut state, &request.resource, &object.key, &options)?;
    }
    drop(state);
    let resource = &request.resource;
    let mut out = Vec::new();
    read::list_head(
        &resource.list_kind,
        &resource.api_version(),
        &page,
        &mut out,
    );
    for (index, object) in page.items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        object.write_item(resource, &mut out);
    }
    out.extend_from_slice(b"]}");
    Ok(Reply::bytes(200, out))
}
