//! Prints the CustomResourceDefinitions of all kinds as YAML documents, for `kubectl apply -f -`.

use std::io::{self, Write};

use velero_core::api::crd;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = io::stdout().lock();
    for crd in crd::all() {
        // By way of a JSON value: kind and version of the API come first, the rest in alphabetical order.
        let value = serde_json::to_value(&crd)?;
        writeln!(out, "---\n{}", serde_saphyr::to_string(&value)?.trim_end())?;
    }
    Ok(())
}
