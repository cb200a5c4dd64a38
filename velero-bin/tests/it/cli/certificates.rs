//! Downloads from stores whose certificates are signed by an authority of their own.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

use super::archives::give_out;
use crate::program::Cluster;

/// An authority's certificate, and what a server for 127.0.0.1 needs that it has signed for.
fn authority() -> (String, TlsAcceptor) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
    (authority.pem(), TlsAcceptor::from(Arc::new(config)))
}

/// Puts a backup `b` into a location with some certificates.
fn place(cluster: &Cluster, certificates: Value) {
    let store = cluster.server.store();
    for (kind, name) in [("BackupStorageLocation", "l"), ("Backup", "b")] {
        store.remove("velero.io/v1", kind, Some("velero"), name);
    }
    let mut storage = json!({"bucket": "b"});
    for (key, value) in certificates.as_object().unwrap() {
        storage[key] = value.clone();
    }
    for (kind, name, spec) in [
        (
            "BackupStorageLocation",
            "l",
            json!({"provider": "aws", "objectStorage": storage}),
        ),
        ("Backup", "b", json!({"storageLocation": "l"})),
    ] {
        let object = json!({"apiVersion": "velero.io/v1", "kind": kind,
            "metadata": {"name": name, "namespace": "velero"}, "spec": spec});
        store.seed_value(object).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_come_from_flag_config_file_and_location() {
    let cluster = Cluster::installed().await;
    let (pem, tls) = authority();
    give_out(&cluster, "whole", Some(tls)).await;
    let home = cluster.home.path();
    let file = home.join("ca.pem");
    std::fs::write(&file, &pem).unwrap();
    let file = file.to_str().unwrap();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "certs", "namespace": "velero"},
        "stringData": {"ca": pem}});
    cluster.server.store().seed_value(secret).unwrap();
    let inline =
        serde_json::to_value(velero_core::api::ByteString(pem.clone().into_bytes())).unwrap();
    let (nothing, inline) = (json!({}), json!({"caCert": inline}));
    let reference = |key: &str| json!({"caCertRef": {"name": "certs", "key": key}});
    let target = home.join("b.tgz");
    let download = async |flags: &str| {
        let line = format!("backup download b --force -o {} {flags}", target.display());
        cluster.velero(line.trim_end()).await
    };
    let hint = "; use --cacert, or --insecure-skip-tls-verify to take any certificate\n";
    let unread = "warning: cannot read the CA bundle /no/such: No such file or directory (os error 2); \
                  the certificates of the location are used\n";
    let no_key = "warning: the certificates of backup storage location \"l\" cannot be read: the secret \"certs\" has no key \
                  \"other\"\n";
    for (certificates, flags, code, stderr) in [
        (&nothing, String::new(), 1, hint),
        (&nothing, "--insecure-skip-tls-verify".to_owned(), 0, ""),
        (&nothing, format!("--cacert {file}"), 0, ""),
        (&inline, String::new(), 0, ""),
        (&reference("ca"), String::new(), 0, ""),
        (&reference("other"), format!("--cacert {file}"), 0, no_key),
        (&inline, "--cacert /no/such".to_owned(), 0, unread),
        (
            &nothing,
            "--cacert /no/such".to_owned(),
            1,
            "cannot read the CA bundle /no/such: No such file or directory (os error 2)\n",
        ),
    ] {
        place(&cluster, certificates.clone());
        let ran = download(&flags).await;
        assert_eq!(ran.code, code, "{certificates} {flags}: {}", ran.stderr);
        assert!(
            ran.stderr.ends_with(stderr),
            "{certificates} {flags}: {}",
            ran.stderr
        );
        assert_eq!(ran.stderr.is_empty(), stderr.is_empty(), "{}", ran.stderr);
    }
    place(&cluster, nothing);
    std::fs::create_dir_all(home.join(".config/velero")).unwrap();
    let config = json!({"cacert": file}).to_string();
    std::fs::write(home.join(".config/velero/config.json"), config).unwrap();
    download("").await.exits(0);
    // The flag counts, and an empty one is none.
    let ran = download("--cacert=").await;
    assert!(
        ran.code == 1 && ran.stderr.ends_with(hint),
        "{}",
        ran.stderr
    );
}
