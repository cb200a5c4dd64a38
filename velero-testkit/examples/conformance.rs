//! Runs the checks of `velero_testkit::conformance` on the cluster of the current kubeconfig, or with `--in-process` on
//! a server of this crate. Further arguments choose checks by a part of their name.
#![allow(clippy::print_stdout)]

use velero_testkit::{ApiServer, conformance};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let in_process = words.iter().any(|w| w == "--in-process");
    words.retain(|w| w != "--in-process");
    let server = ApiServer::new();
    let client = if in_process {
        server.client()
    } else {
        kube::Client::try_default().await?
    };
    let mut failed = 0;
    for check in conformance::checks() {
        if !words.is_empty() && !words.iter().any(|w| check.name.contains(w)) {
            continue;
        }
        match check.run(client.clone()).await {
            Ok(()) => println!("ok     {}", check.name),
            Err(error) => {
                failed += 1;
                println!("FAILED {}: {error}", check.name);
            }
        }
    }
    if failed > 0 {
        return Err(format!("{failed} checks failed").into());
    }
    Ok(())
}
