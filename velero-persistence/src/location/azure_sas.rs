//! Shared access signatures of Azure: the query that lets anybody read one blob for some time.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::hmac;

/// Version of the service whose rules the signature follows.
const VERSION: &str = "2020-12-06";

/// What is allowed: to read this blob, between these times.
pub(super) struct Grant<'a> {
    pub(super) account: &'a str,
    pub(super) container: &'a str,
    pub(super) key: &'a str,
    /// Times as `2026-01-02T03:04:05Z`.
    pub(super) start: String,
    pub(super) end: String,
    pub(super) https_only: bool,
}

/// Signs a grant with the key of the account, which is base64; `None` where it is not.
///
/// <https://learn.microsoft.com/rest/api/storageservices/create-service-sas>
pub(super) fn query(grant: &Grant<'_>, account_key: &str) -> Option<String> {
    let protocol = match grant.https_only {
        true => "https",
        false => "https,http",
    };
    let resource = format!("/blob/{}/{}/{}", grant.account, grant.container, grant.key);
    // Permission, times, resource, policy, address, protocol, version, kind, snapshot, scope, and five answer headers.
    let text = [
        "r",
        &grant.start,
        &grant.end,
        &resource,
        "",
        "",
        protocol,
        VERSION,
        "b",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
    ]
    .join("\n");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &BASE64.decode(account_key).ok()?);
    let signature = BASE64.encode(hmac::sign(&key, text.as_bytes()));
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("sv", VERSION)
        .append_pair("st", &grant.start)
        .append_pair("se", &grant.end)
        .append_pair("sr", "b")
        .append_pair("sp", "r")
        .append_pair("spr", protocol)
        .append_pair("sig", &signature)
        .finish();
    Some(query)
}
