//! HTTPS stores with an authority of their own.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;
use velero_persistence::{Environment, ErrorKind, Location, LocationConfig};

use crate::server::S3Server;

/// A server for 127.0.0.1 and the PEM of the authority that signed its certificate.
async fn start() -> (S3Server, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let server = S3Server::start_with(Some(TlsAcceptor::from(Arc::new(config)))).await;
    (server, authority.pem())
}

async fn check(config: &LocationConfig) -> Result<(), velero_persistence::Error> {
    let location = Location::from_config_in(config, &Environment::empty()).unwrap();
    let store = location.with_options(crate::impatient()).open().await?;
    store.put("k", "v".into()).await?;
    store.get("k", 10).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_authority_is_refused_with_a_hint() {
    let (server, _) = start().await;
    let err = check(&server.config("")).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unreachable);
    let text = err.to_string();
    assert!(
        text.contains("certificate") && text.contains("set caCert"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ca_cert_is_trusted_for_this_store_only() {
    let (server, pem) = start().await;
    let mut config = server.config("");
    config.ca_cert = Some(pem.into_bytes());
    check(&config).await.unwrap();
    config.ca_cert = None;
    check(&config).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn verification_can_be_switched_off() {
    let (server, _) = start().await;
    let mut config = server.config("");
    config
        .config
        .insert("insecureSkipTLSVerify".to_owned(), "true".to_owned());
    check(&config).await.unwrap();
}
