//! An S3 server in this process, over files.

use std::net::SocketAddr;
use std::path::PathBuf;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub(super) const ACCESS_KEY: &str = "AKTESTTESTTEST";
pub(super) const SECRET_KEY: &str = "test-secret-0123456789";

/// One bucket and one key pair, until it is dropped.
pub(super) struct S3Server {
    addr: SocketAddr,
    dir: TempDir,
    task: JoinHandle<()>,
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl S3Server {
    pub(super) async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("backups")).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(dir.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let service = service.clone();
                tokio::spawn(async move {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    // A client that goes away is no fault.
                    let _ = builder
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        });
        Self { addr, dir, task }
    }

    /// The folder behind the bucket.
    pub(super) fn bucket(&self) -> PathBuf {
        self.dir.path().join("backups")
    }

    /// The bucket, or another one, and a prefix in it as the URL of a store.
    pub(super) fn url(&self, bucket: &str, prefix: &str) -> String {
        format!(
            "s3://{bucket}/{prefix}?region=us-east-1&forcePathStyle=true&endpoint=http://{}",
            self.addr
        )
    }
}
