//! The definition of done for a backend: every MetaStore and every BlobStore passes its suite. Panics where one does not.

use crate::{
    blob::{BlobId, BlobStore},
    meta::{Batch, Expected, MetaError, MetaStore, PASSING, Partition, Scan, Step},
};
use async_trait::async_trait;
use bytes::Bytes;
use tresor_digest::Digests;
use tresor_envelope::{
    BodyError, DataKey, Envelope, Header, PartParams, PlainSource, SealedBody, SseMode, WrappedKeys, seal,
};
use tresor_model::BucketId;

fn row(key: &str) -> Vec<u8> {
    key.as_bytes().to_vec()
}

/// A metadata engine that is still empty.
pub async fn meta(store: &dyn MetaStore) {
    let (here, there) = (Partition([7; 16]), Partition([8; 16]));
    let put = |key: &str, value: &'static str| Batch::default().put(row(key), value);
    let read = async |place, key: &str| store.get(place, key.as_bytes()).await.expect("get").map(|v| v.to_vec());

    assert_eq!(read(here, "a").await, None);
    store.commit(here, put("a", "1")).await.expect("put");
    assert_eq!(read(here, "a").await.as_deref(), Some(&b"1"[..]));
    assert_eq!(read(there, "a").await, None, "partitions are apart");

    // Guards: all or nothing.
    let absent = |key: &str, batch: Batch| batch.guard(row(key), Expected::Absent);
    let equals = |key: &str, value: &'static str, batch: Batch| batch.guard(row(key), Expected::Value(value.into()));
    assert!(matches!(store.commit(here, absent("a", put("b", "1"))).await, Err(MetaError::Conflict)));
    assert!(matches!(store.commit(here, equals("a", "2", put("b", "1"))).await, Err(MetaError::Conflict)));
    assert!(matches!(store.commit(here, equals("none", "2", put("b", "1"))).await, Err(MetaError::Conflict)));
    assert_eq!(read(here, "b").await, None, "a batch whose guard failed wrote something");
    store.commit(here, equals("a", "1", absent("b", put("b", "2").delete(row("a"))))).await.expect("both guards hold");
    assert_eq!((read(here, "a").await, read(here, "b").await), (None, Some(b"2".to_vec())));
    store.commit(here, Batch::default().delete(row("a"))).await.expect("deleting what is not there");
    store.commit(here, put("c", "1").delete(row("c")).put(row("c"), "2")).await.expect("in order");
    assert_eq!(read(here, "c").await.as_deref(), Some(&b"2"[..]), "the last write of a row counts");

    // Counters.
    let add = |by| Batch::default().add(row("n"), by);
    store.commit(here, add([2, 300])).await.expect("add");
    store.commit(here, add([1, -100]).add(row("n"), [1, 0])).await.expect("add twice");
    let expected = [4_i64.to_be_bytes(), 200_i64.to_be_bytes()].concat();
    assert_eq!(read(here, "n").await, Some(expected));
    store.commit(here, add([-4, -200])).await.expect("add");
    assert_eq!(read(here, "n").await, None, "a row of zeros is deleted");

    // Scans.
    let keys = ["s/", "s/a", "s/a\0", "s/a/b", "s/b", "s0", "t"];
    for key in keys {
        store.commit(here, put(key, "x")).await.expect("put");
    }
    store.commit(there, put("s/c", "x")).await.expect("put");
    let scan = async |from: &str, limit| {
        let page = store.scan(here, Scan { prefix: row("s/"), from: row(from), limit }).await.expect("scan");
        let keys: Vec<String> = page.entries.iter().map(|(key, _)| String::from_utf8_lossy(key).into_owned()).collect();
        (keys, page.more)
    };
    assert_eq!(scan("", 10).await, (keys[..5].iter().map(|k| (*k).to_owned()).collect(), false));
    assert_eq!(scan("s/a\0", 2).await, (vec!["s/a\0".to_owned(), "s/a/b".to_owned()], true));
    assert_eq!(scan("s/b", 1).await, (vec!["s/b".to_owned()], false));
    assert_eq!(scan("s/c", 10).await, (vec![], false));

    // Walks: the same rows, where they lie; a step may skip some or end it.
    let walk = |from: &str, steps: &mut dyn FnMut(&str) -> Step| {
        let mut seen = Vec::new();
        let mut visit = |key: &[u8], value: &[u8]| {
            assert_eq!(value, b"x");
            seen.push(String::from_utf8_lossy(key).into_owned());
            steps(&seen[seen.len() - 1])
        };
        store.walk(here, b"s/", from.as_bytes(), &mut visit).expect("walk");
        seen
    };
    assert_eq!(walk("", &mut |_| Step::Next), keys[..5]);
    assert_eq!(walk("a", &mut |_| Step::Next), keys[..5], "what is below the prefix is not of it");
    assert_eq!(walk("s/a\0", &mut |_| Step::Next), keys[2..5]);
    assert_eq!(walk("s/c", &mut |_| Step::Next), keys[..0]);
    assert_eq!(walk("", &mut |key| if key == "s/a" { Step::End } else { Step::Next }), keys[..2]);
    let skip = |to: &'static str| move |key: &str| if key == "s/a" { Step::Seek(row(to)) } else { Step::Next };
    assert_eq!(walk("", &mut skip("s/a/a")), ["s/", "s/a", "s/a/b", "s/b"]);
    assert_eq!(walk("", &mut skip("s/b")), ["s/", "s/a", "s/b"]);
    assert_eq!(walk("", &mut skip("s0")), ["s/", "s/a"], "beyond the prefix nothing is shown");

    // Rows that pass stand among the others.
    let passing = |n: u8| [PASSING, &[n]].concat();
    let batch = (1..=4).fold(put("d", "x").put(row("f"), "x"), |batch, n| batch.put(passing(n), vec![n]));
    store.commit(here, batch).await.expect("put");
    store.commit(here, Batch::default().delete(passing(2)).put(passing(3), "3")).await.expect("remove");
    let scan = async |prefix: &[u8], from: &[u8], limit| {
        let scan = Scan { prefix: prefix.to_vec(), from: from.to_vec(), limit };
        let page = store.scan(here, scan).await.expect("scan");
        (page.entries.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), page.more)
    };
    assert_eq!(store.get(here, &passing(3)).await.expect("get").as_deref(), Some(&b"3"[..]));
    assert_eq!(store.get(here, &passing(2)).await.expect("get"), None);
    assert_eq!(scan(PASSING, b"", 9).await, (vec![passing(1), passing(3), passing(4)], false));
    assert_eq!(scan(PASSING, &passing(2), 1).await, (vec![passing(3)], true));
    assert_eq!(scan(b"", b"d", 3).await, (vec![row("d"), passing(1), passing(3)], true));
    assert_eq!(scan(b"", &passing(4), 2).await, (vec![passing(4), row("f")], true));
    assert_eq!(scan(b"f", b"", 2).await, (vec![row("f")], false));
    let walk = |from: &[u8], steps: &mut dyn FnMut(&[u8]) -> Step| {
        let mut seen = Vec::new();
        let mut visit = |key: &[u8], _: &[u8]| {
            seen.push(key.to_vec());
            steps(key)
        };
        store.walk(here, b"", from, &mut visit).expect("walk");
        seen
    };
    let to_f = &mut |key: &[u8]| if key == b"f" { Step::End } else { Step::Next };
    assert_eq!(walk(b"d", to_f), [row("d"), passing(1), passing(3), passing(4), row("f")]);
    let over = &mut |key: &[u8]| match key {
        b"d" => Step::Seek(passing(2)),
        b"f" => Step::End,
        _ => Step::Next,
    };
    assert_eq!(walk(b"d", over), [row("d"), passing(3), passing(4), row("f")]);
    let to_s = &mut |key: &[u8]| if key == b"s0" { Step::End } else { Step::Seek(row("s0")) };
    assert_eq!(walk(b"d", to_s), [row("d"), row("s0")]);
    let guarded = Batch::default().guard(passing(1), Expected::Value(vec![1].into())).delete(passing(1));
    store.commit(here, guarded).await.expect("the guard holds");
    assert!(matches!(
        store.commit(here, Batch::default().guard(passing(3), Expected::Absent)).await,
        Err(MetaError::Conflict)
    ));
    store.commit(Partition([9; 16]), Batch::default().put(passing(1), "1")).await.expect("put");
    assert_eq!(store.next_partition(Some(there)).await.expect("partitions"), Some(Partition([9; 16])));
    store.commit(Partition([9; 16]), Batch::default().delete(passing(1))).await.expect("remove");

    // Partitions.
    let next = async |after| store.next_partition(after).await.expect("partitions");
    assert_eq!((next(None).await, next(Some(here)).await, next(Some(there)).await), (Some(here), Some(there), None));

    // Limits.
    let mut large = Batch::default();
    for n in 0..=Batch::MAX_KEYS {
        large = large.put(n.to_be_bytes().to_vec(), "x");
    }
    assert!(matches!(store.commit(here, large).await, Err(MetaError::TooLarge { .. })));
    let huge = Batch::default().put(row("huge"), vec![0; Batch::MAX_BYTES + 1]);
    assert!(matches!(store.commit(here, huge).await, Err(MetaError::TooLarge { .. })));

    // Races: of many who want to be first, one is.
    let tries = (0..20).map(|n| store.commit(here, absent("first", Batch::default().put(row("first"), vec![n + 1]))));
    let won = futures_util::future::join_all(tries).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(won, 1);
    let adds = (0..50).map(|_| store.commit(here, Batch::default().add(row("sum"), [1, 1])));
    assert!(futures_util::future::join_all(adds).await.iter().all(Result::is_ok));
    assert_eq!(read(here, "sum").await, Some([50_i64.to_be_bytes(), 50_i64.to_be_bytes()].concat()));
}

struct Pieces(Vec<Bytes>, bool);

#[async_trait]
impl PlainSource for Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        match self.0.pop() {
            Some(piece) => Ok(Some(piece)),
            None if self.1 => Err(BodyError::Source("the digest does not match".into())),
            None => Ok(None),
        }
    }
    fn digests(&mut self) -> Digests {
        Digests::default()
    }
}

/// A sealed body of `length` bytes of plaintext that fails at its end if told to.
pub fn body(length: usize, fails: bool) -> SealedBody {
    let header = Header::new(SseMode::S3, "");
    let (key, _) =
        Envelope::assemble(header.clone(), DataKey::from_bytes([1; 32]), None, WrappedKeys::default(), Vec::new())
            .expect("one layer");
    let params = PartParams { number: 1, salt: [2; 32], stream: [3; 16] };
    let pieces = vec![0x55; length].chunks(100_000).map(Bytes::copy_from_slice).collect();
    seal(key, &header, params, Box::new(Pieces(pieces, fails)))
}

/// A blob store that is still empty.
pub async fn blobs(store: &dyn BlobStore) {
    let id =
        |n: u8| BlobId { bucket: BucketId::from_bytes([n; 16]), owner: [n; 16], part: u16::from(n), nonce: [n; 8] };
    let read = async |n, range| store.read(&id(n), range, 65_552).await.expect("read").collect().await.expect("bytes");

    for (n, length) in [(1_u8, 0_usize), (2, 1), (3, 65_536), (4, 3_000_000)] {
        let mut expected = Vec::new();
        let mut twin = body(length, false);
        while let Some(piece) = twin.next().await.expect("a body") {
            expected.extend_from_slice(&piece);
        }
        let written = store.write(&id(n), &mut body(length, false)).await.expect("write");
        assert_eq!(written, expected.len() as u64);
        assert!(read(n, 0..written).await == expected);
        for range in [0..0, 0..1, written / 2..written, written - 1..written] {
            assert!(read(n, range.clone()).await == expected[range.start as usize..range.end as usize]);
        }
        let beyond = match store.read(&id(n), 0..written + 1, 65_552).await {
            Ok(stream) => stream.collect().await,
            Err(error) => Err(error),
        };
        assert!(beyond.is_err(), "a read beyond the end succeeded");
    }

    // A body that fails is never readable.
    assert!(store.write(&id(5), &mut body(200_000, true)).await.is_err());
    store.remove(&id(5)).await.expect("removing a remnant");
    assert!(store.read(&id(5), 0..1, 1).await.is_err());

    let listed = store.list(None, 100).await.expect("list");
    assert_eq!(listed, [1, 2, 3, 4].map(id));
    assert_eq!(store.list(Some(id(2)), 1).await.expect("list"), [id(3)]);
    store.remove(&id(2)).await.expect("remove");
    store.remove(&id(2)).await.expect("remove again");
    assert!(store.read(&id(2), 0..1, 1).await.is_err());
    assert_eq!(store.list(None, 100).await.expect("list"), [1, 3, 4].map(id));
}
