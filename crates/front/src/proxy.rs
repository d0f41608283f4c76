//! Whose word about the client's transport and address counts.

use http::HeaderMap;
use ipnet::IpNet;
use std::net::IpAddr;

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is neither an address nor a network")]
pub struct InvalidProxy(String);

/// Addresses and networks of proxies that are believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    /// `--dev`: plain HTTP counts as secure.
    development: bool,
}

impl TrustedProxies {
    /// Errors: InvalidProxy.
    pub fn new(texts: &[String], development: bool) -> Result<Self, InvalidProxy> {
        let read = |text: &String| {
            text.parse::<IpNet>()
                .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
                .map_err(|_| InvalidProxy(text.clone()))
        };
        Ok(Self { networks: texts.iter().map(read).collect::<Result<_, _>>()?, development })
    }

    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&peer))
    }

    /// The one place that decides whether a request came over a secure transport.
    pub(crate) fn secure(&self, tls: bool, peer: IpAddr, headers: &HeaderMap) -> bool {
        let forwarded = || {
            let proto = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
            self.trusts(peer) && proto.is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https"))
        };
        tls || self.development || forwarded()
    }

    /// The client's address: the last of X-Forwarded-For that no trusted proxy has, if a trusted proxy sent it.
    pub(crate) fn source_ip(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.trusts(peer) {
            return peer;
        }
        let named = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let addresses: Vec<IpAddr> =
            named.flat_map(|value| value.split(',')).filter_map(|text| text.trim().parse().ok()).collect();
        addresses.into_iter().rev().find(|address| !self.trusts(*address)).unwrap_or(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let proxies = TrustedProxies::new(&["10.0.0.0/8".into(), "::1".into()], false).unwrap();
        let headers: HeaderMap = [("x-forwarded-proto", "https"), ("x-forwarded-for", "1.2.3.4, 5.6.7.8, 10.1.1.1")]
            .into_iter()
            .map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap()))
            .collect();
        let (proxy, stranger): (IpAddr, IpAddr) = ("10.0.0.9".parse().unwrap(), "9.9.9.9".parse().unwrap());
        assert!(proxies.secure(false, proxy, &headers));
        assert!(!proxies.secure(false, stranger, &headers));
        assert!(proxies.secure(true, stranger, &HeaderMap::new()));
        assert!(!proxies.secure(false, proxy, &HeaderMap::new()));
        assert_eq!(proxies.source_ip(proxy, &headers), "5.6.7.8".parse::<IpAddr>().unwrap());
        assert_eq!(proxies.source_ip(stranger, &headers), stranger);
        assert!(TrustedProxies::new(&["here".into()], false).is_err());
    }
}
