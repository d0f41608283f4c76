//! Holds hot operations to a budget of instructions: unlike a time, their number is the same on a busy machine, so a change that makes
//! every request dearer fails `make ci` and not a release later. `instructions` runs itself under callgrind, twice for each operation;
//! the difference of the two runs is that of the repetitions alone. `instructions --write` records a new budget.
//!
//! valgrind knows no AVX-512 and hides it from CPUID: aws-lc and the MD5 kernels take their AVX2 paths.

#[path = "../subjects.rs"]
#[allow(dead_code, reason = "the benches use all of it")]
mod subjects;

use bytes::Bytes;
use std::{collections::BTreeMap, fmt::Write as _, hint::black_box, path::Path, process::Command, sync::Arc};
use subjects::{Held, Machine, Once, account, key, policy_of, put_object_context, signed_put};
use tresor_digest::Kernel;
use tresor_envelope::{
    Binding, DataKey, Envelope, Header, PartParams, RecordKey, SseMode, WrappedKeys, open, seal, wrap,
};
use tresor_model::{ChecksumType, Clock, ObjectKey, TagSet, WriteId};
use tresor_policy::{Kind, Question, Requester, Sources, decide_resource};
use tresor_storage::{
    Bucket, ETagRule, IndexRoot, MemoryBlobs, MemoryMeta, NewObject, ObjectMeta, Precondition, Store, StoreKeys,
    VersionChange,
};

type Failure = Box<dyn std::error::Error>;

/// So much above the budget fails; so much below it asks for a lower one.
const TOLERANCE: f64 = 0.05;
/// Repetitions of the shorter run; the longer one has twice as many.
const REPETITIONS: u64 = 20;

/// Does an operation so often.
type Repeated = fn(u64) -> Result<(), Failure>;

const OPERATIONS: [(&str, Repeated); 6] = [
    ("sigv4-verify-put", sigv4),
    ("policy-20-statements", policy),
    ("seal-4KiB", seal_4kib),
    ("open-4KiB", open_4kib),
    ("md5-8x64KiB-avx2", md5),
    ("object-row", object_row),
];

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--one", name, repetitions] => {
            let (_, run) = OPERATIONS.iter().find(|(known, _)| *known == name).ok_or("no such operation")?;
            run(repetitions.parse()?)
        }
        [] => guard(),
        ["--write"] => write(),
        _ => Err("usage: instructions [--write]".into()),
    }
}

fn budget_file() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/budget.toml"))
}

fn guard() -> Result<(), Failure> {
    let budget: BTreeMap<String, u64> = toml::from_str(&std::fs::read_to_string(budget_file())?)?;
    let mut wrong = Vec::new();
    for (name, _) in OPERATIONS {
        let found = counted(name)?;
        let Some(allowed) = budget.get(name) else {
            wrong.push(format!("{name} has no budget"));
            continue;
        };
        let change = found as f64 / *allowed as f64 - 1.0;
        println!("{name:<22} {found:>9} instructions, budget {allowed:>9} ({:+.1} %)", change * 100.0);
        if change > TOLERANCE {
            wrong.push(format!("{name} takes {:.1} % more instructions than its budget", change * 100.0));
        } else if change < -TOLERANCE {
            println!("{:<22} well done: lower the budget with `make instructions-budget`", "");
        }
    }
    wrong.extend(
        budget
            .keys()
            .filter(|name| OPERATIONS.iter().all(|(known, _)| known != name))
            .map(|name| format!("{name} is no operation")),
    );
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("; ").into()),
    }
}

fn write() -> Result<(), Failure> {
    let mut text = String::from(
        "# Instructions of one operation: `make instructions-budget` writes them. A higher number needs a reason in its commit.\n",
    );
    for (name, _) in OPERATIONS {
        writeln!(text, "\"{name}\" = {}", counted(name)?)?;
    }
    print!("{text}");
    Ok(std::fs::write(budget_file(), text)?)
}

/// Instructions of one repetition.
fn counted(name: &str) -> Result<u64, Failure> {
    let (short, long) = (collected(name, REPETITIONS)?, collected(name, 2 * REPETITIONS)?);
    Ok(long.saturating_sub(short) / REPETITIONS)
}

fn collected(name: &str, repetitions: u64) -> Result<u64, Failure> {
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["--one", name, &repetitions.to_string()])
        .output()
        .map_err(|error| format!("valgrind cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    let count = said.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, count)| count.trim().parse());
    match (done.status.success(), count) {
        (true, Some(count)) => Ok(count?),
        _ => Err(format!("{name} failed under valgrind: {said}").into()),
    }
}

fn sigv4(repetitions: u64) -> Result<(), Failure> {
    let (authenticator, head) = signed_put();
    for _ in 0..repetitions {
        black_box(authenticator.caller(black_box(&head)).is_ok());
    }
    Ok(())
}

fn policy(repetitions: u64) -> Result<(), Failure> {
    let (policy, context) = (policy_of(20), put_object_context());
    let who = Requester::of(Kind::User, "arn:aws:iam::111122223333:user/alice", "111122223333");
    let resource = "arn:aws:s3:::vault/team-1/reports/q1.csv";
    let question = Question { who, action: "s3:PutObject", resource, context: &context };
    let sources = Sources { resource: Some(&policy), resource_account: "111122223333", ..Sources::default() };
    for _ in 0..repetitions {
        black_box(decide_resource(black_box(&question), &sources).allowed());
    }
    Ok(())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().build()
}

const BODY: &[u8] = &[0x5a; 4096];

async fn sealed(header: &Header) -> Result<(Bytes, tresor_envelope::SealedPart), Failure> {
    let params = PartParams::fresh(1, &Machine::default());
    let mut sealed = seal(key(SseMode::S3), header, params, Box::new(Once(Some(Bytes::from_static(BODY)))));
    // As a store takes a body that lies in the commit.
    let all = sealed.take_small(2 * BODY.len()).await?.ok_or("a small body is whole")?;
    Ok((all.into(), sealed.finish()?.part))
}

fn seal_4kib(repetitions: u64) -> Result<(), Failure> {
    let header = Header::new(SseMode::S3, "");
    runtime()?.block_on(async {
        for _ in 0..repetitions {
            black_box(sealed(&header).await?);
        }
        Ok(())
    })
}

fn open_4kib(repetitions: u64) -> Result<(), Failure> {
    let header = Header::new(SseMode::S3, "");
    runtime()?.block_on(async {
        let (blob, part) = sealed(&header).await?;
        for _ in 0..repetitions {
            let source = Box::new(Held(blob.clone()));
            let mut plain = open(key(SseMode::S3), &header, vec![part.clone()], 0..BODY.len() as u64, source)?;
            while let Some(piece) = plain.next().await? {
                black_box(piece);
            }
        }
        Ok(())
    })
}

fn md5(repetitions: u64) -> Result<(), Failure> {
    let kernel =
        Kernel::of_this_machine().into_iter().find(|kernel| kernel.lanes() == 8).ok_or("valgrind shows no AVX2")?;
    let texts: Vec<Vec<u8>> = (0..8).map(|n| vec![n; 64 << 10]).collect();
    let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    for _ in 0..repetitions {
        black_box(kernel.digests(black_box(&texts)));
    }
    Ok(())
}

/// Finds an object by its key, opens its row, changes it, seals and commits it.
fn object_row(repetitions: u64) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let machine = Arc::new(Machine::default());
        let keys = StoreKeys { records: RecordKey::derive(&[1; 32]), index: IndexRoot::new(&[2; 32]) };
        let (meta, blobs) = (Arc::new(MemoryMeta::default()), Arc::new(MemoryBlobs::default()));
        let store = Store::new(meta, blobs, keys, machine.clone(), machine.clone());
        let bucket = store.create_bucket(&"bench".parse()?, &account(), "us-east-1", Vec::new()).await?;
        for n in 0..100 {
            put(&store, &bucket, &machine, &format!("folder/of/objects/object-{n:08}")).await?;
        }
        let key: ObjectKey = "folder/of/objects/object-00000050".parse()?;
        for _ in 0..repetitions {
            let version = store.version(&bucket, &key, None).await?.ok_or("it was put above")?;
            store.change_version(&bucket, &version, &VersionChange::Tags(TagSet::default())).await?;
        }
        Ok(())
    })
}

async fn put(store: &Store, bucket: &Bucket, machine: &Arc<Machine>, name: &str) -> Result<(), Failure> {
    let key: ObjectKey = name.parse()?;
    let write = WriteId::fresh(machine.now(), &**machine);
    let header = Header::new(SseMode::S3, "");
    let data_key = DataKey::generate(&**machine);
    let binding = Binding { bucket: bucket.id, key: key.clone(), write };
    let wrapped = wrap(&[9; 32], &**machine, &binding.digest(&header), data_key.expose());
    let keys = WrappedKeys { wrapped, ..WrappedKeys::default() };
    let (content, envelope) = Envelope::assemble(header, data_key, None, keys, Vec::new())?;
    let body = Box::new(Once(Some(Bytes::from_static(BODY))));
    let sealed = seal(content, &envelope.header, PartParams::fresh(1, &**machine), body);
    let new = NewObject {
        key,
        write,
        owner: account(),
        meta: ObjectMeta { content_type: Some("binary/octet-stream".into()), ..ObjectMeta::default() },
        tags: TagSet::default(),
        envelope,
        key_id: String::new(),
        material_id: String::new(),
        etag: ETagRule::Opaque,
        checksum_kind: ChecksumType::FullObject,
        precondition: Precondition::default(),
        acl: None,
    };
    store.put_object(bucket, new, sealed).await?;
    Ok(())
}
