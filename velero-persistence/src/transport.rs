//! The HTTP client of one store: its own TLS roots, deadlines and name.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opendal::{Buffer, HttpBody, HttpTransport};
use opendal_http_transport_reqwest::ReqwestTransport;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::{Error, Result};
use crate::options::StoreOptions;
use crate::remote_error::{Mapper, silent_text};
use crate::silence::Silence;

/// What the TLS side of a store needs to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tls {
    /// PEM bundle trusted beside the system's roots.
    pub(crate) ca_cert: Option<Vec<u8>>,
    /// Accept any certificate.
    pub(crate) skip_verify: bool,
}

impl Tls {
    /// Parses the bundle, so that a bad one is a configuration error rather than a failed handshake.
    pub(crate) fn check(&self) -> Result<()> {
        self.extra_roots().map(drop)
    }

    fn extra_roots(&self) -> Result<Vec<CertificateDer<'static>>> {
        let Some(pem) = &self.ca_cert else {
            return Ok(Vec::new());
        };
        let bad = |detail: String| {
            Error::config(
                "caCert",
                "<PEM>",
                format!("PEM certificates are needed: {detail}"),
            )
        };
        let certs = CertificateDer::pem_slice_iter(pem)
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|err| bad(err.to_string()))?;
        if certs.is_empty() {
            return Err(bad("there is no certificate in it".to_owned()));
        }
        Ok(certs)
    }
}

/// Builds a client of its own for each store: no process-wide TLS state is read or set.
pub(crate) fn client(tls: &Tls, options: &StoreOptions) -> Result<reqwest::Client> {
    let failed = |err: String| Error::config("TLS settings", "", err);
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|err| failed(err.to_string()))?;
    let config = if tls.skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
            .with_no_client_auth()
    } else {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(system.certs);
        for cert in tls.extra_roots()? {
            roots
                .add(cert)
                .map_err(|err| Error::config("caCert", "<PEM>", err.to_string()))?;
        }
        builder.with_root_certificates(roots).with_no_client_auth()
    };
    reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .connect_timeout(options.connect_timeout)
        .read_timeout(options.io_timeout)
        .user_agent(user_agent())
        .build()
        .map_err(|err| failed(err.to_string()))
}

/// Largest body of a request that the wait for the first answer bounds, in bytes.
const SMALL: usize = 64 << 10;

/// A transport that gives up for good on a store which has never answered, or has stopped: retries would only double the
/// wait.
#[derive(Debug)]
pub(crate) struct Patience {
    inner: ReqwestTransport,
    /// Longest wait for the first answer.
    first: Duration,
    /// Longest wait that the layers above do not cut, for small bodies and for large ones.
    above: (Duration, Duration),
    reached: AtomicBool,
    store: String,
    silence: Arc<Silence>,
}

impl Patience {
    pub(crate) fn new(client: reqwest::Client, options: &StoreOptions, errors: &Mapper) -> Self {
        // The layers above must not be the first to give up, as they would try again.
        let small = options.request_timeout.min(options.io_timeout / 2);
        Self {
            inner: ReqwestTransport::new(client),
            first: options.first_answer_timeout,
            above: (small.mul_f64(0.9), options.io_timeout.mul_f64(0.9)),
            reached: AtomicBool::new(false),
            store: errors.store.clone(),
            silence: Arc::clone(&errors.silence),
        }
    }

    /// How long a request may wait where that is bounded here.
    fn limit(&self, body: usize) -> Option<Duration> {
        let small = body <= SMALL;
        let first = (small && !self.reached.load(Ordering::Relaxed)).then_some(self.first);
        let limit = first.into_iter().chain(self.silence.limit(body)).min()?;
        Some(limit.min(if small { self.above.0 } else { self.above.1 }))
    }
}

impl HttpTransport for Patience {
    async fn fetch(
        &self,
        request: http::Request<Buffer>,
    ) -> opendal::Result<http::Response<HttpBody>> {
        let body = request.body().len();
        let limit = self.limit(body);
        let fetch = self.inner.fetch(request);
        let answer = match limit {
            Some(limit) => match tokio::time::timeout(limit, fetch).await {
                Ok(answer) => answer,
                Err(_) => {
                    return Err(opendal::Error::new(
                        opendal::ErrorKind::Unexpected,
                        silent_text(limit),
                    ));
                }
            },
            None => fetch.await,
        };
        match answer {
            Ok(answer) => {
                self.reached.store(true, Ordering::Relaxed);
                self.silence.answered(&self.store);
                Ok(answer)
            }
            Err(err) if self.silence.limit(body).is_some() => Err(err.set_permanent()),
            Err(err) => Err(err),
        }
    }
}

fn user_agent() -> String {
    format!(
        "velero/{} ({}/{})",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

/// The verifier behind `insecureSkipTLSVerify`: signatures are still checked, identity is not.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
