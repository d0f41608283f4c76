//! What every request pays: sealing and opening, aws-chunked, signature verification, issuing a key.

use async_trait::async_trait;
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::{hint::black_box, io, ops::Range, sync::Arc};
use tresor_digest::{Digests, Kernel, Md5Pool};
use tresor_envelope::{
    Binding, BodyError, CipherSource, CipherStream, DataKey, Envelope, Header, PartParams, PlainSource, SseMode,
    WrappedKeys, open, seal,
};
use tresor_front::{AuthSettings, Authenticator, ChunkDecoder, Head, Query};
use tresor_identity::{Account, Credential, Directory, SecretAccessKey};
use tresor_kms::{
    Call, Change, Domain, ErasureSecrets, Identities, Kept, KeyRing, KeyRingParts, KeySource, KeyStore, KeyStoreError,
    KeyUse, KmsError, NewKey, ObjectPlace, RootKey, SYMMETRIC, SoftwareKeys, Witness,
};
use tresor_model::{AccountId, BucketId, Caller, Clock, Entropy, KeyArn, Principal, Timestamp, WriteId};
use zeroize::Zeroizing;

/// Time stands still and randomness is SHA-256 of a counter: benches need neither to be good.
#[derive(Debug, Default)]
struct Machine(std::sync::atomic::AtomicU64);
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

struct Once(Option<Bytes>);
#[async_trait]
impl PlainSource for Once {
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        Ok(self.0.take())
    }
    fn digests(&mut self) -> Digests {
        Digests::default()
    }
}

struct Held(Bytes);
#[async_trait]
impl CipherSource for Held {
    async fn read(&mut self, _: usize, range: Range<u64>) -> io::Result<CipherStream> {
        let piece = self.0.slice(range.start as usize..range.end as usize);
        Ok(CipherStream::new(futures(piece)))
    }
}

fn futures(piece: Bytes) -> impl futures_core::Stream<Item = io::Result<Bytes>> + Send + 'static {
    futures_util::stream::iter([Ok(piece)])
}

fn key(mode: SseMode) -> tresor_envelope::ContentKey {
    let outer = (mode == SseMode::Dsse).then(|| DataKey::from_bytes([9; 32]));
    let keys = WrappedKeys { outer_wrapped: outer.is_some().then(Vec::new), ..WrappedKeys::default() };
    Envelope::assemble(Header::new(mode, ""), DataKey::from_bytes([7; 32]), outer, keys, Vec::new())
        .expect("the keys fit the mode")
        .0
}

fn sealing(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for (name, size) in [("4KiB", 4 << 10), ("64KiB", 64 << 10), ("1MiB", 1 << 20), ("8MiB", 8 << 20)] {
        for mode in [SseMode::S3, SseMode::Dsse] {
            let header = Header::new(mode, "");
            let params = PartParams::fresh(1, &Machine::default());
            let body = Bytes::from(vec![0x5a; size]);
            let sealed = async || {
                let mut sealed = seal(key(mode), &header, params, Box::new(Once(Some(body.clone()))));
                let mut all = Vec::with_capacity(size + 4096);
                while let Some(chunk) = sealed.next().await.expect("a body that cannot fail") {
                    all.extend_from_slice(&chunk);
                }
                (all, sealed.finish().expect("it is whole").part)
            };
            let mut group = c.benchmark_group(format!("{mode:?}"));
            group.throughput(Throughput::Bytes(size as u64)).sample_size(20);
            group.bench_function(format!("seal/{name}"), |b| b.iter(|| runtime.block_on(sealed())));
            let (blob, part) = runtime.block_on(sealed());
            let blob = Bytes::from(blob);
            group.bench_function(format!("open/{name}"), |b| {
                b.iter(|| {
                    runtime.block_on(async {
                        let source = Box::new(Held(blob.clone()));
                        let mut plain =
                            open(key(mode), &header, vec![part.clone()], 0..size as u64, source).expect("in range");
                        while let Some(piece) = plain.next().await.expect("authentic") {
                            black_box(piece);
                        }
                    });
                });
            });
            group.finish();
        }
    }
}

fn chunked(c: &mut Criterion) {
    let mut body = Vec::new();
    for _ in 0..16 {
        body.extend_from_slice(b"10000\r\n");
        body.extend_from_slice(&[0x5a; 1 << 16]);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n");
    let mut group = c.benchmark_group("aws-chunked");
    group.throughput(Throughput::Bytes(1 << 20)).sample_size(30);
    group.bench_function("decode/1MiB", |b| {
        b.iter(|| {
            let mut decoder = ChunkDecoder::unsigned(true);
            for piece in body.chunks(128 << 10) {
                decoder.push(piece);
                while let Some(data) = decoder.pull().expect("well-formed") {
                    black_box(data);
                }
            }
        });
    });
    group.finish();
}

fn account() -> AccountId {
    "111122223333".parse().expect("twelve digits")
}

/// The worked example of the S3 API reference: GET with a range.
fn signature(c: &mut Criterion) {
    let mut directory = Directory::default();
    let known = Account { id: account(), name: "a".into(), canonical_id: "0".repeat(64), email: None };
    directory.add_account(known).expect("the first account");
    let secret = SecretAccessKey::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    let credential = Credential::new(Principal::Root { account: account() }, secret);
    directory.add_credential("AKIAIOSFODNN7EXAMPLE", credential).expect("the first key");
    let settings = AuthSettings { sigv2: true, virtual_host_domains: Vec::new() };
    let authenticator = Authenticator::new(settings, Arc::new(directory), Arc::new(Machine::default()));
    let headers = [
        ("host", "examplebucket.s3.amazonaws.com"),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-content-sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("range", "bytes=0-9"),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
    ];
    let head = Head {
        document_sha256: None,
        method: http::Method::GET,
        path: "/test.txt".into(),
        query: Query::parse(""),
        headers: headers.iter().map(|(k, v)| (k.parse().expect("a name"), v.parse().expect("a value"))).collect(),
        host: "examplebucket.s3.amazonaws.com".into(),
        peer: "127.0.0.1:1".parse().expect("an address"),
        tls_version: None,
        secure: false,
        source_ip: "127.0.0.1".parse().expect("an address"),
        request_id: String::new(),
        host_id: String::new(),
    };
    authenticator.caller(&head).expect("the reference's signature");
    c.bench_function("sigv4/verify", |b| b.iter(|| black_box(authenticator.caller(&head).is_ok())));
}

#[derive(Debug)]
struct Nowhere;
#[async_trait]
impl KeyStore for Nowhere {
    async fn load(&self) -> Result<Kept, KeyStoreError> {
        Ok(Kept::default())
    }
    async fn commit(&self, _: &[Change], _: Option<&tresor_model::ChangeRecord>) -> Result<(), KeyStoreError> {
        Ok(())
    }
    async fn put_uses(&self, _: &[KeyUse]) -> Result<(), KeyStoreError> {
        Ok(())
    }
    async fn put_tracking_since(&self, _: Timestamp) -> Result<(), KeyStoreError> {
        Ok(())
    }
}
impl Identities for Nowhere {
    fn bindings(&self, _: &Caller) -> tresor_policy::Bindings {
        tresor_policy::Bindings::default()
    }
    fn exists(&self, _: &str) -> bool {
        true
    }
}
impl Witness for Nowhere {
    fn used_by_s3(&self, _: &Call<'_>, _: &KeyArn, _: Option<&str>, _: Option<&KmsError>) {}
    fn service_event(&self, _: &tresor_kms::ServiceEvent<'_>) -> Option<tresor_model::ChangeRecord> {
        None
    }
    fn happened(&self, _: tresor_model::ChangeRecord) {}
}
impl ErasureSecrets for Nowhere {
    fn get(&self, _: &str) -> io::Result<Option<Zeroizing<[u8; 32]>>> {
        Ok(Some(Zeroizing::new([4; 32])))
    }
    fn put(&self, _: &str, _: &[u8; 32]) -> io::Result<()> {
        Ok(())
    }
    fn destroy(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
}

fn keys(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let machine = Arc::new(Machine::default());
    let (domain, _) = Domain::create(&RootKey::generate(&*machine), [1; 16], &*machine);
    let backend = Arc::new(SoftwareKeys::new(&domain, Arc::new(Nowhere), machine.clone()));
    let (store, identities, witness) = (Arc::new(Nowhere), Arc::new(Nowhere), Arc::new(Nowhere));
    let parts = KeyRingParts { store, backend, identities, witness, clock: machine.clone(), entropy: machine };
    let ring = runtime.block_on(KeyRing::open(&domain, "us-east-1", parts)).expect("a ring");
    let caller = Caller::local(Principal::Root { account: account() });
    let call = |operation| Call::new(&caller, operation, "");
    let made = runtime.block_on(ring.create_key(&call("CreateKey"), NewKey::default(), false)).expect("a key");
    let arn = made.arn.clone();
    let context = vec![("purpose".to_owned(), "bench".to_owned())];
    let generate = || call("GenerateDataKey").with_context(&context);
    c.bench_function("kms/generate-data-key", |b| {
        b.iter(|| runtime.block_on(ring.data_key_for(&generate(), arn.as_str(), 32, false)).expect("a data key"));
    });
    let data_key = runtime.block_on(ring.data_key_for(&generate(), arn.as_str(), 32, false));
    let (_, _, wrapped) = data_key.expect("a data key");
    c.bench_function("kms/decrypt", |b| {
        b.iter(|| {
            let call = call("Decrypt").with_context(&context);
            runtime.block_on(ring.decrypt_for(&call, None, SYMMETRIC, &wrapped, false)).expect("a plaintext")
        });
    });
    let owner = account();
    let place = ObjectPlace {
        region: "us-east-1",
        bucket_arn: "arn:aws:s3:::b".into(),
        object_arn: "arn:aws:s3:::b/k".into(),
        owner: &owner,
    };
    let binding = Binding {
        bucket: BucketId::from_bytes([1; 16]),
        key: "k".parse().expect("a key"),
        write: WriteId::from_bytes([2; 16]),
    };
    let mut group = c.benchmark_group("issue");
    for name in ["s3", "kms", "bucket-key", "dsse"] {
        let source = || match name {
            "s3" => KeySource::S3Managed,
            "dsse" => KeySource::Dsse { key: arn.clone(), context: Vec::new() },
            _ => KeySource::Kms { key: arn.clone(), context: Vec::new(), bucket_key: name == "bucket-key" },
        };
        group.bench_function(name, |b| {
            b.iter_batched(
                source,
                |source| runtime.block_on(ring.issue(&caller, source, &binding, &place)).is_ok(),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// Eight uploads in flight of 1 MiB each, over every kernel of this machine, beside one stream after the other.
fn md5(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let body = Bytes::from(vec![0x5a; 1 << 20]);
    let mut group = c.benchmark_group("md5");
    for streams in [1_u64, 4, 8, 16] {
        group.throughput(Throughput::Bytes(streams << 20)).sample_size(20);
        group.bench_function(format!("one-by-one/{streams}"), |b| {
            b.iter(|| {
                for _ in 0..streams {
                    black_box(tresor_digest::md5(&body));
                }
            });
        });
        for kernel in Kernel::of_this_machine() {
            let pool = Md5Pool::with(kernel, 1).expect("a thread");
            group.bench_function(format!("{kernel:?}/{streams}"), |b| {
                b.iter(|| {
                    runtime.block_on(async {
                        let bodies = (0..streams).map(|_| async {
                            let hashed = pool.body();
                            for piece in 0..16 {
                                hashed.update(body.slice(piece << 16..(piece + 1) << 16)).await;
                            }
                            hashed.finish().await.expect("the thread lives")
                        });
                        black_box(futures_util::future::join_all(bodies).await)
                    });
                });
            });
        }
    }
    group.finish();
}

/// A bucket policy of `count` statements with conditions; only the last speaks of writes.
fn policy_of(count: usize) -> tresor_policy::Policy {
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

fn policies(c: &mut Criterion) {
    use tresor_policy::{Context, Kind, Question, Requester, Sources, decide_resource};
    let mut context = Context::default();
    context.set("s3:x-amz-server-side-encryption", "aws:kms:dsse").set("aws:SourceIp", "10.1.2.3");
    context.set("aws:PrincipalArn", "arn:aws:iam::111122223333:user/alice").set("aws:SecureTransport", "true");
    for n in 0..20 {
        context.set(&format!("aws:PrincipalTag/tag{n}"), "value");
    }
    let who = Requester::of(Kind::User, "arn:aws:iam::111122223333:user/alice", "111122223333");
    // The longest key, which every resource pattern looks at.
    let resource = format!("arn:aws:s3:::vault/{}", "team-1/".repeat(146));
    let mut group = c.benchmark_group("policy");
    for (name, count, resource) in
        [("20 statements", 20, "arn:aws:s3:::vault/team-1/reports/q1.csv"), ("20 KiB", 58, resource.as_str())]
    {
        let policy = policy_of(count);
        let question = Question { who, action: "s3:PutObject", resource, context: &context };
        let sources = Sources { resource: Some(&policy), resource_account: "111122223333", ..Sources::default() };
        group.bench_function(name, |b| b.iter(|| black_box(decide_resource(black_box(&question), &sources).allowed())));
    }
    // What matching costs at worst: patterns of many pieces that fail late, as many as fit into 20 KiB.
    let pattern = format!("\"arn:aws:s3:::vault/*{}b\"", "a?".repeat(240));
    let text = format!(
        r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":[{}]}}}}"#,
        vec![pattern; 39].join(",")
    );
    let policy = tresor_policy::Policy::of_resource(&text).expect("the text is written above");
    let resource = format!("arn:aws:s3:::vault/{}", "a".repeat(1024));
    let question = Question { who, action: "s3:PutObject", resource: &resource, context: &context };
    group.bench_function("20 KiB of hostile patterns", |b| {
        b.iter(|| black_box(policy.judge(black_box(&question)).allow.is_some()));
    });
    group.finish();
}

criterion_group!(benches, sealing, chunked, signature, keys, md5, policies);
criterion_main!(benches);
