//! ConfigMaps, small and large.

use super::Body;

/// How many large ones there are.
pub(super) const LARGE: usize = 1_000;
/// Payload of a small one, in bytes; with the rest of the object about 1 KB.
const PAYLOAD: usize = 900;
/// Payload of a large one, in bytes: nearly as much as a ConfigMap may hold.
const LARGE_PAYLOAD: usize = 1_000_000;

/// A ConfigMap of 1 KB.
pub(super) fn small(space: &str, n: usize) -> Body {
    let filler = "the quick brown fox jumps over the lazy dog; ".repeat(PAYLOAD / 45);
    let json = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"map-{n:05}","labels":{{"app":"bench","tier":"t{}"}}}},"data":{{"number":"{n}","text":"{filler}"}}}}"#,
        n % 7
    );
    Body::new("api/v1", space, "configmaps", json)
}

/// A ConfigMap of 1 MB that shrinks by a quarter when it is packed, as encoded binaries do.
pub(super) fn large(space: &str, n: usize) -> Body {
    let noise = noise(n as u64 + 1, LARGE_PAYLOAD);
    let json = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"large-{n:05}"}},"data":{{"blob":"{noise}"}}}}"#
    );
    Body::new("api/v1", space, "configmaps", json)
}

/// Letters of the base64 alphabet in no order; the same for the same seed.
fn noise(seed: u64, length: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::with_capacity(length + 10);
    while text.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        for shift in (4..64).step_by(6) {
            text.push(char::from(LETTERS[((state >> shift) & 63) as usize]));
        }
    }
    text.truncate(length);
    text
}
