//! Controllers that make a server look alive; off unless asked for.

use std::sync::Arc;

use crate::registry::Resource;
use crate::server::Inner;
use crate::store::{State, Stored};

/// After an object was created.
pub(crate) fn created(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    object: &Arc<Stored>,
) {
    let _ = (inner, state, resource, object);
}

/// After an object was changed.
pub(crate) fn updated(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    object: &Arc<Stored>,
) {
    let _ = (inner, state, resource, object);
}

/// After an object is gone.
pub(crate) fn removed(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    last: &Arc<Stored>,
) {
    let _ = (inner, state, resource, last);
}
