//! The limit line: the least that an HTTP/1.1 object server can do on this machine. hyper and the disk, with what a real store must pay
//! (MD5, AES-256-GCM, fsync, group commit) switched on one by one; no authentication, no metadata, nothing is kept across a restart.
//! Its figures are the base of the ratios in docs/performance.md. Must never be used to store anything: its key and nonce are constants.

mod chunks;
mod extent;
mod log;

use crate::args::{SinkArgs, SinkStore};
use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use bytes::Bytes;
use chunks::Dechunker;
use extent::{Buffers, Extent, Reader, Sealer};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use log::Log;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    fmt::Write as _,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::net::TcpListener;
use tresor_digest::Hasher;
use tresor_model::ChecksumAlgorithm;

/// Bodies up to here go into the log; larger ones are written so many bytes at a time.
const WRITE: usize = 1 << 20;
/// Directories that files are spread over.
const DIRECTORIES: u64 = 256;
const MAX_PAGE: usize = 1000;

type Answer = Response<BoxBody<Bytes, io::Error>>;

#[derive(Clone)]
struct Object {
    extents: Vec<Extent>,
    etag: String,
}

impl Object {
    fn length(&self) -> u64 {
        self.extents.iter().map(Extent::length).sum()
    }
}

struct Sink {
    args: SinkArgs,
    directory: PathBuf,
    objects: Mutex<BTreeMap<String, Object>>,
    parts: Mutex<HashMap<String, BTreeMap<u32, Object>>>,
    key: LessSafeKey,
    numbers: AtomicU64,
    in_memory: AtomicU64,
    log: Option<Log>,
    buffers: Arc<Buffers>,
}

/// Serves until the process ends.
pub(crate) fn run(args: SinkArgs) -> Result<(), String> {
    if !args.listen.ip().is_loopback() {
        return Err("the sink has no authentication: it listens on loopback only".into());
    }
    let text = |error: io::Error| error.to_string();
    let needs_files = matches!(args.store, SinkStore::File | SinkStore::Log);
    let directory = match (&args.dir, needs_files) {
        (Some(directory), _) => directory.clone(),
        (None, false) => PathBuf::new(),
        (None, true) => return Err("--dir: where the sink's files may lie".into()),
    };
    if needs_files {
        for n in 0..DIRECTORIES {
            std::fs::create_dir_all(directory.join(format!("{n:02x}"))).map_err(text)?;
        }
    }
    let log = match args.store {
        SinkStore::Log => Some(Log::create(&directory.join("log"), args.log_size.0, args.fsync).map_err(text)?),
        _ => None,
    };
    let key = UnboundKey::new(&AES_256_GCM, &[9; 32]).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(args.threads.max(1)).enable_all().build();
    let sink = Arc::new(Sink {
        directory,
        objects: Mutex::default(),
        parts: Mutex::default(),
        key: LessSafeKey::new(key),
        numbers: AtomicU64::new(1),
        in_memory: AtomicU64::new(0),
        log,
        buffers: Arc::default(),
        args,
    });
    runtime.map_err(text)?.block_on(sink.serve()).map_err(text)
}

impl Sink {
    async fn serve(self: Arc<Self>) -> io::Result<()> {
        let listener = TcpListener::bind(self.args.listen).await?;
        io::Write::write_fmt(&mut io::stdout(), format_args!("http://{}\n", listener.local_addr()?))?;
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            let sink = Arc::clone(&self);
            tokio::spawn(async move {
                let service = service_fn(move |request| Arc::clone(&sink).answer(request));
                let mut http = hyper::server::conn::http1::Builder::new();
                let connection =
                    http.timer(TokioTimer::new()).max_buf_size(1 << 20).serve_connection(TokioIo::new(stream), service);
                let _ = connection.await;
            });
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Answer, io::Error> {
        let path = request.uri().path().trim_start_matches('/').to_owned();
        let query = request.uri().query().unwrap_or("").to_owned();
        let parameter = |name: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
        };
        if path.split_once('/').is_none_or(|(_, key)| key.is_empty()) {
            if request.method() == Method::GET {
                let plain = |text: Option<String>| text.map(|text| text.replace("%2F", "/"));
                let page = parameter("max-keys").and_then(|page| page.parse().ok()).unwrap_or(MAX_PAGE);
                return self.list(&path, page, plain(parameter("continuation-token")), plain(parameter("prefix")));
            }
            return plain(StatusCode::OK, "");
        }
        match *request.method() {
            Method::PUT => {
                let (upload, part) = (parameter("uploadId"), parameter("partNumber"));
                let object = self.receive(request).await?;
                let etag = format!("\"{}\"", object.etag);
                match (upload, part.and_then(|part| part.parse().ok())) {
                    (Some(upload), Some(part)) => {
                        self.parts.lock().entry(upload).or_default().insert(part, object);
                    }
                    _ => {
                        self.objects.lock().insert(path, object);
                    }
                }
                Response::builder().header(header::ETAG, etag).body(full("")).map_err(io::Error::other)
            }
            Method::GET | Method::HEAD => self.send(&path, &request),
            Method::DELETE => {
                self.objects.lock().remove(&path);
                plain(StatusCode::NO_CONTENT, "")
            }
            Method::POST => {
                let Some(upload) = parameter("uploadId") else {
                    let id = self.numbers.fetch_add(1, Ordering::Relaxed);
                    return plain(StatusCode::OK, format!("<Result><UploadId>u{id}</UploadId></Result>"));
                };
                request.into_body().collect().await.map_err(io::Error::other)?;
                let parts = self.parts.lock().remove(&upload).unwrap_or_default();
                let etag = format!("{:032x}-{}", self.numbers.fetch_add(1, Ordering::Relaxed), parts.len());
                let extents = parts.into_values().flat_map(|part| part.extents).collect();
                self.objects.lock().insert(path, Object { extents, etag: etag.clone() });
                plain(StatusCode::OK, format!("<Result><ETag>\"{etag}\"</ETag></Result>"))
            }
            _ => plain(StatusCode::METHOD_NOT_ALLOWED, ""),
        }
    }

    fn send(self: &Arc<Self>, path: &str, request: &Request<Incoming>) -> Result<Answer, io::Error> {
        let Some(object) = self.objects.lock().get(path).cloned() else {
            return plain(StatusCode::NOT_FOUND, "<Error><Code>NoSuchKey</Code></Error>");
        };
        let length = object.length();
        let range = request.headers().get(header::RANGE).and_then(|range| {
            let (from, to) = range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
            Some((from.parse::<u64>().ok()?, to.parse::<u64>().ok()?))
        });
        let (from, to, status) = match range {
            Some((from, last)) => (from.min(length), (last + 1).min(length), StatusCode::PARTIAL_CONTENT),
            None => (0, length, StatusCode::OK),
        };
        let answer = Response::builder()
            .status(status)
            .header(header::ETAG, format!("\"{}\"", object.etag))
            .header(header::CONTENT_LENGTH, to.saturating_sub(from));
        let body = match object.extents.as_slice() {
            _ if request.method() == Method::HEAD => full(""),
            [Extent::Memory { bytes, sealed: false }] => full(bytes.slice(from as usize..to as usize)),
            _ => Reader::new(Arc::clone(self), object.extents, from, to).boxed(),
        };
        answer.body(body).map_err(io::Error::other)
    }

    /// Takes a body in and makes it as durable as the flags say.
    async fn receive(&self, request: Request<Incoming>) -> io::Result<Object> {
        let number = |name: &str| request.headers().get(name)?.to_str().ok()?.parse::<u64>().ok();
        let decoded = number("x-amz-decoded-content-length");
        let mut dechunker = if decoded.is_some() { Dechunker::chunked() } else { Dechunker::plain() };
        let size = decoded.or_else(|| number("content-length")).unwrap_or(0);
        let store = match self.args.store {
            SinkStore::Log if size > WRITE as u64 => SinkStore::File,
            store => store,
        };
        let mut file = match store {
            SinkStore::File => Some(self.create_file()?),
            _ => None,
        };
        let mut md5 = self.args.md5.then(|| Hasher::new(ChecksumAlgorithm::Md5));
        let mut sealer = Sealer::new(self.args.gcm.then_some(&self.key), size.min(WRITE as u64) as usize);
        let mut body = request.into_body();
        let (mut pieces, mut total) = (Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(io::Error::other)?.into_data() else { continue };
            dechunker.feed(data, &mut pieces);
            for piece in pieces.drain(..) {
                total += piece.len() as u64;
                if let Some(md5) = &mut md5 {
                    md5.update(&piece);
                }
                sealer.push(&piece)?;
                if let Some((file, _, at)) = &mut file
                    && sealer.ready().len() >= WRITE
                {
                    file.write_all_at(sealer.ready(), *at)?;
                    *at += sealer.ready().len() as u64;
                    sealer.taken();
                } else if store == SinkStore::Null {
                    sealer.taken();
                }
            }
        }
        if total != size {
            return Err(io::Error::other("a body of another length than was said"));
        }
        let etag = match md5 {
            Some(md5) => hex::encode(md5.finish()),
            None => format!("{:032x}", self.numbers.fetch_add(1, Ordering::Relaxed)),
        };
        let sealed = self.args.gcm;
        let rest = sealer.finish()?;
        let extent = match (store, file, &self.log) {
            (SinkStore::File, Some((file, path, at)), _) => {
                file.write_all_at(&rest, at)?;
                if self.args.fsync {
                    tokio::task::spawn_blocking(move || file.sync_data()).await??;
                }
                Extent::Path { path, length: total, sealed }
            }
            (SinkStore::Log, _, Some(log)) => {
                let at = log.append(rest).await?;
                Extent::File { file: log.file(), at, length: total, sealed }
            }
            (SinkStore::Memory, ..)
                if self.in_memory.fetch_add(total, Ordering::Relaxed) < self.args.memory_limit.0 =>
            {
                Extent::Memory { bytes: rest.into(), sealed }
            }
            _ => Extent::Nothing { length: total },
        };
        Ok(Object { extents: vec![extent], etag })
    }

    fn create_file(&self) -> io::Result<(Arc<File>, Arc<std::path::Path>, u64)> {
        let n = self.numbers.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(format!("{:02x}/{n:08x}", n % DIRECTORIES));
        let file = File::options().create(true).truncate(true).write(true).open(&path)?;
        Ok((Arc::new(file), path.into(), 0))
    }

    fn list(
        &self,
        bucket: &str,
        page: usize,
        after: Option<String>,
        prefix: Option<String>,
    ) -> Result<Answer, io::Error> {
        let bucket = bucket.trim_end_matches('/');
        let prefix = format!("{bucket}/{}", prefix.unwrap_or_default());
        let from = after.map_or_else(|| prefix.clone(), |after| format!("{bucket}/{after}\0"));
        let mut text = String::with_capacity(256 << 10);
        text.push_str("<ListBucketResult>");
        let (mut count, mut last, mut more) = (0, "", false);
        let objects = self.objects.lock();
        for (path, object) in objects.range(from..).take_while(|(path, _)| path.starts_with(&prefix)) {
            if count == page.min(MAX_PAGE) {
                more = true;
                break;
            }
            let key = path.split_once('/').map_or("", |(_, key)| key);
            let _ = write!(
                text,
                "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;{}&quot;</ETag>\
<Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
                object.etag,
                object.length()
            );
            (count, last) = (count + 1, key);
        }
        if more {
            let _ = write!(text, "<NextContinuationToken>{last}</NextContinuationToken>");
        }
        drop(objects);
        let _ = write!(text, "<IsTruncated>{more}</IsTruncated></ListBucketResult>");
        plain(StatusCode::OK, text)
    }
}

fn full(body: impl Into<Bytes>) -> BoxBody<Bytes, io::Error> {
    Full::new(body.into()).map_err(|never: Infallible| match never {}).boxed()
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Result<Answer, io::Error> {
    Response::builder().status(status).body(full(body)).map_err(io::Error::other)
}
