//! Tokens for the key of a service account.
//!
//! Unlike reqsign's own way this honours the `token_uri` of the key's file, and a token serves until it ends.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use bytes::Bytes;
use reqsign_core::time::Timestamp;
use reqsign_core::{Context, Error, ProvideCredential, Result};
use reqsign_google::{Credential, Token};
use ring::rand::SystemRandom;
use ring::signature::RSA_PKCS1_SHA256;
use serde::Deserialize;

use super::gcp_settings::{ServiceAccount, key_pair};

/// What a token is for.
pub(super) const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";
/// Life of the request for a token, in seconds.
const LIFE: i64 = 3600;

/// Buys tokens with the key of a service account.
pub(super) struct KeyTokens(pub(super) ServiceAccount);

impl fmt::Debug for KeyTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyTokens")
            .field(&self.0.client_email)
            .finish()
    }
}

impl ProvideCredential for KeyTokens {
    type Credential = Credential;

    async fn provide_credential(&self, ctx: &Context) -> Result<Option<Credential>> {
        #[derive(Deserialize)]
        struct Answer {
            access_token: String,
            #[serde(default)]
            expires_in: u64,
        }
        let now = Timestamp::now();
        let claim = claim(&self.0, now.as_second())
            .ok_or_else(|| Error::credential_invalid("the private key signs nothing"))?;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
            .append_pair("assertion", &claim)
            .finish();
        let request = http::Request::post(&self.0.token_uri)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Bytes::from(form))
            .map_err(|_| Error::config_invalid("the token_uri of the credentials is no URL"))?;
        let answer = ctx.http_send(request).await?;
        if !answer.status().is_success() {
            let text = format!(
                "the key of {} gives no token: HTTP status {}",
                self.0.client_email,
                answer.status()
            );
            return Err(Error::credential_invalid(text));
        }
        let answer: Answer = serde_json::from_slice(answer.body())
            .map_err(|_| Error::unexpected("the answer to a request for a token is no token"))?;
        Ok(Some(Credential::with_token(Token {
            access_token: answer.access_token,
            expires_at: Some(now + Duration::from_secs(answer.expires_in)),
        })))
    }
}

/// The signed request for a token (RFC 7523).
fn claim(account: &ServiceAccount, now: i64) -> Option<String> {
    let claims = serde_json::json!({
        "iss": account.client_email,
        "scope": SCOPE,
        "aud": account.token_uri,
        "iat": now,
        "exp": now + LIFE,
    });
    let head = BASE64URL.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
    let text = format!("{head}.{}", BASE64URL.encode(claims.to_string()));
    let key = key_pair(account)?;
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        text.as_bytes(),
        &mut signature,
    )
    .ok()?;
    Some(format!("{text}.{}", BASE64URL.encode(signature)))
}
