//! Uploads in parts that were begun and never ended: their parts cost money, and no listing shows them.

use http::{Method, Request};
use opendal::raw::percent_encode_path;
use opendal::{Buffer, Error, ErrorKind, HttpTransporter};

use crate::s3_transport::element;

/// Most pages of uploads that are looked at.
const PAGES: usize = 100;

/// The uploads of one bucket.
pub(crate) struct S3Uploads {
    /// URL of the bucket, without a slash at the end.
    base: String,
    /// Signs.
    http: HttpTransporter,
}

/// An upload that is open.
#[derive(Debug, PartialEq, Eq)]
struct Upload {
    key: String,
    id: String,
}

/// Some of the uploads, and where the next ones begin.
#[derive(Debug, Default, PartialEq, Eq)]
struct Page {
    uploads: Vec<Upload>,
    next: Option<(String, String)>,
}

impl S3Uploads {
    pub(crate) fn new(base: String, http: HttpTransporter) -> Self {
        Self { base, http }
    }

    /// Aborts every upload to a key that begins with `prefix`; gives how many there were.
    pub(crate) async fn abort_below(&self, prefix: &str) -> opendal::Result<usize> {
        let mut aborted = 0;
        let mut next: Option<(String, String)> = None;
        for _ in 0..PAGES {
            let mut query = format!("uploads&prefix={}", encoded(prefix));
            if let Some((key, id)) = &next {
                query += &format!(
                    "&key-marker={}&upload-id-marker={}",
                    encoded(key),
                    encoded(id)
                );
            }
            let url = format!("{}?{query}", self.base);
            let page = page(&self.ask(Method::GET, &url).await?);
            for upload in &page.uploads {
                // Some servers take the prefix for a wish.
                if !upload.key.starts_with(prefix) {
                    continue;
                }
                let key = percent_encode_path(&upload.key);
                let url = format!("{}/{key}?uploadId={}", self.base, encoded(&upload.id));
                self.ask(Method::DELETE, &url).await?;
                aborted += 1;
            }
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        Ok(aborted)
    }

    /// Gives the text of a good answer. What is to be deleted and is gone is deleted.
    async fn ask(&self, method: Method, url: &str) -> opendal::Result<String> {
        let is_deletion = method == Method::DELETE;
        let request = Request::builder()
            .method(method)
            .uri(url)
            .body(Buffer::new())
            .map_err(|error| {
                Error::new(ErrorKind::Unexpected, "the address of uploads is none")
                    .set_source(error)
            })?;
        let (head, mut body) = self.http.fetch(request).await?.into_parts();
        let bytes = body.to_buffer().await?.to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if head.status.is_success() || (is_deletion && head.status == http::StatusCode::NOT_FOUND) {
            return Ok(text);
        }
        let code = element(&text, "Code").unwrap_or_default();
        Err(Error::new(
            ErrorKind::Unexpected,
            format!("{} {code}", head.status.as_u16()),
        ))
    }
}

/// Everything but letters, digits and `-._~` escaped, as signatures need it.
fn encoded(text: &str) -> String {
    percent_encode_path(text)
        .replace('/', "%2F")
        .replace('+', "%2B")
        .replace('=', "%3D")
}

fn page(xml: &str) -> Page {
    let uploads = xml.split_inclusive("</Upload>").filter_map(|piece| {
        let (_, piece) = piece.strip_suffix("</Upload>")?.rsplit_once("<Upload>")?;
        let upload = Upload {
            key: element(piece, "Key")?,
            id: element(piece, "UploadId")?,
        };
        // No key of ours is escaped.
        (!upload.key.contains('&')).then_some(upload)
    });
    let uploads = uploads.collect();
    let more = element(xml, "IsTruncated").as_deref() == Some("true");
    let next = element(xml, "NextKeyMarker").filter(|_| more);
    Page {
        uploads,
        next: next.map(|key| (key, element(xml, "NextUploadIdMarker").unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_uploads_are_understood() {
        let upload = |key: &str, id: &str| Upload {
            key: key.to_owned(),
            id: id.to_owned(),
        };
        let xml = "<ListMultipartUploadsResult><Prefix>b/</Prefix><NextKeyMarker>b/2</NextKeyMarker>\
             <NextUploadIdMarker>i+2</NextUploadIdMarker><IsTruncated>true</IsTruncated>\
             <Upload><Key>b/1</Key><UploadId>i=1</UploadId></Upload><Upload><Key>b/&amp;</Key><UploadId>x</UploadId></Upload>\
             <Upload><UploadId>i+2</UploadId><Key>b/2</Key></Upload></ListMultipartUploadsResult>";
        let found = page(xml);
        assert_eq!(found.uploads, [upload("b/1", "i=1"), upload("b/2", "i+2")]);
        assert_eq!(found.next, Some(("b/2".to_owned(), "i+2".to_owned())));
        let last = page("<R><IsTruncated>false</IsTruncated><NextKeyMarker>x</NextKeyMarker></R>");
        assert_eq!(last, Page::default());
        assert_eq!(page("no xml"), Page::default());
        assert_eq!(encoded("a/b+c=d e&f"), "a%2Fb%2Bc%3Dd%20e%26f");
    }
}
