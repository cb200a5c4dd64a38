//! Requests to S3: completed with tags and checksums, and signed after that.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use opendal::{Buffer, HttpBody, HttpTransport, HttpTransporter};
use reqsign_aws_v4::Credential;
use reqsign_core::Signer;

use crate::checksum::Checksum;

/// What every upload carries beside its bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extras {
    /// Tags of new objects, as a query string.
    pub(crate) tagging: Option<HeaderValue>,
    /// Checksum of what is sent.
    pub(crate) checksum: Option<Checksum>,
}

/// A transport that signs by itself, as headers that are to be signed must be there before.
///
/// The operator above is built without signatures.
#[derive(Debug)]
pub(crate) struct S3Transport {
    inner: HttpTransporter,
    signer: Signer<Credential>,
    extras: Extras,
    /// Checksums of parts by upload and number: the request that completes an upload names them all.
    parts: Mutex<HashMap<String, BTreeMap<u32, String>>>,
}

/// What a request is to an upload.
#[derive(Debug, PartialEq)]
enum Step {
    /// A whole object.
    Put,
    /// The start of an upload in parts.
    Create,
    /// A part, sent or copied.
    Part {
        upload: String,
        number: u32,
        copied: bool,
    },
    /// The end of an upload in parts.
    Complete { upload: String },
    /// An upload in parts is given up.
    Abort { upload: String },
    /// Anything else.
    Other,
}

impl Step {
    fn of(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let pairs: HashMap<&str, &str> = uri
            .query()
            .unwrap_or_default()
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .collect();
        let copied = headers.contains_key("x-amz-copy-source");
        let upload = pairs.get("uploadId").map(|id| (*id).to_owned());
        let number = pairs.get("partNumber").and_then(|n| n.parse().ok());
        match (method, upload, number) {
            (&Method::PUT, Some(upload), Some(number)) => Self::Part {
                upload,
                number,
                copied,
            },
            (&Method::POST, Some(upload), None) => Self::Complete { upload },
            (&Method::DELETE, Some(upload), None) => Self::Abort { upload },
            (&Method::POST, None, None) if pairs.contains_key("uploads") => Self::Create,
            (&Method::PUT, None, None) if uri.query().is_none() && !copied => Self::Put,
            _ => Self::Other,
        }
    }
}

impl S3Transport {
    pub(crate) fn new(inner: HttpTransporter, signer: Signer<Credential>, extras: Extras) -> Self {
        Self {
            inner,
            signer,
            extras,
            parts: Mutex::default(),
        }
    }

    /// Adds what the step needs to the request; for a part that is sent, returns its checksum.
    fn complete(&self, step: &Step, request: &mut Request<Buffer>) -> Option<String> {
        if let (Step::Put | Step::Create, Some(tags)) = (step, &self.extras.tagging) {
            request.headers_mut().insert("x-amz-tagging", tags.clone());
        }
        let algorithm = self.extras.checksum?;
        match step {
            Step::Create => {
                let name = HeaderValue::from_static(algorithm.name());
                request
                    .headers_mut()
                    .insert("x-amz-checksum-algorithm", name);
                None
            }
            Step::Put | Step::Part { copied: false, .. } => {
                let sum = algorithm.of(request.body().clone());
                let value = HeaderValue::from_str(&sum).ok()?;
                request.headers_mut().insert(algorithm.header(), value);
                Some(sum)
            }
            Step::Complete { upload } => {
                self.name_checksums(algorithm, upload, request);
                None
            }
            _ => None,
        }
    }

    fn name_checksums(&self, algorithm: Checksum, upload: &str, request: &mut Request<Buffer>) {
        let sums = match self.lock().get(upload) {
            Some(sums) => sums.clone(),
            None => return,
        };
        let Ok(text) = String::from_utf8(request.body().to_vec()) else {
            return;
        };
        let text = with_checksums(&text, algorithm.element(), &sums);
        request
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
        *request.body_mut() = Buffer::from(text);
    }

    /// Keeps what the answer to a step says about checksums.
    async fn note(
        &self,
        step: Step,
        sum: Option<String>,
        answer: Response<HttpBody>,
    ) -> opendal::Result<Response<HttpBody>> {
        let Some(algorithm) = self.extras.checksum else {
            return Ok(answer);
        };
        match step {
            Step::Part {
                upload,
                number,
                copied: false,
            } if answer.status().is_success() => {
                if let Some(sum) = sum {
                    self.lock().entry(upload).or_default().insert(number, sum);
                }
                Ok(answer)
            }
            Step::Part {
                upload,
                number,
                copied: true,
            } if answer.status().is_success() => {
                let (head, mut body) = answer.into_parts();
                let bytes = body.to_buffer().await?.to_bytes();
                if let Some(sum) = element(&String::from_utf8_lossy(&bytes), algorithm.element()) {
                    self.lock().entry(upload).or_default().insert(number, sum);
                }
                Ok(Response::from_parts(head, one_piece(bytes)))
            }
            Step::Complete { upload } | Step::Abort { upload } if answer.status().is_success() => {
                self.lock().remove(&upload);
                Ok(answer)
            }
            _ => Ok(answer),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, BTreeMap<u32, String>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpTransport for S3Transport {
    async fn fetch(&self, mut request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let step = Step::of(request.method(), request.uri(), request.headers());
        let sum = self.complete(&step, &mut request);
        let (mut head, body) = request.into_parts();
        self.signer
            .sign(&mut head, None)
            .await
            .map_err(sign_failed)?;
        // HTTP/2 servers refuse a header of that name; the client sends what is right.
        head.headers.remove(header::HOST);
        let answer = self.inner.fetch(Request::from_parts(head, body)).await?;
        self.note(step, sum, answer).await
    }
}

/// The error of a request that could not be signed, in the words that OpenDAL has for it.
pub(crate) fn sign_failed(err: reqsign_core::Error) -> opendal::Error {
    opendal::Error::new(opendal::ErrorKind::Unexpected, "signing http request").set_source(err)
}

/// A body that is there as a whole.
pub(crate) fn one_piece(bytes: Bytes) -> HttpBody {
    let len = bytes.len() as u64;
    HttpBody::new(
        stream::iter([Ok::<_, opendal::Error>(Buffer::from(bytes))]),
        Some(len),
    )
}

/// The text of the first element of this name.
pub(crate) fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Adds the checksum of each part to the list of parts.
fn with_checksums(list: &str, name: &str, sums: &BTreeMap<u32, String>) -> String {
    let mut text = String::with_capacity(list.len() + sums.len() * 80);
    for piece in list.split_inclusive("</Part>") {
        let number = element(piece, "PartNumber").and_then(|n| n.parse::<u32>().ok());
        match (
            piece.strip_suffix("</Part>"),
            number.and_then(|n| sums.get(&n)),
        ) {
            (Some(start), Some(sum)) => {
                // Writing into a string cannot fail.
                let _ = write!(text, "{start}<{name}>{sum}</{name}></Part>");
            }
            _ => text.push_str(piece),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart() {
        let upload = || "u%2F1".to_owned();
        let part = |copied| Step::Part {
            upload: upload(),
            number: 7,
            copied,
        };
        for (method, query, copied, want) in [
            ("PUT", "", false, Step::Put),
            ("PUT", "", true, Step::Other),
            ("PUT", "?tagging", false, Step::Other),
            ("POST", "?uploads", false, Step::Create),
            ("PUT", "?partNumber=7&uploadId=u%2F1", false, part(false)),
            ("PUT", "?partNumber=7&uploadId=u%2F1", true, part(true)),
            (
                "POST",
                "?uploadId=u%2F1",
                false,
                Step::Complete { upload: upload() },
            ),
            (
                "DELETE",
                "?uploadId=u%2F1",
                false,
                Step::Abort { upload: upload() },
            ),
            ("DELETE", "", false, Step::Other),
            ("POST", "?delete", false, Step::Other),
            ("GET", "?list-type=2", false, Step::Other),
        ] {
            let uri = format!("http://h/b/k{query}").parse().unwrap();
            let mut headers = HeaderMap::new();
            if copied {
                headers.insert("x-amz-copy-source", HeaderValue::from_static("/b/k"));
            }
            let method = method.parse().unwrap();
            assert_eq!(Step::of(&method, &uri, &headers), want, "{method} {query}");
        }
    }

    #[test]
    fn the_checksum_of_a_copied_part_is_in_the_answer() {
        let answer =
            "<CopyPartResult><ETag>x</ETag><ChecksumCRC32>\nAA==</ChecksumCRC32></CopyPartResult>";
        assert_eq!(element(answer, "ChecksumCRC32").as_deref(), Some("AA=="));
        assert_eq!(element(answer, "ChecksumSHA1"), None);
        assert_eq!(
            element("<ChecksumSHA1></ChecksumSHA1>", "ChecksumSHA1"),
            None
        );
    }

    #[test]
    fn each_part_is_completed_with_its_own_checksum() {
        let list = "<C><Part><PartNumber>1</PartNumber><ETag>a</ETag></Part><Part><PartNumber>2</PartNumber><ETag>b</ETag></Part></C>";
        let sums = BTreeMap::from([(2, "BB==".to_owned())]);
        assert_eq!(
            with_checksums(list, "ChecksumSHA1", &sums),
            "<C><Part><PartNumber>1</PartNumber><ETag>a</ETag></Part><Part><PartNumber>2</PartNumber><ETag>b</ETag><ChecksumSHA1>BB==</ChecksumSHA1></Part></C>"
        );
        assert_eq!(with_checksums(list, "ChecksumSHA1", &BTreeMap::new()), list);
    }
}
