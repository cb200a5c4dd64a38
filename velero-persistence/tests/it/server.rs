//! An S3 server in this process, over files, with scripted faults.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use velero_persistence::{Environment, Location, LocationConfig};

pub(crate) const ACCESS_KEY: &str = "AKTESTTESTTEST";
pub(crate) const SECRET_KEY: &str = "test-secret-0123456789";
pub(crate) const BUCKET: &str = "bucket";

/// What the server was asked, and what it shall answer instead of serving.
#[derive(Default)]
pub(crate) struct Script {
    /// `METHOD path?query` of each request.
    pub(crate) requests: Vec<String>,
    /// Their headers.
    pub(crate) headers: Vec<HeaderMap>,
    /// The bodies of those that complete an upload in parts.
    pub(crate) lists: Vec<String>,
    /// Key and id of the uploads in parts that are open.
    pub(crate) uploads: Vec<(String, String)>,
    /// Whether the bodies of whole objects are changed on their way.
    pub(crate) spoil: bool,
    /// Answers for the next requests, in order.
    pub(crate) faults: VecDeque<StatusCode>,
    /// When set, only requests that hold this text meet a fault.
    pub(crate) only: Option<String>,
    /// What an object store would say with each of them: the code of an error document.
    pub(crate) code: &'static str,
}

pub(crate) struct S3Server {
    pub(crate) addr: SocketAddr,
    pub(crate) script: Arc<Mutex<Script>>,
    dir: TempDir,
    task: JoinHandle<()>,
    scheme: &'static str,
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl S3Server {
    /// Starts a server with one bucket and one key pair.
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// As `start`, over TLS when a configuration is given.
    pub(crate) async fn start_with(tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join(BUCKET)).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(dir.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let task = tokio::spawn(accept(listener, tls, service, Arc::clone(&script)));
        Self {
            addr,
            script,
            dir,
            task,
            scheme,
        }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.addr)
    }

    /// The settings of a location on this server, with the right keys.
    pub(crate) fn config(&self, prefix: &str) -> LocationConfig {
        LocationConfig {
            provider: "aws".to_owned(),
            bucket: BUCKET.to_owned(),
            prefix: prefix.to_owned(),
            config: crate::settings(&[("region", "us-east-1"), ("s3Url", &self.url())]),
            credentials: Some(credentials_file(ACCESS_KEY, SECRET_KEY)),
            ..LocationConfig::default()
        }
    }

    pub(crate) fn location(&self, prefix: &str) -> Location {
        Location::from_config_in(&self.config(prefix), &Environment::empty()).unwrap()
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.script.lock().unwrap().requests.clone()
    }
}

pub(crate) fn credentials_file(id: &str, secret: &str) -> Vec<u8> {
    format!("[default]\naws_access_key_id={id}\naws_secret_access_key={secret}\n").into_bytes()
}

async fn accept(
    listener: TcpListener,
    tls: Option<tokio_rustls::TlsAcceptor>,
    service: S3Service,
    script: Arc<Mutex<Script>>,
) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let (tls, service, script) = (tls.clone(), service.clone(), Arc::clone(&script));
        tokio::spawn(async move {
            match tls {
                None => serve(socket, service, script).await,
                Some(tls) => {
                    if let Ok(socket) = tls.accept(socket).await {
                        serve(socket, service, script).await;
                    }
                }
            }
        });
    }
}

async fn serve(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: S3Service,
    script: Arc<Mutex<Script>>,
) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let (service, script) = (service.clone(), Arc::clone(&script));
        async move {
            let fault = {
                let mut script = script.lock().unwrap();
                script
                    .requests
                    .push(format!("{} {}", request.method(), request.uri()));
                script.headers.push(request.headers().clone());
                let line = script.requests.last().cloned().unwrap_or_default();
                let meant = script.only.as_ref().is_none_or(|only| line.contains(only));
                let fault = if meant {
                    script.faults.pop_front()
                } else {
                    None
                };
                fault.map(|status| (status, script.code))
            };
            let response = match fault {
                Some((status, code)) => {
                    // An answer before the end of the body would break the connection.
                    let _ = request.into_body().collect().await;
                    Response::builder()
                        .status(status)
                        .body(s3s::Body::from(document(code)))
                        .unwrap()
                }
                None if request.method() == "POST"
                    && request.uri().to_string().contains("uploadId=") =>
                {
                    let (head, body) = request.into_parts();
                    let bytes = body.collect().await.unwrap().to_bytes();
                    let text = String::from_utf8(bytes.to_vec()).unwrap();
                    script.lock().unwrap().lists.push(text);
                    let id = upload_id(&head.uri);
                    let request = Request::from_parts(head, s3s::Body::from(bytes));
                    let response = service.call(request).await.unwrap();
                    if response.status().is_success() {
                        script
                            .lock()
                            .unwrap()
                            .uploads
                            .retain(|(_, open)| *open != id);
                    }
                    response
                }
                None if request.uri().query().is_some_and(|query| {
                    query
                        .split('&')
                        .any(|pair| matches!(pair, "uploads" | "uploads="))
                }) =>
                {
                    uploads(request, service, script).await
                }
                None if request.method() == "DELETE"
                    && request.uri().to_string().contains("uploadId=") =>
                {
                    let id = upload_id(request.uri());
                    let response = service.call(request.map(s3s::Body::from)).await.unwrap();
                    if response.status().is_success() {
                        script
                            .lock()
                            .unwrap()
                            .uploads
                            .retain(|(_, open)| *open != id);
                    }
                    response
                }
                None if request.method() == "PUT" && script.lock().unwrap().spoil => {
                    let (head, body) = request.into_parts();
                    let mut bytes = body.collect().await.unwrap().to_bytes().to_vec();
                    bytes[0] ^= 1;
                    let request =
                        Request::from_parts(head, s3s::Body::from(bytes::Bytes::from(bytes)));
                    service.call(request).await.unwrap()
                }
                None => service.call(request.map(s3s::Body::from)).await.unwrap(),
            };
            Ok::<_, Infallible>(response)
        }
    });
    // A client that goes away in the middle is part of the tests.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(socket), answer)
        .await;
}

fn upload_id(uri: &hyper::Uri) -> String {
    let pairs = uri.query().unwrap_or_default().split('&');
    let id = pairs
        .filter_map(|pair| pair.strip_prefix("uploadId="))
        .next();
    id.unwrap_or_default().to_owned()
}

/// Begins an upload in parts, or lists those that are open, two a page: the file system behind the server cannot list them.
async fn uploads(
    request: Request<Incoming>,
    service: S3Service,
    script: Arc<Mutex<Script>>,
) -> Response<s3s::Body> {
    let begins = request.method() == "POST";
    let uri = request.uri().clone();
    let response = service.call(request.map(s3s::Body::from)).await.unwrap();
    if begins && response.status().is_success() {
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let (_, rest) = text.split_once("<UploadId>").unwrap();
        let id = rest.split_once("</UploadId>").unwrap().0.to_owned();
        let key = uri
            .path()
            .strip_prefix(&format!("/{BUCKET}/"))
            .unwrap()
            .to_owned();
        script.lock().unwrap().uploads.push((key, id));
        return Response::from_parts(head, s3s::Body::from(bytes));
    }
    // Who may not is told so by the service itself.
    if begins || response.status() == StatusCode::FORBIDDEN {
        return response;
    }
    let pairs: Vec<(String, String)> =
        url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
    let value = |name: &str| {
        pairs
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
            .unwrap_or_default()
    };
    let (prefix, marker) = (value("prefix"), value("upload-id-marker"));
    let open = script.lock().unwrap().uploads.clone();
    let mut open: Vec<(String, String)> = open
        .into_iter()
        .filter(|(key, _)| key.starts_with(&prefix))
        .collect();
    open.sort_by(|a, b| a.1.cmp(&b.1));
    open.retain(|(_, id)| *id > marker);
    let more = open.len() > 2;
    open.truncate(2);
    let mut text = format!("<ListMultipartUploadsResult><IsTruncated>{more}</IsTruncated>");
    if let (true, Some((key, id))) = (more, open.last()) {
        text += &format!(
            "<NextKeyMarker>{key}</NextKeyMarker><NextUploadIdMarker>{id}</NextUploadIdMarker>"
        );
    }
    for (key, id) in &open {
        text += &format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId></Upload>");
    }
    text += "</ListMultipartUploadsResult>";
    Response::new(s3s::Body::from(text))
}

fn document(code: &str) -> String {
    match code {
        "" => String::new(),
        code => format!("<Error><Code>{code}</Code><Message>as scripted</Message></Error>"),
    }
}

/// Fetches a URL as a browser would: no credentials.
pub(crate) async fn fetch(url: &str) -> (StatusCode, Vec<u8>) {
    let client =
        Client::builder(TokioExecutor::new()).build_http::<http_body_util::Empty<bytes::Bytes>>();
    let response = client.get(url.parse().unwrap()).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, body.to_vec())
}
