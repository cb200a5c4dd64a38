//! Integration tests: every kind of store in this process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod azure;
mod azure_server;
mod backup_store;
mod conformance;
mod credentials;
mod edges;
mod extend;
mod failures;
mod filesystem;
mod gcp;
mod gcp_server;
mod locations;
mod reservations;
mod server;
mod tls;
mod uploads;

use std::path::PathBuf;

use tempfile::TempDir;
use velero_persistence::{Environment, Location, LocationConfig, ObjectStore, StoreOptions};

use server::S3Server;

/// A store under test with what keeps it alive.
struct Fixture {
    store: ObjectStore,
    /// Where its bytes lie, when they lie in files.
    root: Option<PathBuf>,
    _server: Option<S3Server>,
    _azure: Option<azure_server::AzureServer>,
    _gcp: Option<gcp_server::GcpServer>,
    _dir: Option<TempDir>,
}

/// A memory store of its own, below a prefix.
async fn memory() -> Fixture {
    let url = format!("memory://{}/a/prefix", uuid());
    let store = Location::from_url(&url).unwrap().open().await.unwrap();
    Fixture {
        store,
        root: None,
        _server: None,
        _azure: None,
        _gcp: None,
        _dir: None,
    }
}

/// A folder, through a location's settings, below a prefix.
async fn filesystem() -> Fixture {
    let dir = TempDir::new().unwrap();
    std::fs::create_dir(dir.path().join("bucket")).unwrap();
    let config = LocationConfig {
        provider: "filesystem".to_owned(),
        bucket: "bucket".to_owned(),
        prefix: "/a/prefix/".to_owned(),
        config: settings(&[("fspath", dir.path().to_str().unwrap())]),
        ..LocationConfig::default()
    };
    let location = Location::from_config_in(&config, &Environment::empty()).unwrap();
    Fixture {
        store: location.open().await.unwrap(),
        root: Some(dir.path().to_owned()),
        _server: None,
        _azure: None,
        _gcp: None,
        _dir: Some(dir),
    }
}

/// An S3 server of its own, below a prefix.
async fn s3() -> Fixture {
    let server = S3Server::start().await;
    let store = server.location("/a/prefix").open().await.unwrap();
    Fixture {
        store,
        root: Some(server.root()),
        _server: Some(server),
        _azure: None,
        _gcp: None,
        _dir: None,
    }
}

/// A blob service of its own, below a prefix.
async fn azure() -> Fixture {
    let server = azure_server::AzureServer::start().await;
    let store = server.location("/a/prefix").open().await.unwrap();
    Fixture {
        store,
        root: None,
        _server: None,
        _azure: Some(server),
        _gcp: None,
        _dir: None,
    }
}

/// A server of Google's kind, below a prefix.
async fn gcp() -> Fixture {
    let server = gcp_server::GcpServer::start().await;
    let store = server.location("/a/prefix").open().await.unwrap();
    Fixture {
        store,
        root: None,
        _server: None,
        _azure: None,
        _gcp: Some(server),
        _dir: None,
    }
}

fn settings(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

/// Options that give up quickly.
fn impatient() -> StoreOptions {
    StoreOptions {
        connect_timeout: std::time::Duration::from_millis(500),
        request_timeout: std::time::Duration::from_millis(500),
        io_timeout: std::time::Duration::from_millis(500),
        max_retries: 1,
        retry_pause: std::time::Duration::from_millis(10),
        ..StoreOptions::default()
    }
}

fn uuid() -> String {
    // Names of memory stores live as long as the process.
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("store-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
