//! `/live`, `/ready` and `/metrics` for whoever watches the process. Loopback by default; it answers nothing else.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, sync::Semaphore};

/// Whether the server takes requests: true between the end of its start and the begin of its drain.
#[derive(Debug, Default)]
pub struct Health {
    ready: AtomicBool,
    /// What is not as it should be although requests are taken.
    note: RwLock<Option<&'static str>>,
}

impl Health {
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }
    /// A line that `/ready` says while requests are taken all the same.
    pub fn set_note(&self, note: Option<&'static str>) {
        *self.note.write().unwrap_or_else(PoisonError::into_inner) = note;
    }
    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }
    fn ready_text(&self) -> String {
        match *self.note.read().unwrap_or_else(PoisonError::into_inner) {
            Some(note) => format!("ready, but {note}\n"),
            None => "ready\n".into(),
        }
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
        "/live" => (StatusCode::OK, "live\n".to_owned()),
        "/ready" if health.is_ready() => (StatusCode::OK, health.ready_text()),
        "/ready" => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "not found\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    Ok(response)
}
