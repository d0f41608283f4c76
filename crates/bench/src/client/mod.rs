//! A lean S3 client: one blocking HTTP/1.1 connection a thread. It shares the machine with the server it measures, so it neither
//! copies bodies nor wakes other threads, and it signs with a key that it derived once.

mod connection;
mod request;
mod sign;

pub(crate) use connection::{Answer, Connection, Endpoint, Want};
pub use request::Payload;
pub(crate) use request::{Request, Upload, customer_key_headers, encoded};
pub(crate) use sign::EMPTY_SHA256;
pub use sign::Signer;

use std::fmt;
use zeroize::Zeroizing;

/// An access key, and the region that signatures name.
#[derive(Clone)]
pub struct Credentials {
    pub(crate) access_key_id: String,
    secret_access_key: Zeroizing<String>,
    region: String,
}

impl Credentials {
    pub fn new(access_key_id: &str, secret_access_key: &str, region: &str) -> Self {
        let secret_access_key = Zeroizing::new(secret_access_key.to_owned());
        Self { access_key_id: access_key_id.to_owned(), secret_access_key, region: region.to_owned() }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}
