//! Serves an empty cluster on a loopback port: `cargo run -p velero-testkit --example serve -- 8001`, then point
//! kubectl at `http://127.0.0.1:8001`. Ends with Ctrl-C.
#![allow(clippy::print_stdout)]

use std::net::SocketAddr;

use velero_testkit::{ApiServer, Controllers};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port: u16 = std::env::args().nth(1).map_or(Ok(0), |p| p.parse())?;
    let server = ApiServer::builder().controllers(Controllers::All).build();
    let serving = server
        .serve(SocketAddr::from(([127, 0, 0, 1], port)))
        .await?;
    println!("{}", serving.kubeconfig_yaml());
    std::future::pending::<()>().await;
    Ok(())
}
