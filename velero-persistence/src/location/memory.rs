//! Memory stores of this process, by name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use opendal::Operator;
use opendal::services::Memory;

use crate::error::{Error, Result};
use crate::options::StoreOptions;
use crate::remote::{RemoteBackend, Signing};
use crate::remote_error::Mapper;
use crate::silence::Silence;

/// Kept for the life of the process: a name finds the same store again.
static STORES: OnceLock<Mutex<HashMap<String, Operator>>> = OnceLock::new();

pub(super) fn backend(name: &str, options: &StoreOptions) -> Result<RemoteBackend> {
    let mut stores = STORES
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let operator = match stores.get(name) {
        Some(operator) => operator.clone(),
        None => {
            let operator = Operator::new(Memory::default()).map_err(|err| {
                Error::config("store URL", format!("memory://{name}"), err.message())
            })?;
            stores.insert(name.to_owned(), operator.clone());
            operator
        }
    };
    let errors = Mapper {
        store: format!("memory://{name}"),
        bucket: name.to_owned(),
        secrets: Default::default(),
        silence: Arc::new(Silence::new(options.silent_timeout)),
        advice: "",
    };
    let signing = Signing::Never("memory has no URLs; read the object through this program");
    Ok(RemoteBackend::new(
        operator,
        signing,
        errors,
        options.clone(),
    ))
}
