//! Connections: accepted, limited, served over HTTP/1.1 with or without TLS, and drained at the end.

use crate::{
    auth::{AuthError, Authenticated, Authenticator, SigVersion},
    body::Raw,
    facts::{DataFacts, Protection},
    head::{Head, Query, find_header},
    proxy::TrustedProxies,
    service::{BoxError, Request, ResponseBody, Service},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use std::{
    convert::Infallible,
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{Semaphore, watch},
};
use tokio_rustls::TlsAcceptor;
use tresor_audit::{AuditSink, AuditSpan, Origin, Tls};
use tresor_model::Identifiers;

/// How long a client may take for a request's head, or for a TLS handshake.
const HEAD_TIME: Duration = Duration::from_secs(30);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
const HOST_ID: HeaderName = HeaderName::from_static("x-amz-id-2");
/// A request's head, in bytes.
const MAX_HEAD: usize = 256 * 1024;
/// Characters of a user agent and of a Host header that an audit event keeps.
const MAX_TOLD: usize = 512;

/// What an operator chooses.
#[derive(Clone, Debug)]
pub struct FrontSettings {
    /// Connections at the same time; more wait in the kernel.
    pub max_connections: usize,
    /// How long requests may go on after a stop was asked for.
    pub drain: Duration,
}

/// Where to listen.
pub struct Listener {
    pub tcp: TcpListener,
    pub tls: Option<Arc<ServerConfig>>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({:?})", self.tcp.local_addr())
    }
}

/// The door of the server.
pub struct Front {
    pub settings: FrontSettings,
    pub proxies: TrustedProxies,
    /// Services ask it too, about signatures that lie in a body.
    pub authenticator: Arc<Authenticator>,
    /// The first answers what no other claims.
    pub services: Vec<Arc<dyn Service>>,
    pub identifiers: Identifiers,
    /// Requests whose body is read before their signature is judged, at the same time: what strangers can make the server hold.
    pub documents: Semaphore,
    pub audit: Arc<dyn AuditSink>,
    pub region: String,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Front({:?})", self.settings)
    }
}

impl Front {
    /// Serves until `stop` becomes true, then lets requests end for as long as the settings say.
    pub async fn serve(self: Arc<Self>, listeners: Vec<Listener>, stop: watch::Receiver<bool>) {
        let slots = Arc::new(Semaphore::new(self.settings.max_connections));
        let mut accepting = Vec::new();
        for listener in listeners {
            accepting.push(tokio::spawn(Arc::clone(&self).accept(listener, Arc::clone(&slots), stop.clone())));
        }
        for task in accepting {
            drop(task.await);
        }
        let all = u32::try_from(self.settings.max_connections).unwrap_or(u32::MAX);
        match tokio::time::timeout(self.settings.drain, slots.acquire_many(all)).await {
            Ok(_) => tracing::info!("every connection has ended"),
            Err(_) => tracing::warn!("connections were still open at the end of the drain"),
        }
    }

    async fn accept(self: Arc<Self>, listener: Listener, slots: Arc<Semaphore>, mut stop: watch::Receiver<bool>) {
        loop {
            let slot = tokio::select! {
                slot = Arc::clone(&slots).acquire_owned() => slot,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let Ok(slot) = slot else { return };
            let accepted = tokio::select! {
                accepted = listener.tcp.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    // Small answers must not wait for an acknowledgement.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY could not be set");
                    }
                    let (front, stop, tls) = (Arc::clone(&self), stop.clone(), listener.tls.clone());
                    tokio::spawn(async move {
                        let ended = match tls {
                            None => front.connection(stream, peer, None, stop).await,
                            Some(config) => {
                                match tokio::time::timeout(HEAD_TIME, TlsAcceptor::from(config).accept(stream)).await {
                                    Ok(Ok(stream)) => {
                                        let tls = Arc::new(Protection::of(stream.get_ref().1));
                                        front.connection(stream, peer, Some(tls), stop).await
                                    }
                                    Ok(Err(error)) => Err(error.into()),
                                    Err(_) => Ok(()),
                                }
                            }
                        };
                        if let Err(error) = ended {
                            tracing::debug!(%peer, %error, "a connection broke");
                        }
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn connection<S>(
        self: Arc<Self>,
        stream: S,
        peer: SocketAddr,
        tls: Option<Arc<Protection>>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), BoxError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let front = Arc::clone(&self);
        let service = service_fn(move |request| {
            let (front, tls) = (Arc::clone(&front), tls.clone());
            async move { Ok::<_, Infallible>(front.request(request, peer, tls.as_deref()).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(MAX_HEAD)
            // A request has at most 100 headers, as hyper says by itself: room for another number would be allocated each time.
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return Ok(ended?),
            _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
        }
        Ok(connection.await?)
    }

    /// One request: told apart, authenticated, served, and audited until its answer's last byte.
    async fn request(
        &self,
        request: http::Request<Incoming>,
        peer: SocketAddr,
        tls: Option<&Protection>,
    ) -> http::Response<Answer> {
        let (parts, body) = request.into_parts();
        let random: [u8; 56] = self.identifiers.draw();
        let request_id: Arc<str> = hex::encode_upper(&random[..8]).into();
        let host_id: Arc<str> = STANDARD.encode(&random[8..]).into();
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let host = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        let mut head = Head {
            document_sha256: None,
            path: parts.uri.path().to_owned(),
            query: Query::parse(parts.uri.query().unwrap_or_default()),
            host: host.trim_matches(['[', ']']).to_owned(),
            peer,
            secure: self.proxies.secure(tls.is_some(), peer.ip(), &parts.headers),
            tls_version: tls.filter(|_| !self.proxies.trusts(peer.ip())).map(Protection::version_number),
            source_ip: self.proxies.source_ip(peer.ip(), &parts.headers),
            request_id: Arc::clone(&request_id),
            host_id: Arc::clone(&host_id),
            method: parts.method,
            headers: parts.headers.into(),
        };
        let origin = Origin {
            source_ip: Some(head.source_ip),
            user_agent: head.text("user-agent").map(cut),
            region: self.region.clone(),
            tls: tls.map(|tls| Tls {
                version: tls.version,
                cipher_suite: tls.cipher_suite.to_string(),
                host: cut(head.text("host").unwrap_or_default()),
            }),
        };
        let mut span = AuditSpan::open(Arc::clone(&self.audit), Arc::clone(&request_id), origin);
        let named = Authenticator::scope_service(&head);
        let service = self.service(&head, named);
        span.service(service.signing_name());
        let progress = Arc::new(Progress { ended: AtomicBool::new(body.is_end_stream()), bytes: AtomicU64::new(0) });
        let body = Watched { body, progress: Arc::clone(&progress) };
        let facts = DataFacts::of(&head, tls);
        let is_s3 = service.signing_name() == "s3";
        let admitted = match service.document_limit() {
            None => match Authenticator::check_service(&head, named, service.signing_name())
                .and_then(|()| self.authenticator.authenticate(&head))
            {
                Ok(who) => Ok((who, body.map_err(BoxError::from).boxed_unsync())),
                Err(why) => Err(Refused::unread(why)),
            },
            Some(limit) => self.document(&mut head, &**service, body, limit).await,
        };
        let mut response = match admitted {
            Err(Refused { why, document }) => {
                if let Some(claimed) = self.authenticator.claimed(&head) {
                    span.claimed(claimed);
                }
                service.refuse(&head, &document, why, &mut span)
            }
            Ok((authenticated, body)) => {
                let (caller, auth, body) = Authenticated::body(authenticated, &head, body);
                span.caller(&caller);
                if is_s3 {
                    facts.tell_before(&auth, &mut span);
                }
                service.serve(Request { head, caller, auth, body }, &mut span).await
            }
        };
        if let Some(mode) = encryption(response.headers()) {
            span.sse(mode);
        }
        if is_s3 {
            facts.tell_after(response.headers(), &progress, &mut span);
        }
        let headers = response.headers_mut();
        for (name, value) in [(REQUEST_ID, request_id), (HOST_ID, host_id)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        if !progress.ended.load(Ordering::Relaxed) {
            // What is left of the body would be read as the next request: the client must not use the connection again.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        headers.insert(header::SERVER, HeaderValue::from_static("Tresor"));
        let status = response.status().as_u16();
        let length =
            response.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        response.map(|body| Answer { body, span: Some((span, status)), left: length, sent: 0, counted: is_s3 })
    }

    /// A request of a service of documents: the body is read first, because its hash is what was signed. Of one that cannot be
    /// signed, as much is read as strangers may send: it names the operation that the audit trail tells.
    async fn document(
        &self,
        head: &mut Head,
        service: &dyn Service,
        body: Watched,
        limit: usize,
    ) -> Result<(Authenticated, Raw), Refused> {
        let of_strangers = service.unsigned_document_limit();
        let (known, limit) = match Authenticator::scope_service(head) {
            None if head.text("authorization").is_none() => match of_strangers {
                Some(limit) => (Ok(()), limit),
                None => return Err(Refused::unread(AuthError::Anonymous)),
            },
            // No Signature Version 4, which alone covers a body.
            None => (Err(self.authenticator.caller(head).err().unwrap_or(AuthError::UnsupportedMechanism)), limit),
            Some(name) if name != service.signing_name() => (Err(AuthError::WrongService), limit),
            Some(_) => (self.authenticator.knows_key(head), limit),
        };
        if let Err(why) = known {
            let document = match of_strangers {
                Some(limit) => self.read(body, limit).await.unwrap_or_default(),
                None => Bytes::new(),
            };
            return Err(Refused { why, document });
        }
        let document = self.read(body, limit).await.map_err(Refused::unread)?;
        head.document_sha256 = Some(tresor_digest::sha256(&document));
        let authenticated = match self.authenticator.authenticate(head) {
            Err(why) => return Err(Refused { why, document }),
            // Signature Version 2 does not cover a body.
            Ok(found) if found.info.version == SigVersion::V2 => {
                return Err(Refused { why: AuthError::UnsupportedMechanism, document });
            }
            Ok(found) if found.caller.account().is_none() && of_strangers.is_none() => {
                return Err(Refused { why: AuthError::Anonymous, document });
            }
            Ok(found) => found,
        };
        Ok((authenticated, Full::new(document).map_err(|never| match never {}).boxed_unsync()))
    }

    /// A whole body. Errors: BodyTooLarge, BodyBroken.
    async fn read(&self, body: Watched, limit: usize) -> Result<Bytes, AuthError> {
        let _slot = self.documents.acquire().await.map_err(|_| AuthError::BodyBroken)?;
        match tokio::time::timeout(HEAD_TIME, Limited::new(body, limit).collect()).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(AuthError::BodyTooLarge),
            Ok(Err(_)) | Err(_) => Err(AuthError::BodyBroken),
        }
    }

    /// By `X-Amz-Target`, then by the credential scope. A form or a query may come without a signature: STS answers those, for IAM too.
    fn service(&self, head: &Head, scope_names: Option<&str>) -> &Arc<dyn Service> {
        let name = match head.text("x-amz-target") {
            Some(target) if target.starts_with("TrentService.") => Some("kms"),
            Some(target) if target.contains("CloudTrail_20131101.") => Some("cloudtrail"),
            _ if is_unsigned_sts(head) => Some("sts"),
            _ => scope_names,
        };
        let named = name.and_then(|name| self.services.iter().find(|service| service.signing_name() == name));
        named.unwrap_or(&self.services[0])
    }
}

/// Why a caller could not be told, and what was read of his request's body.
struct Refused {
    why: AuthError,
    document: Bytes,
}

impl Refused {
    fn unread(why: AuthError) -> Self {
        Self { why, document: Bytes::new() }
    }
}

/// A request for STS or, which has the same protocol, for IAM; without a signature nothing else tells. No operation of S3 is a form at
/// the root, or has both parameters.
fn is_unsigned_sts(head: &Head) -> bool {
    let form = || head.text("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let query = || head.query.get("Action").is_some() && head.query.get("Version").is_some();
    let asks = match head.method {
        http::Method::POST => form(),
        http::Method::GET => query(),
        _ => false,
    };
    let v2 = head.query.get("AWSAccessKeyId").is_some();
    asks && !v2
        && head.path == "/"
        && head.text("authorization").is_none()
        && Authenticator::scope_service(head).is_none()
}

/// As much of a header as an event tells.
fn cut(text: &str) -> String {
    text.get(..MAX_TOLD).unwrap_or(text).to_owned()
}

/// The encryption an answer names, as figures show it.
fn encryption(headers: &http::HeaderMap) -> Option<&'static str> {
    if find_header(headers, "x-amz-server-side-encryption-customer-algorithm").is_some() {
        return Some("SSE-C");
    }
    match find_header(headers, "x-amz-server-side-encryption")?.as_bytes() {
        b"AES256" => Some("SSE-S3"),
        b"aws:kms" => Some("SSE-KMS"),
        b"aws:kms:dsse" => Some("DSSE-KMS"),
        _ => None,
    }
}

pub(crate) struct Progress {
    ended: AtomicBool,
    /// Of the body, as they came.
    pub(crate) bytes: AtomicU64,
}

/// A request's body that tells whether it was read to its end.
struct Watched {
    body: Incoming,
    progress: Arc<Progress>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.progress.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.progress.ended.store(true, Ordering::Relaxed);
        }
        polled
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response's body, with the audit span that ends with it.
struct Answer {
    body: ResponseBody,
    span: Option<(AuditSpan, u16)>,
    /// Bytes that the announced length still leaves; nobody asks for more once they were sent.
    left: Option<u64>,
    /// Bytes that were handed to the connection.
    sent: u64,
    /// Whether the event tells them.
    counted: bool,
}

impl Answer {
    fn seal(&mut self) {
        if let Some((mut span, status)) = self.span.take() {
            if self.counted {
                span.transfer().bytes_out = Some(self.sent);
            }
            span.seal(status);
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        let polled = match &mut this.body {
            ResponseBody::Empty => Poll::Ready(None),
            ResponseBody::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            ResponseBody::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            ResponseBody::Stream(stream) => match stream.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(bytes))) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(io::Error::other(error)))),
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            },
        };
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let sent = frame.data_ref().map_or(0, |data| data.len() as u64);
            this.sent += sent;
            this.left = this.left.map(|left| left.saturating_sub(sent));
        }
        if matches!(polled, Poll::Ready(None)) || this.left == Some(0) {
            this.seal();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            ResponseBody::Empty => true,
            ResponseBody::Full(bytes) => bytes.is_empty(),
            ResponseBody::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            ResponseBody::Empty => SizeHint::with_exact(0),
            ResponseBody::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            ResponseBody::Stream(_) => SizeHint::default(),
        }
    }
}

impl Drop for Answer {
    /// An answer without a body is never polled.
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.seal();
        }
    }
}
