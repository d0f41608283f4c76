//! `/live`, `/ready` and `/metrics` for whoever watches the process. Loopback by default; it answers nothing else.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, sync::Semaphore};

/// Whether the server takes requests: true between the end of its start and the begin of its drain.
#[derive(Debug, Default)]
pub struct Health(AtomicBool);

impl Health {
    pub fn set_ready(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }
    fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Writes the metrics, in the OpenMetrics text format.
pub type Figures = Arc<dyn Fn() -> String + Send + Sync>;

/// Probes at the same time.
const MAX_PROBES: usize = 32;
/// How long a probe may take.
const PROBE_TIME: Duration = Duration::from_secs(10);

/// Answers until the task is dropped.
pub async fn serve_admin(listener: TcpListener, health: Arc<Health>, figures: Figures) {
    let slots = Arc::new(Semaphore::new(MAX_PROBES));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let (health, figures) = (Arc::clone(&health), Arc::clone(&figures));
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&health), Arc::clone(&figures), request));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PROBE_TIME)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            drop(tokio::time::timeout(PROBE_TIME, connection).await);
            drop(slot);
        });
    }
}

async fn answer(
    health: Arc<Health>,
    figures: Figures,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == "/metrics" {
        let mut response = Response::new(Full::new(figures().into()));
        let kind = http::HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
        response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
        return Ok(response);
    }
    let (status, text) = match request.uri().path() {
        "/live" => (StatusCode::OK, "live\n"),
        "/ready" if health.is_ready() => (StatusCode::OK, "ready\n"),
        "/ready" => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        _ => (StatusCode::NOT_FOUND, "not found\n"),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    Ok(response)
}
