//! What a request says before its body.

use http::{HeaderMap, HeaderValue, Method};
use percent_encoding::percent_decode_str;
use std::{
    net::{IpAddr, SocketAddr},
    ops::Deref,
    sync::Arc,
};

/// Everything but the body. Secrets may stand in the headers, so it does not print itself.
pub struct Head {
    pub method: Method,
    /// As it was sent, percent-encoded.
    pub path: String,
    pub query: Query,
    pub headers: Headers,
    /// The name the client used, without a port.
    pub host: String,
    pub peer: SocketAddr,
    /// TLS, a trusted proxy's word for it, or a development server. The one function that decides is `TrustedProxies::secure`.
    pub secure: bool,
    /// `1.2` or `1.3` where this server itself ends TLS; nothing behind a proxy, of whose connection it knows nothing.
    pub tls_version: Option<&'static str>,
    /// The client's address, behind trusted proxies too.
    pub source_ip: IpAddr,
    /// SHA-256 of a body that was read before the signature was judged: what a service of documents signs.
    pub document_sha256: Option<[u8; 32]>,
    /// 16 upper-case hex digits.
    pub request_id: Arc<str>,
    pub host_id: Arc<str>,
}

impl Head {
    /// A header that must be text; one that is not counts as absent.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.headers.find(name).and_then(|value| value.to_str().ok())
    }
}

/// The headers of a request. It is asked about many that it does not have, and most of those are told apart by their length.
#[derive(Default)]
pub struct Headers {
    map: HeaderMap,
    /// A bit for each length that a name has or had.
    lengths: u128,
}

impl Headers {
    /// A header by its name in lower case.
    pub fn find(&self, name: &str) -> Option<&HeaderValue> {
        if self.lengths & bit(name) == 0 { None } else { find_header(&self.map, name) }
    }
    /// Takes a header out, with all its values; the first is returned.
    pub fn take(&mut self, name: &str) -> Option<HeaderValue> {
        self.find(name)?;
        self.map.remove(name)
    }
    pub fn into_map(self) -> HeaderMap {
        self.map
    }
}

const fn bit(name: &str) -> u128 {
    1 << (name.len() % 128)
}

impl From<HeaderMap> for Headers {
    fn from(map: HeaderMap) -> Self {
        let lengths = map.keys().fold(0, |lengths, name| lengths | bit(name.as_str()));
        Self { map, lengths }
    }
}

/// To look at, not to change.
impl Deref for Headers {
    type Target = HeaderMap;

    fn deref(&self) -> &HeaderMap {
        &self.map
    }
}

/// Headers up to which comparing names is faster than hashing one.
const FEW: usize = 24;

/// A header by its name in lower case. A request has few headers and is asked about many.
pub(crate) fn find_header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a HeaderValue> {
    debug_assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase()), "{name}");
    if headers.len() > FEW {
        return headers.get(name);
    }
    headers.iter().find(|(known, _)| known.as_str() == name).map(|(_, value)| value)
}

/// A query string, in the order it was sent.
#[derive(Clone, Default)]
pub struct Query(Vec<Parameter>);

#[derive(Clone)]
struct Parameter {
    name: String,
    value: String,
    /// Without `=`.
    bare: bool,
    /// Decoded without reading `+` as a space, as signatures see it.
    signed: (String, String),
}

impl Query {
    pub fn parse(text: &str) -> Self {
        let plain = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        Self(
            text.split('&')
                .filter(|part| !part.is_empty())
                .map(|part| {
                    let (name, value) = part.split_once('=').unwrap_or((part, ""));
                    Parameter {
                        name: plain(&name.replace('+', " ")),
                        value: plain(&value.replace('+', " ")),
                        bare: !part.contains('='),
                        signed: (plain(name), plain(value)),
                    }
                })
                .collect(),
        )
    }
    /// The first value of a parameter, decoded.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|p| p.name == name).map(|p| p.value.as_str())
    }
    pub fn get_ignoring_case(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|p| p.name.eq_ignore_ascii_case(name)).map(|p| p.value.as_str())
    }
    /// Whether the parameter stands without a value: `?acl` or `?acl=`.
    pub fn is_bare(&self, name: &str) -> bool {
        self.0.iter().any(|p| p.name == name && (p.bare || p.value.is_empty()))
    }
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|p| p.name.as_str())
    }
    /// Names and values, decoded.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|p| (p.name.as_str(), p.value.as_str()))
    }
    /// Names and values as Signature Version 4 covers them: as they are read, so that a signed `%2B` cannot become a space by being
    /// written as `+`. What belongs to the signature itself is never read for anything else, and may hold a plain plus sign.
    pub(crate) fn covered(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|p| match p.name.starts_with("X-Amz-") {
            true => (p.signed.0.as_str(), p.signed.1.as_str()),
            false => (p.name.as_str(), p.value.as_str()),
        })
    }
    /// Names and values as Signature Version 2 covers them.
    pub(crate) fn signed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|p| (p.signed.0.as_str(), p.signed.1.as_str()))
    }
}
