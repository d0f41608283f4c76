//! `tresor serve`: listeners, the development CA, signals, drain.

use crate::{
    assemble::{AssembleError, assemble},
    config::{Config, NewBuckets},
    control, credentials, files,
    machine::Secrets,
    root_key,
};
use serde_json::json;
use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpSocket},
    signal::unix::{SignalKind, signal},
    sync::{Semaphore, watch},
};
use tresor_audit::AuditSink;
use tresor_cloudtrail_api::{CloudTrailService, History};
use tresor_digest::{Kernel, Md5Pool};
use tresor_front::{
    AuthSettings, Authenticator, DevCa, Figures, Front, FrontSettings, Health, Listener, ServerConfig, TlsError,
    TrustedProxies, serve_admin, tls_from_pem,
};
use tresor_gateway::{Gateway, GatewayParts, GatewaySettings};
use tresor_iam_api::{Api, IamService, StsService};
use tresor_identity::Issuers;
use tresor_kms::KeyRing;
use tresor_kms_api::KmsService;
use tresor_records::{KeyRecords, ObjectDependents};
use zeroize::Zeroizing;

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    #[error("{0:?} is not an address to listen on: {1}")]
    Address(String, String),
    #[error("--dev listens on loopback only, not on {0}")]
    NotLoopback(SocketAddr),
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    #[error("tls_listen needs tls_certificate and tls_key, or --dev")]
    NoCertificate,
    #[error(transparent)]
    Credentials(#[from] credentials::CredentialsError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Proxy(#[from] tresor_front::InvalidProxy),
    #[error("{0}: {1}")]
    File(String, io::Error),
    #[error("a thread cannot be started: {0}")]
    Thread(io::Error),
    #[error("signals cannot be received: {0}")]
    Signal(io::Error),
}

/// Where the development CA listens when nothing else is said.
const DEV_TLS: &str = "127.0.0.1:9443";
/// Documents read before their signatures are judged, at the same time: at most 64 MiB.
const MAX_DOCUMENTS: usize = 256;
/// Connections that wait in the kernel.
const BACKLOG: u32 = 1024;

async fn address(text: &str, dev: bool) -> Result<SocketAddr, ServeError> {
    let unreadable = |why: String| ServeError::Address(text.to_owned(), why);
    let mut found = tokio::net::lookup_host(text).await.map_err(|error| unreadable(error.to_string()))?;
    let address = found.next().ok_or_else(|| unreadable("it has no address".into()))?;
    if dev && !address.ip().is_loopback() {
        return Err(ServeError::NotLoopback(address));
    }
    Ok(address)
}

fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|error| ServeError::Listen(address, error))
}

fn bound(listener: &TcpListener) -> String {
    listener.local_addr().map(|address| address.to_string()).unwrap_or_default()
}

/// A configuration that was read to its end: where to listen, with what, and whom to believe.
struct Prepared {
    http: SocketAddr,
    /// Without a certificate the development CA issues one.
    https: Option<(SocketAddr, Option<Arc<ServerConfig>>)>,
    admin: SocketAddr,
    proxies: TrustedProxies,
    issuers: Issuers,
}

impl Prepared {
    /// Reads everything that can be wrong before anything is made. Errors: `ServeError`.
    async fn of(config: &Config, dev: bool, secrets: &Secrets) -> Result<Self, ServeError> {
        let server = &config.server;
        root_key::provider(&config.root_key, dev, secrets).map_err(AssembleError::from)?;
        let https = match server.tls_listen.as_deref().or(dev.then_some(DEV_TLS)) {
            Some(text) => Some((address(text, dev).await?, certificate(config, dev)?)),
            None => None,
        };
        credentials::declared(config)?;
        Ok(Self {
            http: address(&server.listen, dev).await?,
            https,
            admin: address(&server.admin_listen, dev).await?,
            proxies: TrustedProxies::new(&server.trusted_proxies, dev)?,
            issuers: credentials::issuers(config)?,
        })
    }
}

/// The operator's certificate and key; none where the development CA issues one. Errors: NoCertificate, File, Tls.
fn certificate(config: &Config, dev: bool) -> Result<Option<Arc<ServerConfig>>, ServeError> {
    match (&config.server.tls_certificate, &config.server.tls_key) {
        (Some(certificate), Some(key)) => {
            let failed = |path: &Path| {
                let path = path.display().to_string();
                |error| ServeError::File(path, error)
            };
            let chain = fs::read(certificate).map_err(failed(certificate))?;
            Ok(Some(tls_from_pem(&chain, &files::read_private(key).map_err(failed(key))?)?))
        }
        _ if dev => Ok(None),
        _ => Err(ServeError::NoCertificate),
    }
}

/// Says what would keep `serve` from starting; makes nothing. Errors: `ServeError`.
pub async fn check(config: &Config, dev: bool, secrets: &Secrets) -> Result<(), ServeError> {
    Prepared::of(config, dev, secrets).await.map(drop)
}

/// Serves until SIGTERM or SIGINT, then drains.
pub async fn serve(config: Config, dev: bool, secrets: Secrets) -> Result<(), ServeError> {
    let Prepared { http, https, admin, proxies, issuers } = Prepared::of(&config, dev, &secrets).await?;
    let parts = Arc::new(assemble(&config, dev, &secrets).await?);
    drop(secrets);
    match parts.audit.recover(&parts.store).await {
        Ok(0) => {}
        Ok(events) => tracing::info!(events, "brought events of the last run into the audit trail"),
        Err(error) => tracing::error!(error, "records of changes stay in the store until the next start"),
    }
    if dev {
        tracing::warn!("development mode: SSE-C and SSE-KMS are taken over plain HTTP; never use it for real data");
    }

    let health = Arc::new(Health::default());
    let admin = listen(admin)?;
    let mut endpoints =
        json!({ "admin": format!("http://{}", bound(&admin)), "https": null, "ca": null, "pid": std::process::id() });
    let audit = Arc::clone(&parts.audit);
    let all = Arc::clone(&parts);
    let figures: Figures = Arc::new(move || audit.figures(|metrics| metrics.gather(&all)));
    let probes = tokio::spawn(serve_admin(admin, Arc::clone(&health), figures));
    let mut listeners = vec![Listener { tcp: listen(http)?, tls: None }];
    endpoints["http"] = format!("http://{}", bound(&listeners[0].tcp)).into();
    if let Some((https, own)) = https {
        let tls = match own {
            Some(tls) => tls,
            None => {
                endpoints["ca"] = config.data_dir.join("tls/ca.pem").display().to_string().into();
                development_ca(&config.data_dir)?.issue(match https.ip() {
                    ip if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
                    ip => ip,
                })?
            }
        };
        let tcp = listen(https)?;
        endpoints["https"] = format!("https://{}", bound(&tcp)).into();
        listeners.push(Listener { tcp, tls: Some(tls) });
    }

    let settings = GatewaySettings {
        region: config.region.clone(),
        virtual_host_domains: config.s3.virtual_host_domains.clone(),
        block_sse_c: config.s3.block_sse_c,
        legacy_buckets: config.s3.new_buckets == NewBuckets::Legacy,
        max_buckets: config.s3.max_buckets_per_account,
        max_uploads: config.s3.max_uploads_per_bucket,
    };
    let auth = AuthSettings { sigv2: config.auth.sigv2, virtual_host_domains: config.s3.virtual_host_domains.clone() };
    let authenticator = Arc::new(Authenticator::new(auth, Arc::clone(&parts.directory), Arc::clone(&parts.clock)));
    let gateway = GatewayParts {
        store: Arc::new(parts.store.clone()),
        keys: Arc::clone(&parts.keys),
        directory: Arc::clone(&parts.directory),
        authenticator: Arc::clone(&authenticator),
        clock: Arc::clone(&parts.clock),
        entropy: Arc::clone(&parts.entropy),
        md5: Md5Pool::new(Kernel::widest(config.server.avx512)).map_err(ServeError::Thread)?,
    };
    let gateway = Gateway::new(settings, gateway);
    let iam = Arc::new(Api {
        directory: Arc::clone(&parts.directory),
        issuers,
        clock: Arc::clone(&parts.clock),
        region: config.region.clone(),
    });
    let front = Arc::new(Front {
        settings: FrontSettings {
            max_connections: config.server.max_connections,
            drain: Duration::from_secs(config.server.drain_seconds),
        },
        proxies,
        authenticator,
        services: vec![
            Arc::new(gateway),
            Arc::new(IamService(Arc::clone(&iam))),
            Arc::new(StsService(iam)),
            Arc::new(KmsService::new(Arc::clone(&parts.keys), Arc::new(ObjectDependents(parts.store.clone())))),
            Arc::new(CloudTrailService::new(
                Arc::clone(&parts.audit) as Arc<dyn History>,
                Arc::clone(&parts.directory),
                Arc::clone(&parts.clock),
                config.region.clone(),
            )),
        ],
        identifiers: tresor_model::Identifiers::new(Arc::clone(&parts.entropy)),
        documents: Semaphore::new(MAX_DOCUMENTS),
        audit: Arc::clone(&parts.audit) as Arc<dyn AuditSink>,
        region: config.region.clone(),
    });
    let socket =
        control::listen(&config.data_dir).map_err(|error| ServeError::File("the control socket".into(), error))?;
    let commands = tokio::spawn(control::serve(socket, Arc::clone(&parts)));
    let tending = tokio::spawn(parts.store.clone().tend());
    let recording = tokio::spawn(Arc::clone(&parts.audit).keep(parts.store.clone(), Arc::clone(&parts.records)));
    let keeping = tokio::spawn(tend_keys(Arc::clone(&parts.keys), Arc::clone(&parts.records), Arc::clone(&health)));

    let (stop, stopped) = watch::channel(false);
    // Before anyone is told that the server is ready: a signal that comes right then must drain it, not end it.
    let handler = |kind| signal(kind).map_err(ServeError::Signal);
    let (mut terminate, mut interrupt) = (handler(SignalKind::terminate())?, handler(SignalKind::interrupt())?);
    let signals = tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("stopping: requests in progress may end");
        stop.send_replace(true);
    });
    announce(&config.data_dir, &endpoints)?;
    health.set_ready(true);
    let mut draining = stopped.clone();
    let not_ready = Arc::clone(&health);
    let watcher = tokio::spawn(async move {
        drop(draining.wait_for(|stop| *stop).await);
        not_ready.set_ready(false);
    });
    front.serve(listeners, stopped).await;
    for task in [probes, commands, tending, keeping, recording, signals, watcher] {
        task.abort();
    }
    if let Err(error) = parts.keys.remember_uses().await {
        tracing::error!(%error, "what keys were last used for could not be stored");
    }
    if let Err(error) = Arc::clone(&parts.audit).finish(&parts.store, &parts.records).await {
        tracing::error!(%error, "the audit trail could not be closed");
    }
    drop(fs::remove_file(config.data_dir.join("endpoints.json")));
    drop(fs::remove_file(control::path(&config.data_dir)));
    Ok(())
}

/// How often keys are looked at whose time may have come.
const KEY_ROUND: Duration = Duration::from_secs(60);

/// Destroys and rotates keys when their time has come, until the task is dropped.
async fn tend_keys(keys: Arc<KeyRing>, records: Arc<KeyRecords>, health: Arc<Health>) {
    loop {
        if records.mirror_is_behind() == Some(true)
            && let Err(error) = records.compare_mirror().await
        {
            tracing::error!(%error, "the key mirror is still behind; it is tried again in a minute");
        }
        health.set_note((records.mirror_is_behind() == Some(true)).then_some("the key mirror is behind"));
        keys.tend().await;
        tokio::time::sleep(KEY_ROUND).await;
    }
}

/// Says where the server answers, to people in the log and to programs in `endpoints.json`.
fn announce(data_dir: &Path, endpoints: &serde_json::Value) -> Result<(), ServeError> {
    let path = data_dir.join("endpoints.json");
    files::replace(&path, endpoints.to_string().as_bytes())
        .map_err(|error| ServeError::File(path.display().to_string(), error))?;
    let text = |name: &str| endpoints[name].as_str().unwrap_or("-").to_owned();
    tracing::info!(http = text("http"), https = text("https"), admin = text("admin"), ca = text("ca"), "ready");
    Ok(())
}

/// The development CA of a data directory, made once.
fn development_ca(data_dir: &Path) -> Result<DevCa, ServeError> {
    let directory = data_dir.join("tls");
    let failed = |error: io::Error| ServeError::File(directory.display().to_string(), error);
    fs::create_dir_all(&directory).map_err(failed)?;
    let (certificate, key) = (directory.join("ca.pem"), directory.join("ca.key"));
    if certificate.exists() {
        let key = files::read_private(&key).map_err(failed)?;
        return Ok(DevCa {
            certificate_pem: fs::read_to_string(&certificate).map_err(failed)?,
            key_pem: Zeroizing::new(String::from_utf8_lossy(&key).into_owned()),
        });
    }
    let ca = DevCa::generate()?;
    // The key first: a certificate without its key would be found and fail.
    files::replace(&key, ca.key_pem.as_bytes()).map_err(failed)?;
    files::replace(&certificate, ca.certificate_pem.as_bytes()).map_err(failed)?;
    Ok(ca)
}
