//! What every request pays: sealing and opening, aws-chunked, signature verification, issuing a key.

mod subjects;

use async_trait::async_trait;
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::{hint::black_box, io, sync::Arc};
use subjects::{Held, Machine, Once, account, key, policy_of, put_object_context, signed_put};
use tresor_bench::client_parts::{Credentials, Signer};
use tresor_digest::{Kernel, Md5Pool};
use tresor_envelope::{Binding, Header, PartParams, RecordGroup, RecordKey, SseMode, open, seal};
use tresor_front::ChunkDecoder;
use tresor_kms::{
    Call, Change, Domain, ErasureSecrets, Identities, Kept, KeyRing, KeyRingParts, KeySource, KeyStore, KeyStoreError,
    KeyUse, KmsError, NewKey, ObjectPlace, RootKey, SYMMETRIC, SoftwareKeys, Witness,
};
use tresor_model::{BucketId, Caller, KeyArn, Principal, Timestamp, WriteId};
use zeroize::Zeroizing;

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
    let body = Bytes::from(body);
    let mut group = c.benchmark_group("aws-chunked");
    group.throughput(Throughput::Bytes(1 << 20)).sample_size(30);
    group.bench_function("decode/1MiB", |b| {
        b.iter(|| {
            let mut decoder = ChunkDecoder::unsigned(true);
            for n in (0..body.len()).step_by(128 << 10) {
                decoder.push(body.slice(n..body.len().min(n + (128 << 10))));
                while let Some(data) = decoder.pull().expect("well-formed") {
                    black_box(data);
                }
            }
        });
    });
    group.finish();
}

fn signature(c: &mut Criterion) {
    let (authenticator, head) = signed_put();
    c.bench_function("sigv4/verify", |b| b.iter(|| black_box(authenticator.caller(&head).is_ok())));
}

/// What the load generator pays for a signature, beside what the whole of aws-sigv4 would cost it.
fn client_signature(c: &mut Criterion) {
    use aws_sigv4::{
        http_request::{SignableBody, SignableRequest, SigningSettings, sign},
        sign::v4,
    };
    let (key, secret) = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    let now = std::time::SystemTime::now();
    let headers = [("host", "127.0.0.1:9000"), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")];
    let mut signer = Signer::new(Credentials::new(key, secret, "us-east-1"));
    let mut group = c.benchmark_group("client-sign");
    group.bench_function("ours", |b| {
        b.iter(|| black_box(signer.sign(now, "PUT", "/bench/k/00000001", "", &headers, "UNSIGNED-PAYLOAD")));
    });
    let identity = aws_credential_types::Credentials::new(key, secret, None, None, "bench").into();
    group.bench_function("aws-sigv4", |b| {
        b.iter(|| {
            let params = v4::SigningParams::builder()
                .identity(&identity)
                .region("us-east-1")
                .name("s3")
                .time(now)
                .settings(SigningSettings::default())
                .build()
                .expect("every parameter is there");
            let url = "http://127.0.0.1:9000/bench/k/00000001";
            let body = SignableBody::UnsignedPayload;
            let request = SignableRequest::new("PUT", url, headers.iter().copied(), body).expect("a URL");
            black_box(sign(request, &params.into()).expect("it can be signed"))
        });
    });
    group.finish();
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

fn policies(c: &mut Criterion) {
    use tresor_policy::{Kind, Question, Requester, Sources, decide_resource};
    let context = put_object_context();
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

/// Four records of a listing's page, one after the other and as a group.
fn records(c: &mut Criterion) {
    let key = RecordKey::derive(&[1; 32]);
    let rows: Vec<_> = (0..4_u8).map(|n| (vec![n; 40], vec![n; 750])).collect();
    let macs: Vec<_> = rows.iter().map(|(row, record)| key.mac(&[7; 16], row, record)).collect();
    let mut group = c.benchmark_group("records");
    group.bench_function("one-by-one/4", |b| {
        b.iter(|| {
            for ((row, record), mac) in rows.iter().zip(&macs) {
                black_box(key.verify(&[7; 16], row, record, mac)).expect("authentic");
            }
        });
    });
    let mut four = RecordGroup::new(&[7; 16]);
    group.bench_function("group/4", |b| {
        b.iter(|| {
            four.clear();
            for ((row, record), mac) in rows.iter().zip(&macs) {
                four.add(row, record, mac);
            }
            black_box(key.open_group(&four).expect("authentic").count())
        });
    });
    group.finish();
}

criterion_group!(benches, sealing, chunked, signature, client_signature, keys, md5, records, policies);
criterion_main!(benches);
