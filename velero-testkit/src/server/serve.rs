//! The server on a loopback port.

use std::net::SocketAddr;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::ApiServer;
use crate::error::Error;

/// A server that listens; it stops when this is dropped.
#[derive(Debug)]
pub struct ServingHandle {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl ServingHandle {
    /// The address, for example `http://127.0.0.1:38421`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The address as host and port.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A kubeconfig that points at the server, with the namespace `default`.
    #[must_use]
    pub fn kubeconfig_yaml(&self) -> String {
        format!(
            "apiVersion: v1
kind: Config
clusters:
- name: testkit
  cluster:
    server: {}
users:
- name: testkit
  user:
    token: testkit
contexts:
- name: testkit
  context:
    cluster: testkit
    user: testkit
    namespace: default
current-context: testkit
",
            self.url()
        )
    }

    /// Stops listening and ends every connection.
    pub async fn shutdown(mut self) {
        self.task.abort();
        let ended = (&mut self.task).await;
        tracing::debug!(addr = %self.addr, cancelled = ended.is_err(), "server stopped");
    }
}

impl Drop for ServingHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ApiServer {
    /// Serves plain HTTP on `addr`; port 0 takes a free one. There is no TLS and no authentication: use a loopback
    /// address.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn serve(&self, addr: SocketAddr) -> Result<ServingHandle, Error> {
        let failed = |source| Error::Listen { addr, source };
        let listener = TcpListener::bind(addr).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let service = self.service();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    Some(_) = connections.join_next() => continue,
                };
                let Ok((stream, _)) = accepted else { continue };
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "no TCP_NODELAY");
                }
                let service = TowerToHyperService::new(service.clone());
                connections.spawn(async move {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let connection =
                        builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "connection ended");
                    }
                });
            }
        });
        Ok(ServingHandle { addr, task })
    }
}
