//! A blob service in this process that checks signatures.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use percent_encoding::percent_decode_str;
use ring::hmac;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use velero_persistence::{Environment, Location, LocationConfig};

pub(crate) const ACCOUNT: &str = "testaccount";
/// The key of the account, in base64.
pub(crate) const KEY: &str = "dGVzdC1rZXktb2YtdGhlLWFjY291bnQ=";
pub(crate) const CONTAINER: &str = "bucket";
const TOKEN: &str = "token-of-entra";

#[derive(Default)]
struct Blobs {
    blobs: BTreeMap<String, (Bytes, String)>,
    /// Blocks that are not in a blob yet.
    blocks: HashMap<(String, String), Bytes>,
    /// `METHOD path?query` of each request.
    requests: Vec<String>,
    versions: usize,
    /// Answers for the next requests, in order: a status and its code.
    faults: VecDeque<(u16, &'static str)>,
    /// Entries of a page of a listing.
    page: usize,
}

/// A blob service with one account and one container.
pub(crate) struct AzureServer {
    addr: SocketAddr,
    blobs: Arc<Mutex<Blobs>>,
    task: JoinHandle<()>,
}

impl Drop for AzureServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl AzureServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let blobs = Arc::new(Mutex::new(Blobs {
            page: 3,
            ..Blobs::default()
        }));
        let shared = Arc::clone(&blobs);
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let blobs = Arc::clone(&shared);
                let service = service_fn(move |request: Request<Incoming>| {
                    let blobs = Arc::clone(&blobs);
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.map(|body| body.to_bytes());
                        let body = body.unwrap_or_default();
                        let mut blobs = blobs.lock().unwrap();
                        Ok::<_, Infallible>(blobs.answer(
                            &head.method,
                            &head.uri,
                            &head.headers,
                            body,
                        ))
                    }
                });
                tokio::spawn(async move {
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        });
        Self { addr, blobs, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The settings of a location on this server, with the right key.
    pub(crate) fn config(&self, prefix: &str) -> LocationConfig {
        LocationConfig {
            provider: "azure".to_owned(),
            bucket: CONTAINER.to_owned(),
            prefix: prefix.to_owned(),
            config: crate::settings(&[
                ("storageAccount", ACCOUNT),
                ("storageAccountURI", &self.url()),
                ("storageAccountKeyEnvVar", "ACCOUNT_KEY"),
            ]),
            credentials: Some(format!("ACCOUNT_KEY={KEY}\n").into_bytes()),
            ..LocationConfig::default()
        }
    }

    pub(crate) fn location(&self, prefix: &str) -> Location {
        Location::from_config_in(&self.config(prefix), &Environment::empty()).unwrap()
    }

    pub(crate) fn fail(&self, faults: &[(u16, &'static str)]) {
        self.blobs.lock().unwrap().faults.extend(faults);
    }

    pub(crate) fn requests(&self, mark: &str) -> Vec<String> {
        let blobs = self.blobs.lock().unwrap();
        let lines = blobs.requests.iter().filter(|line| line.contains(mark));
        lines.cloned().collect()
    }
}

fn query(uri: &Uri) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        .into_owned()
        .collect()
}

fn mac(text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &BASE64.decode(KEY).unwrap());
    BASE64.encode(hmac::sign(&key, text.as_bytes()))
}

/// The signature of a request by the account's key, as the service's manual has it.
fn shared_key(method: &Method, uri: &Uri, headers: &HeaderMap) -> String {
    let get = |name: &str| headers.get(name).map_or("", |v| v.to_str().unwrap());
    let length = Some(get("content-length")).filter(|n| *n != "0");
    let mut text = format!("{method}\n\n\n{}\n", length.unwrap_or_default());
    for name in [
        "content-md5",
        "content-type",
        "date",
        "if-modified-since",
        "if-match",
        "if-none-match",
        "if-unmodified-since",
        "range",
    ] {
        text += &format!("{}\n", get(name));
    }
    let own: BTreeMap<&str, &str> = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-ms-"))
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    for (name, value) in own {
        text += &format!("{name}:{value}\n");
    }
    text += &format!("/{ACCOUNT}{}", uri.path());
    for (name, value) in query(uri) {
        text += &format!("\n{name}:{value}");
    }
    format!("SharedKey {ACCOUNT}:{}", mac(&text))
}

/// Whether a query lets anybody read this blob: its signature, times and right fit.
fn shared_access(method: &Method, key: &str, query: &BTreeMap<String, String>) -> bool {
    let get = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    let resource = format!("/blob/{ACCOUNT}/{CONTAINER}/{key}");
    let text = [
        get("sp"),
        get("st"),
        get("se"),
        &resource,
        get("si"),
        get("sip"),
        get("spr"),
        get("sv"),
        get("sr"),
        "",
        get("ses"),
        "",
        "",
        "",
        "",
        "",
    ]
    .join("\n");
    *method == Method::GET && get("sp") == "r" && get("sr") == "b" && get("sig") == mac(&text)
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\r', "&#13;")
}

fn status(status: u16) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

fn refusal(number: u16, code: &str) -> Response<Full<Bytes>> {
    let text = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as told</Message></Error>"
    );
    let mut answer = status(number);
    answer
        .headers_mut()
        .insert("x-ms-error-code", code.parse().unwrap());
    *answer.body_mut() = Full::from(text);
    answer
}

impl Blobs {
    fn answer(
        &mut self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Response<Full<Bytes>> {
        self.requests.push(format!("{method} {uri}"));
        if let Some((status, code)) = self.faults.pop_front() {
            return refusal(status, code);
        }
        let query = query(uri);
        if uri.path().ends_with("/oauth2/v2.0/token") || uri.path() == "/identity" {
            return self.token(uri, &body);
        }
        let path = uri.path().trim_start_matches('/');
        let (container, key) = path.split_once('/').unwrap_or((path, ""));
        let key = percent_decode_str(key).decode_utf8().unwrap().into_owned();
        let given = headers.get("authorization").map(|v| v.to_str().unwrap());
        let bearer = format!("Bearer {TOKEN}");
        let allowed = match given {
            Some(given) => given == shared_key(method, uri, headers) || given == bearer,
            None => shared_access(method, &key, &query),
        };
        if !allowed {
            return refusal(403, "AuthenticationFailed");
        }
        if container != CONTAINER {
            return refusal(404, "ContainerNotFound");
        }
        if key.is_empty() {
            return self.list(&query);
        }
        match (method.as_str(), query.get("comp").map(String::as_str)) {
            ("PUT", Some("block")) => {
                self.blocks.insert((key, query["blockid"].clone()), body);
                status(201)
            }
            ("PUT", Some("blocklist")) => self.commit(key, headers, &body),
            ("PUT", None) => self.put(key, headers, body),
            ("GET" | "HEAD", None) => self.get(&key, headers, method == Method::HEAD),
            ("DELETE", None) => match self.blobs.remove(&key) {
                Some(_) => status(202),
                None => refusal(404, "BlobNotFound"),
            },
            _ => refusal(400, "UnsupportedHttpVerb"),
        }
    }

    /// Answers as Entra and as the machine's identity do.
    fn token(&self, uri: &Uri, body: &[u8]) -> Response<Full<Bytes>> {
        let form: BTreeMap<String, String> =
            url::form_urlencoded::parse(body).into_owned().collect();
        let secret = form.get("client_secret").map(String::as_str);
        let assertion = form.get("client_assertion").map(String::as_str);
        let right = uri.path() == "/identity"
            || uri.path().starts_with("/tenant-1/")
                && form["client_id"] == "client-1"
                && (secret == Some("secret-1") || assertion == Some("token-of-the-pod"));
        if !right {
            return refusal(401, "invalid_client");
        }
        let text = format!(
            r#"{{"access_token":"{TOKEN}","token_type":"Bearer","expires_in":3600,"expires_on":"4102444800"}}"#
        );
        Response::new(Full::from(text))
    }

    fn store(&mut self, key: String, bytes: Bytes) -> Response<Full<Bytes>> {
        self.versions += 1;
        let etag = format!("\"0x{}\"", self.versions);
        self.blobs.insert(key, (bytes, etag));
        status(201)
    }

    fn put(&mut self, key: String, headers: &HeaderMap, bytes: Bytes) -> Response<Full<Bytes>> {
        let get = |name: &str| headers.get(name).map(|v| v.to_str().unwrap());
        let old = self.blobs.get(&key).map(|(_, etag)| etag.as_str());
        match (get("if-none-match"), get("if-match")) {
            (Some("*"), _) if old.is_some() => refusal(409, "BlobAlreadyExists"),
            (_, Some(tag)) if old != Some(tag) => refusal(412, "ConditionNotMet"),
            _ => self.store(key, bytes),
        }
    }

    fn commit(&mut self, key: String, headers: &HeaderMap, list: &[u8]) -> Response<Full<Bytes>> {
        let list = String::from_utf8(list.to_vec()).unwrap();
        let mut bytes = Vec::new();
        for piece in list.split("<Latest>").skip(1) {
            let (id, _) = piece.split_once("</Latest>").unwrap();
            match self.blocks.get(&(key.clone(), id.to_owned())) {
                Some(block) => bytes.extend_from_slice(block),
                None => return refusal(400, "InvalidBlockList"),
            }
        }
        self.blocks.retain(|(of, _), _| *of != key);
        self.put(key, headers, bytes.into())
    }

    fn get(&self, key: &str, headers: &HeaderMap, head: bool) -> Response<Full<Bytes>> {
        let Some((bytes, etag)) = self.blobs.get(key) else {
            return refusal(404, "BlobNotFound");
        };
        let wanted = headers.get("if-match").map(|v| v.to_str().unwrap());
        if wanted.is_some_and(|tag| tag != etag) {
            return refusal(412, "ConditionNotMet");
        }
        let range = headers.get("range").map(|v| v.to_str().unwrap());
        let mut answer = status(if range.is_some() { 206 } else { 200 });
        let part = match range.and_then(|r| r.strip_prefix("bytes=")?.split_once('-')) {
            Some((start, end)) => {
                let start: usize = start.parse().unwrap();
                let end = end
                    .parse()
                    .map_or(bytes.len(), |end: usize| (end + 1).min(bytes.len()));
                let told = format!("bytes {start}-{}/{}", end - 1, bytes.len());
                answer
                    .headers_mut()
                    .insert("content-range", told.parse().unwrap());
                bytes.slice(start..end)
            }
            None => bytes.clone(),
        };
        let fields = answer.headers_mut();
        fields.insert("etag", etag.parse().unwrap());
        fields.insert("content-length", part.len().to_string().parse().unwrap());
        fields.insert(
            "last-modified",
            "Mon, 23 Nov 2026 15:00:00 GMT".parse().unwrap(),
        );
        if !head {
            *answer.body_mut() = Full::from(part);
        }
        answer
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Response<Full<Bytes>> {
        let get = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        let (prefix, delimiter, marker) = (get("prefix"), get("delimiter"), get("marker"));
        let mut names = BTreeSet::new();
        for key in self.blobs.keys().filter(|key| key.starts_with(prefix)) {
            let rest = &key[prefix.len()..];
            match rest.find(delimiter).filter(|_| !delimiter.is_empty()) {
                Some(at) => names.insert((format!("{prefix}{}{delimiter}", &rest[..at]), true)),
                None => names.insert((key.clone(), false)),
            };
        }
        let mut left = names
            .into_iter()
            .filter(|(name, _)| name.as_str() >= marker);
        let mut entries = String::new();
        for (name, folder) in left.by_ref().take(self.page) {
            entries += &match folder {
                true => format!("<BlobPrefix><Name>{}</Name></BlobPrefix>", xml(&name)),
                false => format!(
                    "<Blob><Name>{}</Name><Properties><Last-Modified>Mon, 23 Nov 2026 15:00:00 GMT</Last-Modified><Etag>x</Etag><Content-Length>{}</Content-Length></Properties></Blob>",
                    xml(&name),
                    self.blobs[&name].0.len()
                ),
            };
        }
        let next = left.next().map_or(String::new(), |(name, _)| xml(&name));
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Blobs>{entries}</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>"
        );
        Response::new(Full::from(text))
    }
}
