//! Objects that are too large for the store, though not for a request.

use http::Method;
use serde_json::{Value, json};

use super::definitions::Defined;
use super::{Cx, Failure, ensure, same, suite};

suite!(objects_have_to_fit_into_the_store);

/// A gadget with a text of so many KiB.
fn large(defined: &Defined, kib: usize) -> Value {
    defined.gadget(json!({"free": {"text": "x".repeat(kib * 1024)}}))
}

async fn objects_have_to_fit_into_the_store(cx: Cx) -> Result<(), Failure> {
    let defined = Defined::new(&cx).await?;
    let one = format!("{}/one", defined.path);
    for kib in [1600, 2000, 2100, 2900] {
        let body = large(&defined, kib);
        let refused = cx.refused(500, Method::POST, &defined.path, body).await?;
        says(kib, &refused.message)?;
        same!(refused.reason, "", "reason");
        same!(refused.code, 500, "code in the body");
    }
    same!(cx.try_get(&one).await?, None, "object that was refused");
    // Nothing is stored by a dry run.
    let path = format!("{}?dryRun=All", defined.path);
    cx.create(&path, large(&defined, 2900)).await?;

    let mut made = cx.create(&defined.path, large(&defined, 1500)).await?;
    // A name that is taken is found out by the store alone.
    let body = large(&defined, 2100);
    let refused = cx.refused(500, Method::POST, &defined.path, body).await?;
    says(2100, &refused.message)?;
    made["spec"]["free"]["more"] = "y".repeat(100 * 1024).into();
    let refused = cx.refused(500, Method::PUT, &one, made).await?;
    says(1600, &refused.message)?;
    let found = cx.get(&one).await?;
    ensure!(
        found.pointer("/spec/free/more").is_none(),
        "the update was carried out"
    );
    defined.end().await
}

fn says(kib: usize, message: &str) -> Result<(), Failure> {
    if kib < 2048 {
        same!(message, "etcdserver: request is too large", "message");
        return Ok(());
    }
    let (begin, end) = (
        "rpc error: code = ResourceExhausted desc = ",
        " vs. 2097152)",
    );
    ensure!(
        message.starts_with(begin)
            && message.contains("trying to send message larger than max (")
            && message.ends_with(end),
        "message: {message}"
    );
    Ok(())
}
