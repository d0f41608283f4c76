//! Listeners, TLS, limits and drain; who signed a request; which service answers it; the audit span around it. Must never know
//! what S3 or KMS mean by anything.

mod admin;
mod auth;
mod body;
mod chunked;
mod facts;
mod head;
mod listener;
mod proxy;
mod service;
mod tls;

pub use admin::{Figures, Health, serve_admin};
pub use auth::{AuthError, AuthInfo, AuthSettings, Authenticator, SigVersion, Via};
pub use body::{Body, BodyFault};
pub use chunked::ChunkDecoder;
pub use head::{Head, Headers, Query};
pub use listener::{Front, FrontSettings, Listener};
pub use proxy::{InvalidProxy, TrustedProxies};
/// Of a `Listener`.
pub use rustls::ServerConfig;
pub use service::{BoxError, Request, Response, ResponseBody, Service};
pub use tls::{DevCa, TlsError, tls_from_pem};
