//! What is measured, in one place: the benches and the guard of instructions take it from here.

use async_trait::async_trait;
use bytes::Bytes;
use std::{io, ops::Range, sync::Arc};
use tresor_digest::Digests;
use tresor_envelope::{
    BodyError, CipherSource, CipherStream, ContentKey, DataKey, Envelope, Header, PlainSource, SseMode, WrappedKeys,
};
use tresor_front::{AuthSettings, Authenticator, Head, Query};
use tresor_identity::{Account, Credential, Directory, SecretAccessKey};
use tresor_model::{AccountId, Clock, Entropy, Principal, Timestamp};

/// Time stands still and randomness is SHA-256 of a counter: benches need neither to be good.
#[derive(Debug, Default)]
pub struct Machine(std::sync::atomic::AtomicU64);
impl Clock for Machine {
    fn now(&self) -> Timestamp {
        Timestamp::parse_basic("20130524T000000Z").unwrap_or_default()
    }
}
impl Entropy for Machine {
    fn fill(&self, out: &mut [u8]) {
        for piece in out.chunks_mut(32) {
            let n = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            piece.copy_from_slice(&tresor_digest::sha256(&n.to_be_bytes())[..piece.len()]);
        }
    }
}

pub struct Once(pub Option<Bytes>);
#[async_trait]
impl PlainSource for Once {
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        Ok(self.0.take())
    }
    fn digests(&mut self) -> Digests {
        Digests::default()
    }
}

pub struct Held(pub Bytes);
#[async_trait]
impl CipherSource for Held {
    async fn read(&mut self, _: usize, range: Range<u64>, _: usize) -> io::Result<CipherStream> {
        let piece = self.0.slice(range.start as usize..range.end as usize);
        Ok(CipherStream::new(futures(piece)))
    }
}

fn futures(piece: Bytes) -> impl futures_core::Stream<Item = io::Result<Bytes>> + Send + 'static {
    futures_util::stream::iter([Ok(piece)])
}

pub fn key(mode: SseMode) -> ContentKey {
    let outer = (mode == SseMode::Dsse).then(|| DataKey::from_bytes([9; 32]));
    let keys = WrappedKeys { outer_wrapped: outer.is_some().then(Vec::new), ..WrappedKeys::default() };
    Envelope::assemble(Header::new(mode, ""), DataKey::from_bytes([7; 32]), outer, keys, Vec::new())
        .expect("the keys fit the mode")
        .0
}

pub fn account() -> AccountId {
    "111122223333".parse().expect("twelve digits")
}

/// The worked example of the S3 API reference: PUT Object, and who knows its key.
pub fn signed_put() -> (Authenticator, Head) {
    let mut directory = Directory::default();
    let known = Account { id: account(), name: "a".into(), canonical_id: "0".repeat(64), email: None };
    directory.add_account(known).expect("the first account");
    let secret = SecretAccessKey::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    let credential = Credential::new(Principal::Root { account: account() }, secret);
    directory.add_credential("AKIAIOSFODNN7EXAMPLE", credential).expect("the first key");
    let settings = AuthSettings { sigv2: true, virtual_host_domains: Vec::new() };
    let authenticator = Authenticator::new(settings, Arc::new(directory), Arc::new(Machine::default()));
    let headers = [
        ("date", "Fri, 24 May 2013 00:00:00 GMT"),
        ("host", "examplebucket.s3.amazonaws.com"),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class, Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
    ];
    let head = Head {
        document_sha256: None,
        method: http::Method::PUT,
        path: "/test%24file.text".into(),
        query: Query::parse(""),
        headers: headers
            .iter()
            .map(|(k, v)| (k.parse().expect("a name"), v.parse().expect("a value")))
            .collect::<http::HeaderMap>()
            .into(),
        host: "examplebucket.s3.amazonaws.com".into(),
        peer: "127.0.0.1:1".parse().expect("an address"),
        tls_version: None,
        secure: false,
        source_ip: "127.0.0.1".parse().expect("an address"),
        request_id: "".into(),
        host_id: "".into(),
    };
    authenticator.caller(&head).expect("the reference's signature");
    (authenticator, head)
}

/// A bucket policy of `count` statements with conditions; only the last speaks of writes.
pub fn policy_of(count: usize) -> tresor_policy::Policy {
    let statement = |n: usize| {
        format!(
            r#"{{"Sid":"S{n}","Effect":"{}","Principal":"*","Action":"s3:{}","Resource":"arn:aws:s3:::vault/team-{n}*/*","Condition":{{"StringNotEquals":{{"s3:x-amz-server-side-encryption":["aws:kms","AES256"]}},"ArnLike":{{"aws:PrincipalArn":"arn:aws:iam::*:user/*-{n}"}},"IpAddress":{{"aws:SourceIp":"10.{}.0.0/16"}}}}}}"#,
            if n.is_multiple_of(2) { "Deny" } else { "Allow" },
            if n + 1 == count { "Put*" } else { "PutObject" },
            n % 256,
        )
    };
    let statements: Vec<String> = (0..count).map(statement).collect();
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, statements.join(","));
    tresor_policy::Policy::of_resource(&text).expect("the text is written above")
}

/// What a PUT tells a policy, with the tags of who asks.
pub fn put_object_context() -> tresor_policy::Context {
    let mut context = tresor_policy::Context::default();
    context.set("s3:x-amz-server-side-encryption", "aws:kms:dsse").set("aws:SourceIp", "10.1.2.3");
    context.set("aws:PrincipalArn", "arn:aws:iam::111122223333:user/alice").set("aws:SecureTransport", "true");
    for n in 0..20 {
        context.set(&format!("aws:PrincipalTag/tag{n}"), "value");
    }
    context
}
