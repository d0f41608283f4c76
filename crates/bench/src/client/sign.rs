//! SigV4 for a hot loop: the canonical request is put together here, by the rules of "Authenticating Requests (AWS Signature
//! Version 4)" in the S3 API reference, from paths and queries that are encoded already; the signing key and the signature are
//! aws-sigv4's. Its `sign` would derive the key and take the URL apart on every request (benches/hot_paths.rs, `client-sign`,
//! compares); a test compares the results.

use super::Credentials;
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use std::{fmt::Write as _, time::SystemTime};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};
use tresor_digest::sha256;
use zeroize::Zeroizing;

pub(crate) const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const BASIC: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");

/// Signs with one key; the derived key is kept until the day changes.
pub struct Signer {
    credentials: Credentials,
    /// Seconds since 1970 that `date` was written for.
    second: u64,
    date: String,
    scope: String,
    key: Zeroizing<Vec<u8>>,
}

/// What a request carries.
pub struct Signature {
    pub(crate) authorization: String,
    pub(crate) hex: String,
    pub(crate) date: String,
}

impl Signer {
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials, second: 0, date: String::new(), scope: String::new(), key: Zeroizing::default() }
    }

    /// `path` and `query` as they go over the wire; `headers` with lower-case names, sorted, without `x-amz-date`.
    pub fn sign(
        &mut self,
        now: SystemTime,
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        payload_sha256: &str,
    ) -> Signature {
        self.turn_to(now);
        let mut canonical = String::with_capacity(768);
        let mut names = String::with_capacity(160);
        canonical.extend([method, "\n", path, "\n", query, "\n"]);
        let after_date = headers.partition_point(|(name, _)| *name < "x-amz-date");
        let dated = [("x-amz-date", self.date.as_str())];
        let all = headers[..after_date].iter().chain(&dated).chain(&headers[after_date..]);
        for (n, (name, value)) in all.enumerate() {
            canonical.extend([name, ":", value, "\n"]);
            names.extend([if n == 0 { "" } else { ";" }, name]);
        }
        canonical.extend(["\n", &names, "\n", payload_sha256]);
        let hex = self.mac(&format!(
            "AWS4-HMAC-SHA256\n{}\n{}\n{}",
            self.date,
            self.scope,
            hex::encode(sha256(canonical.as_bytes()))
        ));
        let mut authorization = String::with_capacity(320);
        let _ = write!(
            authorization,
            "AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={names}, Signature={hex}",
            self.credentials.access_key_id, self.scope
        );
        Signature { authorization, hex, date: self.date.clone() }
    }

    /// The signature of a chunk of a signed stream, after the one before it.
    pub(crate) fn chunk(&self, date: &str, previous: &str, data_sha256: &str) -> String {
        let scope = &self.scope;
        self.mac(&format!("AWS4-HMAC-SHA256-PAYLOAD\n{date}\n{scope}\n{previous}\n{EMPTY_SHA256}\n{data_sha256}"))
    }

    /// The signature of a stream's trailer.
    pub(crate) fn trailer(&self, date: &str, previous: &str, trailer_sha256: &str) -> String {
        self.mac(&format!("AWS4-HMAC-SHA256-TRAILER\n{date}\n{}\n{previous}\n{trailer_sha256}", self.scope))
    }

    fn turn_to(&mut self, now: SystemTime) {
        let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if second == self.second && !self.date.is_empty() {
            return;
        }
        self.second = second;
        let date = OffsetDateTime::from(now).format(BASIC).unwrap_or_default();
        if self.date.get(..8) != date.get(..8) {
            let Credentials { secret_access_key, region, .. } = &self.credentials;
            self.key = Zeroizing::new(generate_signing_key(secret_access_key, now, region, "s3").as_ref().to_vec());
            self.scope = format!("{}/{region}/s3/aws4_request", &date[..8]);
        }
        self.date = date;
    }

    fn mac(&self, text: &str) -> String {
        calculate_signature(&self.key[..], text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_credential_types::Credentials as AwsCredentials;
    use aws_sigv4::{
        http_request::{
            PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode, sign,
        },
        sign::v4,
    };
    use std::time::Duration;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    /// Our signature is aws-sigv4's, on the day that the key was derived and on the next.
    #[test]
    fn signatures_are_those_of_aws_sigv4() {
        let identity = AwsCredentials::new("AKIDEXAMPLE", SECRET, None, None, "test").into();
        let mut signer = Signer::new(Credentials::new("AKIDEXAMPLE", SECRET, "eu-west-3"));
        let day = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let put = [("host", "127.0.0.1:9000"), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")];
        let get =
            [("host", "s3"), ("range", "bytes=0-9"), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"), ("x-amz-z", "1")];
        for (now, method, path, query, headers) in [
            (day, "PUT", "/bench/k/00000001", "", &put[..]),
            (day + Duration::from_secs(1), "PUT", "/bench/k/00000002", "", &put[..]),
            (day + Duration::from_secs(90_000), "GET", "/bench", "continuation-token=a%3D%2Fb&list-type=2", &get[..]),
        ] {
            let ours = signer.sign(now, method, path, query, headers, "UNSIGNED-PAYLOAD");
            let host = headers[0].1;
            let url = format!("http://{host}{path}{}{query}", if query.is_empty() { "" } else { "?" });
            let mut settings = SigningSettings::default();
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
            let params = v4::SigningParams::builder()
                .identity(&identity)
                .region("eu-west-3")
                .name("s3")
                .time(now)
                .settings(settings)
                .build()
                .expect("every parameter is there");
            let request = SignableRequest::new(method, &url, headers.iter().copied(), SignableBody::UnsignedPayload)
                .expect("a URL");
            let theirs = sign(request, &params.into()).expect("it can be signed");
            assert_eq!(ours.hex, theirs.signature(), "{method} {url}");
        }
    }

    /// The worked example of "Signature Calculations: Transferring Payload in Multiple Chunks", S3 API reference.
    #[test]
    fn chunks_are_signed_as_the_reference_does() {
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let mut signer = Signer::new(Credentials::new("AKIAIOSFODNN7EXAMPLE", secret, "us-east-1"));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_369_353_600);
        let headers = [
            ("content-encoding", "aws-chunked"),
            ("content-length", "66824"),
            ("host", "s3.amazonaws.com"),
            ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            ("x-amz-decoded-content-length", "66560"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ];
        let payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
        let seed = signer.sign(now, "PUT", "/examplebucket/chunkObject.txt", "", &headers, payload);
        assert_eq!(seed.hex, "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9");
        let first = signer.chunk(&seed.date, &seed.hex, &hex::encode(sha256(&[b'a'; 65536])));
        assert_eq!(first, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648");
        let second = signer.chunk(&seed.date, &first, &hex::encode(sha256(&[b'a'; 1024])));
        assert_eq!(second, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497");
    }
}
