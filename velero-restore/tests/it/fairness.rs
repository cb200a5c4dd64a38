//! A restore beside other clients of a narrow API server: how many calls it has under way, by count.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{Either, Full};
use kube::client::Body;
use serde_json::Value;
use tokio::sync::Semaphore;
use tower::Service as _;
use velero_cluster::{Cluster, ClusterOptions};
use velero_core::kube;
use velero_restore::{RestoreEngine, RestoreResult};
use velero_testkit::ApiServer;

use crate::common::*;

/// Calls that the server works on at the same time.
const SEATS: usize = 4;
/// How long it works on one.
const SERVICE: Duration = Duration::from_millis(10);
const OBJECTS: usize = 800;

/// What a server does with calls that find no seat.
#[derive(Clone, Copy)]
enum Crowd {
    /// It lets them wait.
    Queued,
    /// It refuses them.
    Refused,
}

/// A server with few seats, as a priority level of an API server has.
struct Seats {
    crowd: Crowd,
    free: Semaphore,
    under_way: AtomicUsize,
    /// Calls under way, our own among them, when a write came.
    met: Mutex<Vec<usize>>,
    refused: AtomicUsize,
}

impl Seats {
    fn new(crowd: Crowd) -> Arc<Self> {
        Arc::new(Self {
            crowd,
            free: Semaphore::new(SEATS),
            under_way: AtomicUsize::new(0),
            met: Mutex::default(),
            refused: AtomicUsize::new(0),
        })
    }

    /// `false` when the call is refused.
    async fn sit(&self, is_write: bool) -> bool {
        let met = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        if is_write {
            self.met.lock().unwrap().push(met);
        }
        let seat = match self.crowd {
            Crowd::Queued => self.free.acquire().await.ok(),
            Crowd::Refused => self.free.try_acquire().ok(),
        };
        let sat = seat.is_some();
        if sat {
            tokio::time::sleep(SERVICE).await;
        } else {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        drop(seat);
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        sat
    }

    /// Calls that a call met in the last half of the run: the mean, and the ninth in ten.
    fn crowding(&self) -> (usize, usize) {
        let met = self.met.lock().unwrap();
        let mut late = met[met.len() / 2..].to_vec();
        late.sort_unstable();
        let mean = late.iter().sum::<usize>() / late.len();
        (mean, late[late.len() * 9 / 10])
    }
}

async fn restored_behind(seats: &Arc<Seats>) -> (ApiServer, RestoreResult) {
    let server = ApiServer::new();
    let (service, gate) = (server.service(), Arc::clone(seats));
    let gated = tower::service_fn(move |request: http::Request<Body>| {
        let (mut service, gate) = (service.clone(), Arc::clone(&gate));
        async move {
            if gate.sit(request.method() == http::Method::POST).await {
                return Ok::<_, tower::BoxError>(service.call(request).await?.map(Either::Left));
            }
            let answer = http::Response::builder().status(429);
            Ok(answer.body(Either::Right(Full::from("too many requests")))?)
        }
    });
    let client = kube::Client::new(gated, "default");
    let cluster = Cluster::connect_with(client, ClusterOptions::default())
        .await
        .unwrap();
    let engine = RestoreEngine::new(cluster).options(options());
    let items: Vec<Value> = (0..OBJECTS)
        .map(|n| config_map("shop", &format!("m{n}")))
        .collect();
    let result = run_items(&engine, &items).await;
    (server, result)
}

/// Whoever else asks a server that lets calls wait has those of the restore before him: a fraction of what the restore may
/// have under way elsewhere (128).
#[tokio::test]
async fn calls_that_have_to_wait_become_few() {
    let seats = Seats::new(Crowd::Queued);
    let (server, result) = restored_behind(&seats).await;
    assert_clean(&result);
    assert_eq!(server.calls().count("create", "configmaps"), OBJECTS as u64);
    let (mean, most) = seats.crowding();
    assert!(
        mean >= SEATS,
        "{mean} calls under way leave the server idle"
    );
    assert!(
        mean <= 40 && most <= 48,
        "{mean} calls were under way, {most} at times"
    );
}

/// A server that refuses what it cannot take gets hardly more than that, and nothing is lost.
#[tokio::test]
async fn calls_that_are_refused_become_few() {
    let seats = Seats::new(Crowd::Refused);
    let (server, result) = restored_behind(&seats).await;
    assert_clean(&result);
    assert_eq!(result.counts.created, OBJECTS as u64 + 1);
    assert_eq!(server.calls().count("create", "configmaps"), OBJECTS as u64);
    let (mean, most) = seats.crowding();
    assert!(
        mean <= 2 * SEATS && most <= 3 * SEATS,
        "{mean} calls were under way, {most} at times"
    );
    let refused = seats.refused.load(Ordering::Relaxed);
    assert!(refused <= OBJECTS, "{refused} calls were refused");
}
