//! Bodies in protobuf.

use http::{Method, header};
use serde_json::{Value, json};

use super::definitions::Defined;
use super::{Cx, Failure, ensure, same, suite};

suite!(
    protobuf_bodies_make_config_maps,
    protobuf_bodies_make_secrets,
    protobuf_bodies_make_services,
    protobuf_bodies_make_deployments,
    protobuf_bodies_replace_objects,
    protobuf_bodies_scale,
    protobuf_bodies_are_reviewed,
    protobuf_options_delete,
    protobuf_bodies_are_checked,
    protobuf_bodies_have_the_kind_of_the_path,
    protobuf_makes_no_custom_resources,
    bodies_have_a_limit,
);

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// What clients with protobuf send.
const ACCEPT: &str = "application/vnd.kubernetes.protobuf,application/json";

/// Writes a message field by field.
#[derive(Debug, Clone, Default)]
struct Message(Vec<u8>);

impl Message {
    fn new() -> Self {
        Self::default()
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    fn int(mut self, number: u64, value: u64) -> Self {
        self.varint(number << 3);
        self.varint(value);
        self
    }

    fn bytes(mut self, number: u64, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        self.varint(number << 3 | 2);
        self.varint(u64::try_from(value.len()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(value);
        self
    }

    /// An entry of a map from strings to strings, bytes or messages.
    fn entry(self, number: u64, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.bytes(number, Self::new().bytes(1, key).bytes(2, value))
    }

    /// The message as the body of a request.
    fn body(self, api_version: &str, kind: &str) -> Vec<u8> {
        let kind = Self::new().bytes(1, api_version).bytes(2, kind);
        let unknown = Self::new().bytes(1, kind).bytes(2, self);
        let rest = unknown.bytes(3, "").bytes(4, "");
        [b"k8s\0".as_slice(), &rest.0].concat()
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn metadata(name: &str) -> Message {
    Message::new().bytes(1, name).entry(11, "app", "web")
}

/// Sends a body in protobuf that must be taken.
async fn send(cx: &Cx, method: Method, path: &str, body: Vec<u8>) -> Result<Value, Failure> {
    let (code, value) = answer(cx, method.clone(), path, body).await?;
    ensure!(code < 300, "{method} {path} answered {code} {value}");
    Ok(value)
}

async fn answer(
    cx: &Cx,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<(u16, Value), Failure> {
    let headers = [
        (header::CONTENT_TYPE, PROTOBUF),
        (header::ACCEPT, "application/json"),
    ];
    cx.send_bytes(method, path, &headers, body).await
}

/// Creates an object once in protobuf and once in JSON, under another name: all but the metadata must be the same, and
/// of the metadata the labels.
async fn both(cx: &Cx, path: &str, body: Vec<u8>, same_in_json: Value) -> Result<Value, Failure> {
    // The answers, not what is read later: controllers may have written by then.
    let mut one = send(cx, Method::POST, path, body).await?;
    let mut two = cx.create(path, same_in_json).await?;
    same!(
        one["metadata"]["labels"],
        two["metadata"]["labels"],
        "labels"
    );
    let fields = |tree: &Value| tree["metadata"]["managedFields"][0]["fieldsV1"].clone();
    same!(fields(&one), fields(&two), "owned fields");
    for tree in [&mut one, &mut two] {
        for part in ["metadata", "status"] {
            tree[part] = Value::Null;
        }
    }
    same!(one, two, "object sent in protobuf");
    Ok(one)
}

async fn protobuf_bodies_make_config_maps(cx: Cx) -> Result<(), Failure> {
    let body = Message::new()
        .bytes(1, metadata("one"))
        .entry(2, "a", "1")
        .entry(2, "empty", "")
        .entry(3, "bytes", [0, 1, 255])
        .int(4, 1);
    let json = json!({
        "metadata": {"name": "two", "labels": {"app": "web"}}, "data": {"a": "1", "empty": ""},
        "binaryData": {"bytes": "AAH/"}, "immutable": true,
    });
    let path = cx.path("/api/v1", "configmaps");
    both(&cx, &path, body.body("v1", "ConfigMap"), json).await?;
    // Clients with protobuf take JSON as well.
    let headers = [(header::ACCEPT, ACCEPT)];
    let one = format!("{path}/one");
    let (code, _) = cx.send(Method::GET, &one, &headers, None).await?;
    same!(code, 200, "code");
    Ok(())
}

async fn protobuf_bodies_make_secrets(cx: Cx) -> Result<(), Failure> {
    let body = Message::new()
        .bytes(1, metadata("one"))
        .entry(2, "key", "value")
        .bytes(3, "example.io/own")
        .entry(4, "text", "plain");
    let json = json!({
        "metadata": {"name": "two", "labels": {"app": "web"}}, "type": "example.io/own",
        "data": {"key": "dmFsdWU="}, "stringData": {"text": "plain"},
    });
    let path = cx.path("/api/v1", "secrets");
    both(&cx, &path, body.body("v1", "Secret"), json).await?;
    Ok(())
}

async fn protobuf_bodies_make_services(cx: Cx) -> Result<(), Failure> {
    let port = |name: &str, number: u64, target: Message| {
        Message::new()
            .bytes(1, name)
            .int(3, number)
            .bytes(4, target)
    };
    let named = Message::new().int(1, 1).bytes(3, "http");
    let spec = Message::new()
        .bytes(1, port("web", 80, named))
        .bytes(1, port("more", 81, Message::new().int(2, 8081)))
        .entry(2, "app", "web")
        .bytes(3, "None");
    let body = Message::new().bytes(1, metadata("one")).bytes(2, spec);
    let json = json!({
        "metadata": {"name": "two", "labels": {"app": "web"}},
        "spec": {"clusterIP": "None", "selector": {"app": "web"}, "ports": [
            {"name": "web", "port": 80, "targetPort": "http"}, {"name": "more", "port": 81, "targetPort": 8081},
        ]},
    });
    let path = cx.path("/api/v1", "services");
    both(&cx, &path, body.body("v1", "Service"), json).await?;
    Ok(())
}

async fn protobuf_bodies_make_deployments(cx: Cx) -> Result<(), Failure> {
    let resources = Message::new().entry(2, "memory", Message::new().bytes(1, "1024Mi"));
    let container = Message::new()
        .bytes(1, "c")
        .bytes(2, "a:1")
        .bytes(8, resources)
        .int(18, 1);
    let volume = |name: &str, source: Message| Message::new().bytes(1, name).bytes(2, source);
    let pod = Message::new()
        .bytes(
            1,
            volume(
                "host",
                Message::new().bytes(1, Message::new().bytes(1, "/x")),
            ),
        )
        .bytes(1, volume("empty", Message::new().bytes(2, Message::new())))
        .bytes(2, container);
    let template = Message::new()
        .bytes(1, Message::new().entry(11, "app", "web"))
        .bytes(2, pod);
    let spec = Message::new()
        .int(1, 0)
        .bytes(2, Message::new().entry(1, "app", "web"))
        .bytes(3, template);
    let body = Message::new().bytes(1, metadata("one")).bytes(2, spec);
    let json = json!({
        "metadata": {"name": "two", "labels": {"app": "web"}},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                "containers": [{
                    "name": "c", "image": "a:1", "tty": true, "resources": {"requests": {"memory": "1024Mi"}},
                }],
                "volumes": [{"name": "host", "hostPath": {"path": "/x"}}, {"name": "empty", "emptyDir": {}}],
            }},
        },
    });
    let path = cx.path("/apis/apps/v1", "deployments");
    let made = both(&cx, &path, body.body("apps/v1", "Deployment"), json).await?;
    let memory =
        &made["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["memory"];
    same!(*memory, "1Gi", "memory");
    Ok(())
}

async fn protobuf_bodies_replace_objects(cx: Cx) -> Result<(), Failure> {
    let made = cx.config_map("one").await?;
    let path = cx.path("/api/v1", "configmaps/one");
    let version = made["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default();
    let body = Message::new()
        .bytes(1, metadata("one").bytes(6, version))
        .entry(2, "b", "2")
        .body("v1", "ConfigMap");
    let changed = send(&cx, Method::PUT, &path, body.clone()).await?;
    same!(changed["data"], json!({"b": "2"}), "data");
    let (code, refused) = answer(&cx, Method::PUT, &path, body).await?;
    same!(code, 409, "code of a second update from the same version");
    same!(refused["reason"], "Conflict", "reason");
    Ok(())
}

async fn protobuf_bodies_scale(cx: Cx) -> Result<(), Failure> {
    let body = json!({"metadata": {"name": "web"}, "spec": {
        "replicas": 0, "paused": true, "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "a:1"}]},
        },
    }});
    cx.create(&cx.path("/apis/apps/v1", "deployments"), body)
        .await?;
    let path = cx.path("/apis/apps/v1", "deployments/web");
    let names = Message::new().bytes(1, "web").bytes(3, &cx.namespace);
    let scale = Message::new()
        .bytes(1, names)
        .bytes(2, Message::new().int(1, 3));
    let body = scale.body("autoscaling/v1", "Scale");
    let answer = send(&cx, Method::PUT, &format!("{path}/scale"), body).await?;
    same!(answer["kind"], "Scale", "kind");
    same!(cx.get(&path).await?["spec"]["replicas"], 3, "replicas");
    Ok(())
}

async fn protobuf_bodies_are_reviewed(cx: Cx) -> Result<(), Failure> {
    let attributes = Message::new()
        .bytes(1, &cx.namespace)
        .bytes(2, "get")
        .bytes(5, "pods");
    let spec = Message::new().bytes(1, attributes);
    let body = Message::new().bytes(2, spec);
    let answer = send(
        &cx,
        Method::POST,
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        body.body("authorization.k8s.io/v1", "SelfSubjectAccessReview"),
    )
    .await?;
    same!(answer["status"]["allowed"], true, "allowed");
    let want = json!({"namespace": cx.namespace, "verb": "get", "resource": "pods"});
    same!(answer["spec"]["resourceAttributes"], want, "attributes");
    Ok(())
}

async fn protobuf_options_delete(cx: Cx) -> Result<(), Failure> {
    let made = cx.config_map("one").await?;
    let path = cx.path("/api/v1", "configmaps/one");
    let options = |uid: &str| {
        let preconditions = Message::new().bytes(1, uid);
        let policy = Message::new()
            .bytes(2, preconditions)
            .bytes(4, "Background");
        policy.body("v1", "DeleteOptions")
    };
    let (code, _) = answer(&cx, Method::DELETE, &path, options("other")).await?;
    same!(code, 409, "code with another uid");
    let uid = made["metadata"]["uid"].as_str().unwrap_or_default();
    send(&cx, Method::DELETE, &path, options(uid)).await?;
    cx.gone(&path).await?;
    cx.config_map("two").await?;
    let path = cx.path("/api/v1", "configmaps/two");
    let body = metadata("two").body("v1", "ConfigMap");
    let (code, _) = answer(&cx, Method::DELETE, &path, body).await?;
    same!(code, 400, "code with another kind");
    Ok(())
}

/// Bodies that are no ConfigMap: what they are, their bytes, how the refusal begins.
fn broken_bodies() -> Vec<(&'static str, Vec<u8>, String)> {
    let whole = Message::new()
        .bytes(1, metadata("one"))
        .body("v1", "ConfigMap");
    let cannot = "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: ";
    let unrecognised = "the object provided is unrecognized (must be of type ConfigMap): ";
    vec![
        (
            "no bytes",
            Vec::new(),
            format!("{unrecognised}empty data (<empty>)"),
        ),
        (
            "the magic bytes",
            b"k8s\0".to_vec(),
            format!("{unrecognised}empty body (6b387300)"),
        ),
        (
            "JSON",
            br#"{"metadata":{"name":"one"}}"#.to_vec(),
            format!(
                "{unrecognised}provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] ({{\"metadata\":{{\"name\":\"one\"}}}})"
            ),
        ),
        (
            "a piece",
            whole[..40].to_vec(),
            format!("{unrecognised}unexpected EOF (6b3873000a0f0a02763112 ...)"),
        ),
        (
            "a number for the metadata",
            Message::new().int(1, 1).body("v1", "ConfigMap"),
            format!("{cannot}proto: wrong wireType = 0 for field ObjectMeta"),
        ),
        (
            "a message without its end",
            Message(vec![0x0A, 0x7F]).body("v1", "ConfigMap"),
            format!("{cannot}unexpected EOF"),
        ),
        (
            "a field without a number",
            Message(vec![0x02, 0x00]).body("v1", "ConfigMap"),
            format!("{cannot}proto: ConfigMap: illegal tag 0 (wire type 2)"),
        ),
    ]
}

async fn protobuf_bodies_are_checked(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/api/v1", "configmaps");
    for (what, body, want) in broken_bodies() {
        let (code, refused) = answer(&cx, Method::POST, &path, body).await?;
        same!(code, 400, what);
        same!(refused["reason"], "BadRequest", what);
        let message = refused["message"].as_str().unwrap_or_default();
        // Of a body that is no message the answer shows the first bytes; how many is no matter.
        let want = want.split("0a0f").next().unwrap_or_default();
        ensure!(
            message.starts_with(want),
            "{what}: {message:?}, want {want:?}"
        );
    }
    same!(cx.try_get(&format!("{path}/one")).await?, None, "object");
    Ok(())
}

async fn protobuf_bodies_have_the_kind_of_the_path(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/api/v1", "configmaps");
    let body = Message::new().bytes(1, metadata("one"));
    let other = body.clone().body("v1", "Secret");
    let (code, refused) = answer(&cx, Method::POST, &path, other).await?;
    same!(code, 400, "code of another kind");
    let message = refused["message"].as_str().unwrap_or_default();
    ensure!(
        message.contains("cannot be handled as a ConfigMap"),
        "{message:?}"
    );
    // Without a kind the path says it.
    let made = send(&cx, Method::POST, &path, body.body("", "")).await?;
    same!(made["kind"], "ConfigMap", "kind");
    Ok(())
}

async fn protobuf_makes_no_custom_resources(cx: Cx) -> Result<(), Failure> {
    let defined = Defined::new(&cx).await?;
    let body = Message::new().bytes(1, metadata("one"));
    let body = body.body(&format!("{}/v1", defined.group), "Gadget");
    // Kubernetes 1.36 breaks the connection off (its handler has no strict decoder for protobuf) unless told not to
    // look for unknown fields; then it says 400. The server in process names the media type.
    let path = format!("{}?fieldValidation=Ignore", defined.path);
    let (code, _) = answer(&cx, Method::POST, &path, body).await?;
    ensure!(matches!(code, 400 | 415), "code {code}, want 400 or 415");
    let one = format!("{}/one", defined.path);
    same!(cx.try_get(&one).await?, None, "object sent in protobuf");
    let headers = [(header::ACCEPT, "application/x-own")];
    let (code, refused) = cx.send(Method::GET, &defined.path, &headers, None).await?;
    same!(code, 406, "code of a list in an unknown form");
    same!(refused["reason"], "NotAcceptable", "reason");
    let message = refused["message"].as_str().unwrap_or_default();
    ensure!(
        message.starts_with("only the following media types are accepted: application/json"),
        "{message:?}"
    );
    let headers = [(header::ACCEPT, PROTOBUF)];
    let (code, _) = cx.send(Method::GET, &defined.path, &headers, None).await?;
    same!(code, 406, "code of a list in protobuf");
    // Options are of a built-in kind.
    cx.create(&defined.path, defined.gadget(json!({}))).await?;
    let options = Message::new().bytes(4, "Background");
    let options = options.body(&format!("{}/v1", defined.group), "DeleteOptions");
    send(&cx, Method::DELETE, &one, options).await?;
    cx.gone(&one).await?;
    defined.end().await
}

async fn bodies_have_a_limit(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/api/v1", "configmaps");
    let text = "x".repeat(3 * 1024 * 1024);
    let body = json!({"metadata": {"name": "one"}, "data": {"a": text}});
    let refused = cx.refused(413, Method::POST, &path, body).await?;
    same!(refused.reason, "RequestEntityTooLarge", "reason");
    same!(
        refused.message,
        "Request entity too large: limit is 3145728",
        "message"
    );
    Ok(())
}
