//! One blocking HTTP/1.1 connection, kept alive, plain or TLS.

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use std::{
    fs,
    io::{self, IoSlice, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    path::Path,
    sync::Arc,
    time::Duration,
};

/// A server that says nothing for so long has failed the request.
const PATIENCE: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(5);
/// What one read takes at most; a header must fit.
const BUFFER: usize = 256 << 10;
const MAX_HEADERS: usize = 64;
/// Slices in one vectored write; Linux takes 1024.
const MAX_SLICES: usize = 1000;
/// What is kept of an answer's text: a LIST page, or what an error says.
const MAX_TEXT: usize = 8 << 20;
/// Where Debian keeps the certificates that a system trusts.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Where requests go.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub address: SocketAddr,
    /// The Host header.
    pub host: String,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Endpoint {
    /// From `http://HOST[:PORT]` or `https://HOST[:PORT]`; `ca` is a PEM file to trust instead of the system's.
    pub(crate) fn parse(url: &str, ca: Option<&Path>) -> Result<Self, String> {
        let (secure, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(format!("{url:?} does not begin with http:// or https://")),
        };
        let host = rest.trim_end_matches('/').to_owned();
        if host.contains(['/', '?', '#', '@']) {
            return Err(format!("{url:?} has more than a host and a port"));
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let with_port = if has_port { host.clone() } else { format!("{host}:{}", if secure { 443 } else { 80 }) };
        let mut addresses = with_port.to_socket_addrs().map_err(|error| format!("{url}: {error}"))?;
        let address = addresses.next().ok_or(format!("{url} has no address"))?;
        let name = with_port.rsplit_once(':').map_or("", |(name, _)| name).trim_matches(['[', ']']).to_owned();
        let tls = match secure {
            false => None,
            true => {
                let name = ServerName::try_from(name).map_err(|error| format!("{url}: {error}"))?;
                Some((trusting(ca.unwrap_or(Path::new(SYSTEM_ROOTS)))?, name))
            }
        };
        Ok(Self { address, host, tls })
    }
}

fn trusting(ca: &Path) -> Result<Arc<ClientConfig>, String> {
    let text = |error: &dyn std::fmt::Display| format!("{}: {error}", ca.display());
    let pem = fs::read(ca).map_err(|error| text(&error))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.map_err(|error| text(&error))?).map_err(|error| text(&error))?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| text(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }

    fn send(&mut self, mut pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
        while !pieces.is_empty() {
            let some = &pieces[..pieces.len().min(MAX_SLICES)];
            let sent = match self {
                Self::Plain(stream) => stream.write_vectored(some)?,
                Self::Tls(stream) => stream.write_vectored(some)?,
            };
            if sent == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut pieces, sent);
        }
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// What to do with the body of a successful answer.
pub(crate) enum Want<'a> {
    Count,
    Text,
    /// Told piece by piece; says whether the piece is right.
    Check(&'a mut dyn FnMut(&[u8]) -> bool),
}

#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub status: u16,
    pub etag: String,
    /// The Content-Length.
    pub declared: Option<u64>,
    pub received: u64,
    /// The body, if it was wanted as text, or what an error says.
    pub text: Vec<u8>,
    /// Set by `Want::Check` when a piece was not right.
    pub wrong: bool,
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

struct Framing {
    chunked: bool,
    close: bool,
}

pub(crate) struct Connection {
    endpoint: Endpoint,
    stream: Option<Stream>,
    buffer: Vec<u8>,
    /// What of `buffer` was received and not yet taken.
    start: usize,
    end: usize,
}

impl Connection {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, stream: None, buffer: vec![0; BUFFER], start: 0, end: 0 }
    }

    /// Sends the pieces of a request and reads its answer. A kept-alive connection that the server has closed meanwhile is opened
    /// again, once.
    pub(crate) fn call(&mut self, pieces: &[IoSlice<'_>], is_head: bool, want: Want<'_>) -> io::Result<Answer> {
        let kept = self.stream.is_some();
        let mut sent = self.send_and_hear(pieces, kept);
        if sent.is_err() && kept {
            self.stream = None;
            sent = self.send_and_hear(pieces, false);
        }
        let answer = match sent {
            // A server may refuse a body before it has read all of it: the answer may be there although sending failed.
            Err(failed) => self.read_answer(is_head, want).map_err(|_| failed),
            Ok(()) => self.read_answer(is_head, want),
        };
        if answer.is_err() {
            self.stream = None;
        }
        answer
    }

    /// On a kept connection the first byte of the answer is waited for, since only then it is known to have lived.
    fn send_and_hear(&mut self, pieces: &[IoSlice<'_>], kept: bool) -> io::Result<()> {
        if self.stream.is_none() {
            self.connect()?;
        }
        let mut pieces = pieces.to_vec();
        self.stream().and_then(|stream| stream.send(&mut pieces))?;
        if kept && self.start == self.end {
            self.fill()?;
        }
        Ok(())
    }

    fn connect(&mut self) -> io::Result<()> {
        let tcp = TcpStream::connect_timeout(&self.endpoint.address, CONNECT)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        (self.start, self.end) = (0, 0);
        self.stream = Some(match &self.endpoint.tls {
            None => Stream::Plain(tcp),
            Some((config, name)) => {
                let tls = ClientConnection::new(Arc::clone(config), name.clone()).map_err(io::Error::other)?;
                Stream::Tls(Box::new(StreamOwned::new(tls, tcp)))
            }
        });
        Ok(())
    }

    fn stream(&mut self) -> io::Result<&mut Stream> {
        self.stream.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Receives more.
    fn fill(&mut self) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            if self.start == 0 {
                return Err(invalid("a header or a chunk's size does not end"));
            }
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        match stream.read(&mut self.buffer[self.end..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            received => {
                self.end += received;
                Ok(())
            }
        }
    }

    fn read_answer(&mut self, is_head: bool, mut want: Want<'_>) -> io::Result<Answer> {
        let (mut answer, framing) = loop {
            let head = self.read_head()?;
            if head.0.status != 100 {
                break head;
            }
        };
        if is_head || matches!(answer.status, 204 | 304) {
        } else if framing.chunked {
            self.read_chunks(&mut answer, &mut want)?;
        } else if let Some(length) = answer.declared {
            self.read_piece(length, &mut answer, &mut want)?;
        } else {
            return Err(invalid("an answer without a length"));
        }
        if framing.close {
            self.stream = None;
        }
        Ok(answer)
    }

    fn read_head(&mut self) -> io::Result<(Answer, Framing)> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut head = httparse::Response::new(&mut headers);
            let parsed = head.parse(&self.buffer[self.start..self.end]).map_err(|error| invalid(&error.to_string()))?;
            let httparse::Status::Complete(length) = parsed else {
                self.fill()?;
                continue;
            };
            let mut answer = Answer { status: head.code.unwrap_or(0), ..Answer::default() };
            let mut framing = Framing { chunked: false, close: head.version == Some(0) };
            for header in head.headers.iter() {
                let value = std::str::from_utf8(header.value).unwrap_or("").trim();
                if header.name.eq_ignore_ascii_case("content-length") {
                    answer.declared = value.parse().ok();
                } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                    framing.chunked = value.eq_ignore_ascii_case("chunked");
                } else if header.name.eq_ignore_ascii_case("connection") {
                    framing.close |= value.eq_ignore_ascii_case("close");
                } else if header.name.eq_ignore_ascii_case("etag") {
                    value.clone_into(&mut answer.etag);
                }
            }
            self.start += length;
            return Ok((answer, framing));
        }
    }

    fn read_piece(&mut self, length: u64, answer: &mut Answer, want: &mut Want<'_>) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            if self.start == self.end {
                self.fill()?;
            }
            let some = left.min((self.end - self.start) as u64) as usize;
            let piece = &self.buffer[self.start..self.start + some];
            answer.received += some as u64;
            match want {
                _ if !answer.is_success() => keep(&mut answer.text, piece),
                Want::Count => {}
                Want::Text => keep(&mut answer.text, piece),
                Want::Check(right) => answer.wrong |= !right(piece),
            }
            self.start += some;
            left -= some as u64;
        }
        Ok(())
    }

    fn read_chunks(&mut self, answer: &mut Answer, want: &mut Want<'_>) -> io::Result<()> {
        loop {
            let parsed = httparse::parse_chunk_size(&self.buffer[self.start..self.end]);
            let (length, size) = match parsed.map_err(|_| invalid("a chunk's size"))? {
                httparse::Status::Complete(found) => found,
                httparse::Status::Partial => {
                    self.fill()?;
                    continue;
                }
            };
            self.start += length;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(());
            }
            self.read_piece(size, answer, want)?;
            self.line()?;
        }
    }

    /// Takes a line, without its end.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let here = &self.buffer[self.start..self.end];
            if let Some(length) = memchr::memmem::find(here, b"\r\n") {
                let line = here[..length].to_vec();
                self.start += length + 2;
                return Ok(line);
            }
            self.fill()?;
        }
    }
}

fn keep(text: &mut Vec<u8>, piece: &[u8]) {
    text.extend_from_slice(&piece[..piece.len().min(MAX_TEXT - text.len().min(MAX_TEXT))]);
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
