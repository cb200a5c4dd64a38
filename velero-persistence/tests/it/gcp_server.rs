//! Google's storage in this process: both its APIs, with tokens and signed URLs that are checked.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use percent_encoding::percent_decode_str;
use ring::digest;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use velero_persistence::{Environment, Location, LocationConfig};

/// A key made for these tests, which opens nothing else.
pub(crate) const KEY: &str = include_str!("test-rsa-key.pem");
pub(crate) const EMAIL: &str = "velero@project.iam.gserviceaccount.com";
pub(crate) const BUCKET: &str = "bucket";
const TOKEN: &str = "token-of-google";

#[derive(Default)]
struct Objects {
    objects: BTreeMap<String, (Bytes, u64)>,
    /// Parts of uploads that are not complete, by upload.
    uploads: HashMap<String, (String, BTreeMap<u32, Bytes>)>,
    /// Sessions: name, wanted generation, bytes so far.
    sessions: HashMap<String, (String, Option<u64>, Vec<u8>)>,
    /// `METHOD path?query` of each request, with the headers.
    requests: Vec<(String, HeaderMap)>,
    /// Answers for the next requests, in order: a status and its reason.
    faults: VecDeque<(u16, &'static str)>,
    counter: u64,
    url: String,
}

/// A storage server with one bucket.
pub(crate) struct GcpServer {
    addr: SocketAddr,
    objects: Arc<Mutex<Objects>>,
    task: JoinHandle<()>,
}

impl Drop for GcpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl GcpServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let objects = Arc::new(Mutex::new(Objects {
            url: format!("http://{addr}"),
            ..Objects::default()
        }));
        let shared = Arc::clone(&objects);
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let objects = Arc::clone(&shared);
                let service = service_fn(move |request: Request<Incoming>| {
                    let objects = Arc::clone(&objects);
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.map(|body| body.to_bytes());
                        let body = body.unwrap_or_default();
                        let mut objects = objects.lock().unwrap();
                        Ok::<_, Infallible>(objects.answer(
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
        Self {
            addr,
            objects,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn host(&self) -> String {
        self.addr.to_string()
    }

    /// A credentials file with the right key.
    pub(crate) fn key_file(&self) -> String {
        json!({
            "type": "service_account",
            "client_email": EMAIL,
            "private_key": KEY,
            "token_uri": format!("{}/token", self.url()),
        })
        .to_string()
    }

    /// The settings of a location on this server, with the right key.
    pub(crate) fn config(&self, prefix: &str) -> LocationConfig {
        LocationConfig {
            provider: "gcp".to_owned(),
            bucket: BUCKET.to_owned(),
            prefix: prefix.to_owned(),
            config: crate::settings(&[("storeEndpoint", &self.url())]),
            credentials: Some(self.key_file().into_bytes()),
            ..LocationConfig::default()
        }
    }

    pub(crate) fn location(&self, prefix: &str) -> Location {
        Location::from_config_in(&self.config(prefix), &Environment::empty()).unwrap()
    }

    pub(crate) fn fail(&self, faults: &[(u16, &'static str)]) {
        self.objects.lock().unwrap().faults.extend(faults);
    }

    /// The requests whose line holds this.
    pub(crate) fn requests(&self, mark: &str) -> Vec<(String, HeaderMap)> {
        let objects = self.objects.lock().unwrap();
        let lines = objects
            .requests
            .iter()
            .filter(|(line, _)| line.contains(mark));
        lines.cloned().collect()
    }
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

fn verified(text: &str, signature: &[u8]) -> bool {
    let der = PrivatePkcs8KeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public().as_ref())
        .verify(text.as_bytes(), signature)
        .is_ok()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

/// Whether a URL lets anybody do this, by the rules of V4 signatures.
fn signed(method: &Method, uri: &Uri, host: &str) -> bool {
    let query = uri.query().unwrap_or_default();
    let Some((unsigned, signature)) = query.split_once("&X-Goog-Signature=") else {
        return false;
    };
    let mut parts: Vec<&str> = unsigned.split('&').collect();
    parts.sort_unstable();
    let request = format!(
        "{method}\n{}\n{}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD",
        uri.path(),
        parts.join("&")
    );
    let get = pairs(unsigned);
    let (email, scope) = get["X-Goog-Credential"].split_once('/').unwrap();
    let hash = hex(digest::digest(&digest::SHA256, request.as_bytes()).as_ref());
    let text = format!("GOOG4-RSA-SHA256\n{}\n{scope}\n{hash}", get["X-Goog-Date"]);
    let bytes: Vec<u8> = (0..signature.len() / 2)
        .filter_map(|i| u8::from_str_radix(&signature[2 * i..2 * i + 2], 16).ok())
        .collect();
    email == EMAIL && verified(&text, &bytes)
}

fn answer(status: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

fn refusal(status: u16, reason: &str, message: &str) -> Response<Full<Bytes>> {
    let text = json!({"error": {"code": status, "message": message,
        "errors": [{"domain": "global", "reason": reason, "message": message}]}});
    answer(status, text.to_string())
}

fn missing() -> Response<Full<Bytes>> {
    refusal(404, "notFound", "No such object")
}

impl Objects {
    fn answer(
        &mut self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Response<Full<Bytes>> {
        self.requests
            .push((format!("{method} {uri}"), headers.clone()));
        if let Some((status, reason)) = self.faults.pop_front() {
            return refusal(status, reason, "as scripted");
        }
        let query = pairs(uri.query().unwrap_or_default());
        if uri.path() == "/token" {
            return Self::sell(&body);
        }
        if uri.path().starts_with("/computeMetadata/") {
            let right = headers
                .get("metadata-flavor")
                .is_some_and(|v| v == "Google");
            assert!(right && uri.path().ends_with("/default/token"), "{uri}");
            return Self::token();
        }
        if let Some(session) = query.get("upload_id") {
            assert!(
                !headers.contains_key("authorization"),
                "a session needs no token"
            );
            return self.resume(session, headers, &body);
        }
        let host = headers["host"].to_str().unwrap();
        let given = headers.get("authorization").map(|v| v.to_str().unwrap());
        match given {
            Some(given) if given == format!("Bearer {TOKEN}") => {}
            None if signed(method, uri, host) => {}
            None => return answer(403, "<Error><Code>SignatureDoesNotMatch</Code></Error>"),
            Some(_) => return refusal(401, "authError", "Invalid Credentials"),
        }
        if let Some(rest) = uri.path().strip_prefix("/upload/storage/v1/b/") {
            assert_eq!(rest, format!("{BUCKET}/o"));
            return self.insert(&query, body);
        }
        let (json, path) = match uri.path().strip_prefix("/storage/v1/b/") {
            Some(path) => (true, path),
            None => (false, uri.path().trim_start_matches('/')),
        };
        let (bucket, rest) = path.split_once('/').unwrap_or((path, ""));
        if bucket != BUCKET {
            return refusal(404, "notFound", "The specified bucket does not exist.");
        }
        match (json, rest.strip_prefix("o/")) {
            (true, None) => self.list(&query),
            (true, Some(key)) => self.object(method, &decoded(key), headers, &query),
            (false, _) => self.by_parts(method, decoded(rest), &query, headers, body),
        }
    }

    fn token() -> Response<Full<Bytes>> {
        let text = json!({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600});
        answer(200, text.to_string())
    }

    /// Gives a token for a claim that the key has signed.
    fn sell(body: &[u8]) -> Response<Full<Bytes>> {
        let form = pairs(std::str::from_utf8(body).unwrap());
        let (text, signature) = form["assertion"].rsplit_once('.').unwrap();
        let claims = BASE64URL.decode(text.split_once('.').unwrap().1).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        let fits = claims["iss"] == EMAIL
            && claims["aud"].as_str().unwrap().ends_with("/token")
            && claims["scope"].as_str().unwrap().contains("devstorage")
            && claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap() == 3600;
        match fits && verified(text, &BASE64URL.decode(signature).unwrap()) {
            true => Self::token(),
            false => answer(400, r#"{"error":"invalid_grant"}"#),
        }
    }

    /// Whether an object has the generation that is asked for; 0 is none.
    fn fits(&self, key: &str, wanted: Option<u64>) -> bool {
        let now = self
            .objects
            .get(key)
            .map_or(0, |(_, generation)| *generation);
        wanted.is_none_or(|wanted| wanted == now)
    }

    fn store(&mut self, key: &str, bytes: Bytes, wanted: Option<u64>) -> Response<Full<Bytes>> {
        if !self.fits(key, wanted) {
            return refusal(
                412,
                "conditionNotMet",
                "At least one of the pre-conditions did not hold",
            );
        }
        self.counter += 1;
        self.objects.insert(key.to_owned(), (bytes, self.counter));
        answer(200, self.about(key).to_string())
    }

    fn about(&self, key: &str) -> Value {
        let (bytes, generation) = &self.objects[key];
        json!({"name": key, "size": bytes.len().to_string(), "etag": format!("e{generation}"),
            "generation": generation.to_string(), "updated": "2026-11-23T15:00:00.000Z"})
    }

    fn insert(&mut self, query: &BTreeMap<String, String>, body: Bytes) -> Response<Full<Bytes>> {
        let wanted = query.get("ifGenerationMatch").map(|n| n.parse().unwrap());
        let name = query["name"].clone();
        if query["uploadType"] == "media" {
            return self.store(&name, body, wanted);
        }
        assert_eq!(query["uploadType"], "resumable");
        self.counter += 1;
        let id = format!("s{}", self.counter);
        let location = format!("{}/session?upload_id={id}", self.url);
        self.sessions.insert(id, (name, wanted, Vec::new()));
        let mut answer = answer(200, "");
        answer
            .headers_mut()
            .insert("location", location.parse().unwrap());
        answer
    }

    fn resume(&mut self, session: &str, headers: &HeaderMap, body: &[u8]) -> Response<Full<Bytes>> {
        let Some((name, wanted, mut bytes)) = self.sessions.get(session).cloned() else {
            return missing();
        };
        let range = headers
            .get("content-range")
            .map(|v| v.to_str().unwrap().to_owned());
        bytes.extend_from_slice(body);
        let total = range.and_then(|r| r.rsplit_once('/')?.1.parse::<usize>().ok());
        if total == Some(bytes.len()) {
            self.sessions.remove(session);
            return self.store(&name, bytes.into(), wanted);
        }
        let mut answer = answer(308, "");
        if !bytes.is_empty() {
            let range = format!("bytes=0-{}", bytes.len() - 1);
            answer.headers_mut().insert("range", range.parse().unwrap());
        }
        self.sessions
            .insert(session.to_owned(), (name, wanted, bytes));
        answer
    }

    fn object(
        &mut self,
        method: &Method,
        key: &str,
        headers: &HeaderMap,
        query: &BTreeMap<String, String>,
    ) -> Response<Full<Bytes>> {
        let Some((bytes, generation)) = self.objects.get(key).cloned() else {
            return missing();
        };
        if *method == Method::DELETE {
            self.objects.remove(key);
            return answer(204, "");
        }
        let tag = headers.get("if-match").map(|v| v.to_str().unwrap());
        if tag.is_some_and(|tag| tag != format!("e{generation}")) {
            return refusal(412, "conditionNotMet", "no");
        }
        match query.get("alt").map(String::as_str) {
            Some("media") => Self::media(&bytes, headers),
            _ => answer(200, self.about(key).to_string()),
        }
    }

    fn media(bytes: &Bytes, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let range = headers.get("range").map(|v| v.to_str().unwrap());
        let Some((start, end)) = range.and_then(|r| r.strip_prefix("bytes=")?.split_once('-'))
        else {
            return answer(200, bytes.clone());
        };
        let start: usize = start.parse().unwrap();
        let end = end
            .parse()
            .map_or(bytes.len(), |end: usize| (end + 1).min(bytes.len()));
        let mut answer = answer(206, bytes.slice(start..end));
        let told = format!("bytes {start}-{}/{}", end - 1, bytes.len());
        answer
            .headers_mut()
            .insert("content-range", told.parse().unwrap());
        answer
    }

    /// The XML API: uploads in parts, and reading by a signed URL.
    fn by_parts(
        &mut self,
        method: &Method,
        key: String,
        query: &BTreeMap<String, String>,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Response<Full<Bytes>> {
        let number = query.get("partNumber").map(|n| n.parse().unwrap());
        match (method.as_str(), query.get("uploadId"), number) {
            ("POST", None, None) if query.contains_key("uploads") => {
                self.counter += 1;
                let id = format!("u{}", self.counter);
                let text = format!(
                    "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                );
                self.uploads.insert(id, (key, BTreeMap::new()));
                answer(200, text)
            }
            ("PUT", Some(id), Some(number)) => {
                let upload = self.uploads.get_mut(id).unwrap();
                upload.1.insert(number, body);
                let mut answer = answer(200, "");
                answer
                    .headers_mut()
                    .insert("etag", format!("\"p{number}\"").parse().unwrap());
                answer
            }
            ("POST", Some(id), None) => {
                let (key, parts) = self.uploads.remove(id).unwrap();
                let list = std::str::from_utf8(&body).unwrap();
                assert_eq!(list.matches("<PartNumber>").count(), parts.len());
                let bytes: Vec<u8> = parts.into_values().flatten().collect();
                self.store(&key, bytes.into(), None)
            }
            ("DELETE", Some(id), None) => {
                self.uploads.remove(id);
                answer(204, "")
            }
            ("GET", None, None) => match self.objects.get(&key) {
                Some((bytes, _)) => Self::media(bytes, headers),
                None => answer(404, "<Error><Code>NoSuchKey</Code></Error>"),
            },
            _ => answer(400, "<Error><Code>InvalidArgument</Code></Error>"),
        }
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Response<Full<Bytes>> {
        let get = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        let (prefix, delimiter, from) = (get("prefix"), get("delimiter"), get("pageToken"));
        let mut names = BTreeSet::new();
        for key in self.objects.keys().filter(|key| key.starts_with(prefix)) {
            let rest = &key[prefix.len()..];
            match rest.find(delimiter).filter(|_| !delimiter.is_empty()) {
                Some(at) => names.insert((format!("{prefix}{}{delimiter}", &rest[..at]), true)),
                None => names.insert((key.clone(), false)),
            };
        }
        let mut left = names.into_iter().filter(|(name, _)| name.as_str() >= from);
        let (mut items, mut prefixes) = (Vec::new(), Vec::new());
        for (name, folder) in left.by_ref().take(3) {
            match folder {
                true => prefixes.push(name),
                false => items.push(self.about(&name)),
            }
        }
        let mut page = json!({"items": items, "prefixes": prefixes});
        if let Some((name, _)) = left.next() {
            page["nextPageToken"] = name.into();
        }
        answer(200, page.to_string())
    }
}
