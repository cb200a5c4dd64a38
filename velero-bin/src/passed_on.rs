//! Addresses of files that the operator passes on, behind the API server's proxy of a Service.
//!
//! They name the API server as Pods know it; who asks from elsewhere takes its path only.

use url::Url;

/// The API server, to those within the cluster.
const HOST: &str = "kubernetes.default.svc";

/// The Service of the operator, and the name of its port.
pub(crate) const SERVICE: &str = "velero-downloads";
pub(crate) const PORT: &str = "http";

/// The address of a path of the operator in a namespace.
pub(crate) fn url(namespace: &str, path: &str) -> String {
    format!("https://{HOST}/api/v1/namespaces/{namespace}/services/{SERVICE}:{PORT}/proxy{path}")
}

/// The path to ask the API server for, if that is where an address leads.
pub(crate) fn path_of(url: &Url) -> Option<&str> {
    let path = url.path();
    let (_, rest) = path.strip_prefix("/api/v1/namespaces/")?.split_once('/')?;
    let is_proxied = rest.starts_with(&format!("services/{SERVICE}:{PORT}/proxy/"));
    (url.scheme() == "https" && url.host_str() == Some(HOST) && is_proxied).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_operator_are_asked_of_the_api_server() {
        let own = url("velero", "/BackupLog/b/600/ab");
        let path =
            "/api/v1/namespaces/velero/services/velero-downloads:http/proxy/BackupLog/b/600/ab";
        assert_eq!(path_of(&Url::parse(&own).unwrap()), Some(path));
        for other in [
            format!("https://s3.example.com{path}"),
            format!("http://kubernetes.default.svc{path}"),
            "https://kubernetes.default.svc/api/v1/namespaces/velero/secrets/a".to_owned(),
            own.replace("/services/", "/secrets/services/"),
            own.replace("/proxy/", "/proxy/../../"),
        ] {
            assert_eq!(path_of(&Url::parse(&other).unwrap()), None, "{other}");
        }
    }
}
