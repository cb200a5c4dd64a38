//! What a check works with.

use std::time::Duration;

use http::{Method, Request, header};
use serde_json::{Value, json};

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// A call failed that should not.
    #[error("{call} failed: {message}")]
    Call {
        /// Method and path.
        call: String,
        /// What the client said.
        message: String,
    },
    /// The server answered something else than it should.
    #[error("{0}")]
    Unexpected(String),
    /// The check did not end in time.
    #[error("not done after {seconds} s")]
    Late {
        /// How long it was waited.
        seconds: u64,
    },
}

/// An error answer.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) code: u64,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) body: Value,
}

/// A client and the namespace of one check.
#[derive(Clone)]
pub struct Cx {
    pub(super) client: kube::Client,
    /// Also a prefix for names of objects outside namespaces.
    pub(super) namespace: String,
}

impl std::fmt::Debug for Cx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cx")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// The parts of a patch request.
#[derive(Debug, Clone, Copy)]
pub(super) enum PatchKind {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl PatchKind {
    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json-patch+json",
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
            Self::Apply => "application/apply-patch+yaml",
        }
    }
}

impl Cx {
    pub(super) async fn enter(client: kube::Client, check: &str) -> Result<Self, Failure> {
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let name: String = check.replace('_', "-").chars().take(40).collect();
        let cx = Self {
            client,
            namespace: format!("cf-{name}-{}", &unique[..6]),
        };
        cx.create(
            "/api/v1/namespaces",
            json!({"metadata": {"name": cx.namespace}}),
        )
        .await?;
        // The controllers of a real cluster take a moment to furnish a namespace.
        let account = cx.path("/api/v1", "serviceaccounts/default");
        cx.until("the default ServiceAccount", || async {
            Ok(cx.try_get(&account).await?.is_some())
        })
        .await?;
        Ok(cx)
    }

    pub(super) async fn leave(&self) {
        let path = format!("/api/v1/namespaces/{}", self.namespace);
        if let Err(error) = self.delete(&path, json!({})).await {
            tracing::debug!(namespace = self.namespace, %error, "namespace of a check not deleted");
        }
    }

    /// The path of something in the namespace of the check.
    pub(super) fn path(&self, base: &str, rest: &str) -> String {
        format!("{base}/namespaces/{}/{rest}", self.namespace)
    }

    /// Sends a request; the answer is the code and the JSON body, whatever the code.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(header::HeaderName, &str)],
        body: Option<&Value>,
    ) -> Result<(u16, Value), Failure> {
        let bytes = body
            .map(|b| serde_json::to_vec(b).unwrap_or_default())
            .unwrap_or_default();
        let mut headers = headers.to_vec();
        if body.is_some()
            && !headers
                .iter()
                .any(|(name, _)| *name == header::CONTENT_TYPE)
        {
            headers.push((header::CONTENT_TYPE, "application/json"));
        }
        self.send_bytes(method, path, &headers, bytes).await
    }

    /// Sends a request with any body.
    pub(super) async fn send_bytes(
        &self,
        method: Method,
        path: &str,
        headers: &[(header::HeaderName, &str)],
        body: Vec<u8>,
    ) -> Result<(u16, Value), Failure> {
        let call = format!("{method} {path}");
        let failed = |message: String| Failure::Call {
            call: call.clone(),
            message,
        };
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let request = request
            .body(kube::client::Body::from(body))
            .map_err(|e| failed(e.to_string()))?;
        let response = self
            .client
            .send(request)
            .await
            .map_err(|e| failed(e.to_string()))?;
        let code = response.status().as_u16();
        let body = response
            .into_body()
            .collect_bytes()
            .await
            .map_err(|e| failed(e.to_string()))?;
        let value = serde_json::from_slice(&body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
        Ok((code, value))
    }

    async fn want_ok(
        &self,
        method: Method,
        path: &str,
        headers: &[(header::HeaderName, &str)],
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let (code, value) = self.send(method.clone(), path, headers, body).await?;
        if code < 300 {
            return Ok(value);
        }
        Err(Failure::Call {
            call: format!("{method} {path}"),
            message: format!("{code} {}", value["message"]),
        })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.want_ok(Method::GET, path, &[], None).await
    }

    pub(super) async fn get_as(&self, path: &str, accept: &str) -> Result<Value, Failure> {
        self.want_ok(Method::GET, path, &[(header::ACCEPT, accept)], None)
            .await
    }

    /// The object, or nothing when the server says 404.
    pub(super) async fn try_get(&self, path: &str) -> Result<Option<Value>, Failure> {
        let (code, value) = self.send(Method::GET, path, &[], None).await?;
        match code {
            404 => Ok(None),
            200 => Ok(Some(value)),
            _ => Err(Failure::Call {
                call: format!("GET {path}"),
                message: format!("{code} {value}"),
            }),
        }
    }

    pub(super) async fn create(&self, path: &str, body: Value) -> Result<Value, Failure> {
        self.want_ok(Method::POST, path, &[], Some(&body)).await
    }

    pub(super) async fn update(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.want_ok(Method::PUT, path, &[], Some(body)).await
    }

    pub(super) async fn patch(
        &self,
        path: &str,
        kind: PatchKind,
        body: Value,
    ) -> Result<Value, Failure> {
        self.want_ok(
            Method::PATCH,
            path,
            &[(header::CONTENT_TYPE, kind.content_type())],
            Some(&body),
        )
        .await
    }

    pub(super) async fn delete(&self, path: &str, body: Value) -> Result<Value, Failure> {
        self.want_ok(Method::DELETE, path, &[], Some(&body)).await
    }

    /// Sends a request that must be refused with this code.
    pub(super) async fn refused(
        &self,
        code: u16,
        method: Method,
        path: &str,
        body: Value,
    ) -> Result<Refused, Failure> {
        self.refused_as(code, method, path, "application/json", body)
            .await
    }

    pub(super) async fn refused_patch(
        &self,
        code: u16,
        path: &str,
        kind: PatchKind,
        body: Value,
    ) -> Result<Refused, Failure> {
        self.refused_as(code, Method::PATCH, path, kind.content_type(), body)
            .await
    }

    async fn refused_as(
        &self,
        code: u16,
        method: Method,
        path: &str,
        content_type: &str,
        body: Value,
    ) -> Result<Refused, Failure> {
        let sent = (!body.is_null()).then_some(&body);
        let (got, value) = self
            .send(
                method.clone(),
                path,
                &[(header::CONTENT_TYPE, content_type)],
                sent,
            )
            .await?;
        if got != code {
            return Err(Failure::Unexpected(format!(
                "{method} {path} answered {got} {value}, want {code}"
            )));
        }
        Ok(Refused {
            code: value["code"].as_u64().unwrap_or_default(),
            reason: value["reason"].as_str().unwrap_or_default().to_owned(),
            message: value["message"].as_str().unwrap_or_default().to_owned(),
            body: value,
        })
    }

    /// Creates a ConfigMap with one key.
    pub(super) async fn config_map(&self, name: &str) -> Result<Value, Failure> {
        let body = json!({"metadata": {"name": name, "labels": {"app": name}}, "data": {"a": "1"}});
        self.create(&self.path("/api/v1", "configmaps"), body).await
    }

    /// Waits until a condition holds, at most 30 s.
    pub(super) async fn until<F, Fut>(&self, what: &str, mut condition: F) -> Result<(), Failure>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<bool, Failure>>,
    {
        for _ in 0..600 {
            if condition().await? {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(Failure::Unexpected(format!(
            "{what} did not come within 30 s"
        )))
    }

    /// Waits until an object is gone.
    pub(super) async fn gone(&self, path: &str) -> Result<(), Failure> {
        self.until(&format!("the end of {path}"), || async {
            Ok(self.try_get(path).await?.is_none())
        })
        .await
    }
}
