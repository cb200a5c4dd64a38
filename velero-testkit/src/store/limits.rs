//! How large an object may be for the store: what etcd, and the API server's client of it, take by default.

use serde_json::Value;

use crate::status::ApiError;

/// The most bytes that etcd takes in one request.
const REQUEST: usize = 1536 * 1024;
/// The most bytes that the API server sends to etcd at a time.
const MESSAGE: usize = 2 * 1024 * 1024;
/// What a request holds beside the object: its key, twice, and its version.
const AROUND: usize = 256;

/// Refuses an object that the store of a real server would refuse.
///
/// Sizes are those of JSON: exact for custom resources, and too large by a little for other kinds, which lie in the store as
/// protobuf.
///
/// # Errors
/// 500, in the words of the real server.
pub(crate) fn fits(tree: &Value) -> Result<(), ApiError> {
    // Nearly all objects are far from the limit, and need not be written out to know that.
    if at_least(tree) * 2 < REQUEST {
        return Ok(());
    }
    let size = AROUND + serde_json::to_vec(tree).map_or(0, |bytes| bytes.len());
    if size > MESSAGE {
        return Err(refused(format!(
            "rpc error: code = ResourceExhausted desc = trying to send message larger than max ({size} vs. {MESSAGE})"
        )));
    }
    if size > REQUEST {
        return Err(refused("etcdserver: request is too large".to_owned()));
    }
    Ok(())
}

fn refused(message: String) -> ApiError {
    ApiError::new(500, "", message)
}

/// Bytes of all keys and texts, with a few for each other value.
fn at_least(tree: &Value) -> usize {
    match tree {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| at_least(item) + 1).sum(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| key.len() + 4 + at_least(value))
            .sum(),
        _ => 4,
    }
}
