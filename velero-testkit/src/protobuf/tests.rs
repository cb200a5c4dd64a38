//! Bodies that Go wrote, bodies that are damaged, and what Go's code does in the corners.

use std::path::PathBuf;

use serde_json::json;

use super::reader::Tag;
use super::*;

/// A body and the same object in JSON, both written by Go.
struct Written {
    name: String,
    expected: Expected,
    body: Vec<u8>,
    json: Value,
}

fn written() -> Vec<Written> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/protobuf");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "pb") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let json: Value =
            serde_json::from_slice(&std::fs::read(path.with_extension("json")).unwrap()).unwrap();
        let mut parts: Vec<&str> = name.rsplitn(3, '.').collect();
        parts[2] = match (parts[0], parts[2].split('.').next().unwrap()) {
            ("DeleteOptions", _) => "meta",
            (_, package) => package,
        };
        parts.reverse();
        let api_version = json["apiVersion"].as_str().unwrap();
        all.push(Written {
            expected: Expected::named(api_version, &parts.join(".")).expect(&name),
            body: std::fs::read(&path).unwrap(),
            json,
            name,
        });
    }
    assert!(all.len() > 60, "{} bodies", all.len());
    all
}

#[test]
fn bodies_of_every_kind_are_the_json_of_go() {
    let mut different = Vec::new();
    for mut one in written() {
        let found = decode(&one.body, &one.expected)
            .map_err(|e| e.message)
            .expect(&one.name);
        let mut problems = Problems::default();
        normalise(builtin(), one.expected.ty, &mut one.json, &mut problems);
        assert!(problems.unknown.is_empty(), "{}: {problems:?}", one.name);
        if found != one.json {
            different.push(format!("{}:\n  {found}\n  {}", one.name, one.json));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn names_are_found() {
    for one in written() {
        let want = one.json["metadata"]["name"].as_str().map(str::to_owned);
        if one.expected.kind != "DeleteOptions" {
            assert_eq!(name(&one.body), want, "{}", one.name);
        }
    }
    assert_eq!(name(b"k8s\0"), None);
    assert_eq!(name(b"{}"), None);
}

/// A generator of numbers, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).unwrap()
    }

    fn damage(&mut self, body: &mut Vec<u8>) {
        let at = self.roll(body.len());
        match self.roll(6) {
            0 => body[at] ^= 1 << self.roll(8),
            1 => body[at] = u8::try_from(self.roll(256)).unwrap(),
            2 => body.truncate(at.max(1)),
            3 => body.insert(at, u8::try_from(self.roll(256)).unwrap()),
            4 => {
                body.remove(at);
                if body.is_empty() {
                    body.push(0);
                }
            }
            _ => {
                let piece = body[at..].to_vec();
                body.extend_from_slice(&piece[..piece.len().min(64)]);
            }
        }
    }
}

#[test]
fn damaged_bodies_are_refused_with_a_reason() {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let (mut taken, mut refused) = (0, 0);
    for one in written() {
        for _ in 0..20 {
            let mut body = one.body.clone();
            for _ in 0..=dice.roll(4) {
                dice.damage(&mut body);
            }
            match decode(&body, &one.expected) {
                Ok(tree) => {
                    assert!(tree.is_object());
                    assert!(nesting(&tree) <= DEPTH);
                    taken += 1;
                }
                Err(error) => {
                    assert_eq!(error.code, 400, "{}: {}", one.name, error.message);
                    assert_eq!(error.reason, "BadRequest");
                    assert!(!error.message.is_empty());
                    refused += 1;
                }
            }
        }
    }
    assert!(
        refused > 300 && taken > 50,
        "{taken} taken, {refused} refused"
    );
}

#[test]
fn noise_is_refused() {
    let mut dice = Dice(42);
    let expected = Expected::named("v1", "core.v1.Pod").unwrap();
    for _ in 0..20_000 {
        let mut body = MAGIC.to_vec();
        let length = dice.roll(48);
        body.extend((0..length).map(|_| u8::try_from(dice.roll(256)).unwrap()));
        if let Err(error) = decode(&body, &expected) {
            assert_eq!(error.code, 400);
        }
    }
}

/// A field whose value is bytes.
fn bytes(number: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = value.len();
    while length >= 0x80 {
        out.push(u8::try_from(length & 0x7F).unwrap() | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap());
    out.extend_from_slice(value);
    out
}

fn object(name: &str, data: &[u8]) -> Result<Value, Malformed> {
    Decoder::new(builtin()).object(builtin().named(name).unwrap(), data)
}

#[test]
fn corners_of_the_wire() {
    // A number of 32 bits keeps the lower half; lists of numbers may be packed or not.
    let most: &[u8] = &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F];
    let spec = [&[0x08], most].concat();
    assert_eq!(
        object("apps.v1.DeploymentSpec", &spec),
        Ok(json!({"replicas": -1}))
    );
    let seconds = [&[0x20], most].concat();
    assert_eq!(
        object("core.v1.PodSpec", &seconds),
        Ok(json!({"terminationGracePeriodSeconds": 4_294_967_295_i64}))
    );
    let packed = [bytes(4, &[1, 2]), vec![0x20, 3]].concat();
    assert_eq!(
        object("core.v1.PodSecurityContext", &packed),
        Ok(json!({"supplementalGroups": [1, 2, 3]}))
    );
    // An entry without key and value; bytes that are no text; a field nobody knows.
    let data = [
        bytes(2, b""),
        bytes(2, &[bytes(1, b"k"), bytes(2, b"\xFF")].concat()),
    ]
    .concat();
    let data = [data, bytes(15, b"?")].concat();
    assert_eq!(
        object("core.v1.ConfigMap", &data),
        Ok(json!({"data": {"": "", "k": "\u{FFFD}"}}))
    );
    // A message in two pieces.
    let pieces = [bytes(1, &bytes(1, b"a")), bytes(1, &bytes(3, b"b"))].concat();
    assert_eq!(
        object("core.v1.ConfigMap", &pieces),
        Ok(json!({"metadata": {"name": "a", "namespace": "b"}}))
    );
    // Go's zero time.
    assert_eq!(
        object("meta.v1.ObjectMeta", &bytes(8, b"")),
        Ok(json!({"creationTimestamp": null}))
    );
}

#[test]
fn values_that_json_cannot_hold_are_named() {
    let text = |name: &str, data: &[u8]| object(name, data).unwrap_err().to_string();
    let quantity = bytes(
        8,
        &bytes(
            1,
            &[bytes(1, b"cpu"), bytes(2, &bytes(1, b"lots"))].concat(),
        ),
    );
    let container = text("core.v1.Container", &quantity);
    assert!(
        container.starts_with("quantities must match"),
        "{container}"
    );
    let port = bytes(4, &[0x08, 7]);
    assert_eq!(
        text("core.v1.ServicePort", &port),
        "field targetPort: impossible IntOrString.Type 7, want 0 or 1"
    );
    let data = text("apps.v1.ControllerRevision", &bytes(2, &bytes(1, b"{")));
    assert!(data.starts_with("field data: holds no JSON"), "{data}");
    let late = [&[0x08], [0xFF; 8].as_slice(), &[0x7F]].concat();
    let time = text("meta.v1.ObjectMeta", &bytes(8, &late));
    assert!(
        time.starts_with("field creationTimestamp: no time is"),
        "{time}"
    );
    let number = [&[0x49], f64::NAN.to_le_bytes().as_slice()].concat();
    assert_eq!(
        text("apiextensions.v1.JSONSchemaProps", &number),
        "field maximum: NaN is no number of JSON"
    );
}

#[test]
fn nesting_has_a_limit() {
    let schema = "apiextensions.v1.JSONSchemaProps";
    let not = |depth: usize| {
        // Field 28, `not`, has a tag of two bytes.
        (0..depth).fold(Vec::new(), |inner, _| {
            let mut out = vec![0xE2, 0x01];
            out.extend_from_slice(&bytes(0, &inner)[1..]);
            out
        })
    };
    assert!(object(schema, &not(50)).is_ok());
    assert_eq!(object(schema, &not(DEPTH)), Err(Malformed::Deep(DEPTH)));
    assert_eq!(object(schema, &not(5000)), Err(Malformed::Deep(DEPTH)));
    let groups = vec![0x7B; 3_000_000];
    assert_eq!(object("core.v1.ConfigMap", &groups), Err(Malformed::Short));
}

#[test]
fn another_kind_is_left_to_be_refused() {
    let kind = [bytes(1, b"v1"), bytes(2, b"Secret")].concat();
    let body = [MAGIC.to_vec(), bytes(1, &kind), bytes(2, b"\xFF")].concat();
    let expected = Expected::named("v1", "core.v1.ConfigMap").unwrap();
    let tree = decode(&body, &expected).map_err(|e| e.message).unwrap();
    assert_eq!(tree, json!({"apiVersion": "v1", "kind": "Secret"}));
}

#[test]
fn fields_in_the_wrong_form_are_named_as_in_go() {
    let tag = Tag {
        number: 1,
        wire: wire::VARINT,
    };
    let text = |field: &str| tag.want(wire::BYTES, field).unwrap_err().to_string();
    assert_eq!(
        text("apiVersion"),
        "proto: wrong wireType = 0 for field ApiVersion"
    );
    assert_eq!(
        text("metadata"),
        "proto: wrong wireType = 0 for field ObjectMeta"
    );
}
