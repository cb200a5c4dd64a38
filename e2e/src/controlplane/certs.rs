//! Certificates of one control plane, and kubeconfigs made with them.
//!
//! rustls refuses X.509 v1, so every client certificate carries an extension.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::{Value, json};

/// Names under which the API server answers; 10.0.0.1 is the `kubernetes` Service.
const SERVER_NAMES: [&str; 6] = [
    "127.0.0.1",
    "localhost",
    "10.0.0.1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
];

/// A certificate authority that lives as long as its control plane.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes an authority and writes `ca.crt`, `server.crt`, `server.key`, `sa.key` and `sa.pub`.
    pub(super) fn create(dir: &Path) -> Result<Self> {
        let key = KeyPair::generate().context("cannot make a key")?;
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "velero-e2e");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let certificate = params
            .self_signed(&key)
            .context("cannot sign the authority")?
            .pem();
        let authority = Self {
            issuer: Issuer::new(params, key),
            certificate,
        };

        write(dir, "ca.crt", &authority.certificate)?;
        let names: Vec<String> = SERVER_NAMES.iter().map(|name| (*name).to_owned()).collect();
        let mut server = CertificateParams::new(names).context("cannot name the server")?;
        server
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let (certificate, key) = authority.sign(&server)?;
        write(dir, "server.crt", &certificate)?;
        write(dir, "server.key", &key)?;
        let accounts = KeyPair::generate().context("cannot make a key")?;
        write(dir, "sa.key", &accounts.serialize_pem())?;
        write(dir, "sa.pub", &accounts.public_key_pem())?;
        Ok(authority)
    }

    /// A kubeconfig for `user` in `group`, with everything embedded.
    pub(super) fn kubeconfig(
        &self,
        server: &str,
        user: &str,
        group: Option<&str>,
    ) -> Result<String> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params
                .distinguished_name
                .push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let (certificate, key) = self.sign(&params)?;
        let credentials = json!({
            "client-certificate-data": STANDARD.encode(certificate),
            "client-key-data": STANDARD.encode(key),
        });
        self.config(server, user, &credentials)
    }

    /// A kubeconfig for the bearer of a token.
    pub(super) fn kubeconfig_with_token(&self, server: &str, token: &str) -> Result<String> {
        self.config(server, "bearer", &json!({"token": token}))
    }

    fn config(&self, server: &str, user: &str, credentials: &Value) -> Result<String> {
        // JSON is YAML: every reader of kubeconfigs takes it.
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "e2e", "cluster": {
                "server": server,
                "certificate-authority-data": STANDARD.encode(&self.certificate),
            }}],
            "users": [{"name": user, "user": credentials}],
            "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": user}}],
            "current-context": "e2e",
        });
        serde_json::to_string_pretty(&config).context("cannot write a kubeconfig")
    }

    fn sign(&self, params: &CertificateParams) -> Result<(String, String)> {
        let key = KeyPair::generate().context("cannot make a key")?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .context("cannot sign a certificate")?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

fn write(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path = dir.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
