//! A small application to back up and restore, and generators of many objects.
//!
//! ```
//! use velero_testkit::{ApiServer, world};
//! let server = ApiServer::new();
//! let count = world::seed(&server.store()).unwrap();
//! assert!(count >= 30);
//! let shop = server.store().list("apps/v1", "Deployment", Some("shop"));
//! assert_eq!(shop.len(), 2);
//! ```

use serde_json::{Value, json};

use crate::error::Error;
use crate::store::access::{Store, parse_all};

/// The sample application as YAML, in an order in which it can be created: namespace `shop`, and what belongs to it in
/// the cluster.
pub const SHOP_YAML: &str = include_str!("world.yaml");

/// The objects of [`SHOP_YAML`], parsed.
///
/// # Errors
/// Never in a build whose tests pass; parsing is checked there.
pub fn objects() -> Result<Vec<Value>, Error> {
    parse_all(SHOP_YAML)
}

/// Puts the sample application into a server and returns the number of its objects.
///
/// # Errors
/// When the server has such objects already.
pub fn seed(store: &Store) -> Result<usize, Error> {
    store.seed(SHOP_YAML)
}

/// `count` ConfigMaps of about `bytes` bytes of data, spread evenly over namespaces `ns-0`, `ns-1`, ...
pub fn config_maps(count: usize, namespaces: usize, bytes: usize) -> impl Iterator<Item = Value> {
    let text = "lorem ipsum dolor sit amet ".repeat(bytes / 27 + 1);
    (0..count).map(move |index| {
        let namespace = index % namespaces.max(1);
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": format!("map-{index:07}"), "namespace": format!("ns-{namespace}"),
                "labels": {"app": format!("app-{}", index % 10)},
            },
            "data": {"text": text[..bytes], "index": index.to_string()},
        })
    })
}

/// Puts [`config_maps`] into a server; namespaces are made as needed.
///
/// # Errors
/// When the server refuses an object, for example because it is there already.
pub fn seed_config_maps(
    store: &Store,
    count: usize,
    namespaces: usize,
    bytes: usize,
) -> Result<(), Error> {
    for tree in config_maps(count, namespaces, bytes) {
        store.seed_value(tree)?;
    }
    Ok(())
}
