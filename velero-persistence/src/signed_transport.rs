//! A transport that signs each request by itself, with credentials of one store only.
//!
//! The services of OpenDAL would look into the environment of the process on their own.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, header};
use opendal::{Buffer, HttpBody, HttpTransport, HttpTransporter};
use reqsign_core::{Context, ProvideCredentialDyn, Signer, SigningCredential, StaticEnv};
use reqsign_file_read_tokio::TokioFileRead;

use crate::s3_transport::sign_failed;

/// Where credentials come from. One way, not a chain of them: a chain would hide why it fails.
pub(crate) type Source<K> = Arc<dyn ProvideCredentialDyn<Credential = K>>;

/// Signs requests and sends them on.
#[derive(Debug)]
pub(crate) struct SignedTransport<K: SigningCredential> {
    inner: HttpTransporter,
    signer: Signer<K>,
    /// What a request's query holds when its URL is a permission by itself.
    session: &'static str,
}

impl<K: SigningCredential> SignedTransport<K> {
    /// `session` is the name of the query key that marks URLs which need no signature, or empty.
    pub(crate) fn new(inner: HttpTransporter, signer: Signer<K>, session: &'static str) -> Self {
        Self {
            inner,
            signer,
            session,
        }
    }
}

impl<K: SigningCredential> HttpTransport for SignedTransport<K> {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let (mut head, body) = request.into_parts();
        let query = head.uri.query().unwrap_or_default();
        let open = !self.session.is_empty()
            && query.split('&').any(|pair| {
                pair.split_once('=')
                    .is_some_and(|(name, _)| name == self.session)
            });
        if !open {
            self.signer
                .sign(&mut head, None)
                .await
                .map_err(sign_failed)?;
        }
        // HTTP/2 servers refuse a header of that name; the client sends what is right.
        head.headers.remove(header::HOST);
        self.inner.fetch(Request::from_parts(head, body)).await
    }
}

/// What fetches credentials: the store's own client, files, and these variables instead of the process's.
pub(crate) fn context(http: &HttpTransporter, variables: &[(&str, Option<&str>)]) -> Context {
    let envs = variables
        .iter()
        .filter_map(|(name, value)| Some(((*name).to_owned(), (*value)?.to_owned())))
        .collect();
    Context::new()
        .with_file_read(TokioFileRead)
        .with_http_send(http.clone())
        .with_env(StaticEnv {
            home_dir: None,
            envs,
        })
}

/// Signs a URL that is read without credentials for `ttl`.
pub(crate) async fn signed_url<K: SigningCredential>(
    signer: &Signer<K>,
    url: &str,
    ttl: Duration,
) -> opendal::Result<String> {
    let request = Request::get(url).body(()).map_err(|err| {
        let text = "the store's URL and the key make no URL";
        opendal::Error::new(opendal::ErrorKind::ConfigInvalid, text).set_source(err)
    })?;
    let (mut head, ()) = request.into_parts();
    signer
        .sign(&mut head, Some(ttl))
        .await
        .map_err(sign_failed)?;
    Ok(head.uri.to_string())
}
