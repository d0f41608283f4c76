//! Must show 5, on the metadata: every byte of every row of a bucket flipped in turn, rows under another's key, parts dropped,
//! reordered and duplicated. Whatever is done, a read gives the right bytes or an error.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use tresor_envelope::{Binding, Envelope};
use tresor_storage::{Bucket, Found, Opened, Opener, Problem};
use world::World;

/// Rows whose bytes a read depends on: objects, small bodies, parts.
fn matters(row: &[u8]) -> bool {
    [&b"o/"[..], b"b/", b"p/"].iter().any(|prefix| row.starts_with(prefix))
}

#[tokio::test]
async fn every_byte_of_every_row_matters() {
    let world = World::new().await;
    let (small, large) = (vec![7; 300], (0..100_000_u32).map(|n| n as u8).collect::<Vec<u8>>());
    let parts = [vec![1; 70_000], vec![2; 10], vec![3; 40_000]];
    world.put("small", &small).await;
    world.put("large", &large).await;
    world.put_parts("parts", &parts).await;
    let expected = [("small", small), ("large", large), ("parts", parts.concat())];
    let rows: Vec<_> = world.rows().await.into_iter().filter(|(row, _)| matters(row)).collect();
    assert_eq!(rows.len(), 3 + 1 + 3, "three records, one small body, three parts");
    for (row, value) in rows {
        for n in 0..value.len() {
            let mut broken = value.to_vec();
            broken[n] ^= 1 << (n % 8);
            world.set(&row, broken.into()).await;
            let mut errors = 0;
            for (name, body) in &expected {
                match world.get(name).await {
                    Some(got) => assert!(got == *body, "byte {n} of row {row:?} changed what {name} reads"),
                    None => errors += 1,
                }
            }
            assert_eq!(errors, 1, "byte {n} of row {row:?} went unnoticed");
        }
        for cut in [0, 1, value.len() / 2, value.len() - 1] {
            if cut > 0 {
                world.set(&row, value.slice(..cut)).await;
                let read = futures_util::future::join_all(expected.iter().map(|(name, _)| world.get(name))).await;
                assert_eq!(read.iter().filter(|got| got.is_none()).count(), 1, "row {row:?} cut at {cut}");
            }
        }
        world.set(&row, value).await;
    }
    for (name, body) in &expected {
        assert!(world.get(name).await.as_ref() == Some(body));
    }
}

#[tokio::test]
async fn rows_under_another_key_do_not_open() {
    let world = World::new().await;
    for name in ["a", "b"] {
        world.put(name, name.repeat(100).as_bytes()).await;
    }
    let rows = world.rows().await;
    for prefix in [&b"o/"[..], b"b/"] {
        let of: Vec<_> = rows.iter().filter(|(row, _)| row.starts_with(prefix)).collect();
        assert_eq!(of.len(), 2);
        world.set(&of[0].0, of[1].1.clone()).await;
        let first = world.get("a").await;
        assert!(first.is_none() || first.as_deref() == Some("a".repeat(100).as_bytes()));
        assert!([first, world.get("b").await].iter().any(Option::is_none));
        world.set(&of[0].0, of[0].1.clone()).await;
    }
    // A record under a name that has none.
    let (row, value) = rows.iter().find(|(row, _)| row == b"o/a").unwrap();
    world.set(b"o/c", value.clone()).await;
    assert_eq!(world.get("c").await, None);
    assert!(world.get("a").await.is_some(), "{row:?}");
}

#[tokio::test]
async fn parts_dropped_reordered_duplicated_or_replaced_are_found() {
    let world = World::new().await;
    let parts: Vec<Vec<u8>> = (0..4_u8).map(|n| vec![n; 1000]).collect();
    world.put_parts("k", &parts).await;
    world.put_parts("other", &parts).await;
    let whole = parts.concat();
    let upload = {
        let rows = world.rows().await;
        let first = rows.iter().find(|(row, _)| row.starts_with(b"p/")).unwrap().0.clone();
        first[..18].to_vec()
    };
    let all = world.rows().await;
    let rows: Vec<_> = all.iter().filter(|(row, _)| row.starts_with(&upload)).cloned().collect();
    let others: Vec<_> =
        all.iter().filter(|(row, _)| row.starts_with(b"p/") && !row.starts_with(&upload)).cloned().collect();
    assert_eq!((rows.len(), others.len()), (4, 4));
    let name = if world.get("k").await.is_some() { "k" } else { "other" };
    let victim = {
        world.drop_row(&rows[1].0).await;
        let victim = if world.get("k").await.is_none() { "k" } else { "other" };
        assert_eq!(world.get(victim).await, None, "{name}");
        world.set(&rows[1].0, rows[1].1.clone()).await;
        victim
    };
    assert!(world.get(victim).await.as_ref() == Some(&whole));
    // Two rows in each other's place, one row twice, and a row of another upload.
    for (at, value) in [(0, &rows[1].1), (1, &rows[2].1), (3, &rows[0].1), (2, &others[2].1)] {
        world.set(&rows[at].0, value.clone()).await;
        assert_eq!(world.get(victim).await, None, "row {at}");
        world.set(&rows[at].0, rows[at].1.clone()).await;
    }
    // A part that was never chosen.
    let extra = [&rows[3].0[..rows[3].0.len() - 2], &[0, 9]].concat();
    world.set(&extra, rows[3].1.clone()).await;
    assert!(world.get(victim).await.is_none_or(|got| got == whole));
    world.drop_row(&extra).await;
    assert!(world.get(victim).await.as_ref() == Some(&whole));
}

/// What a store keeps of parts' rows does not hide that one of them was changed, lost or replaced from whoever reads that part.
#[tokio::test]
async fn a_range_needs_the_rows_of_the_parts_it_touches() {
    let world = World::new().await;
    let parts: Vec<Vec<u8>> = (0..20_u8).map(|n| vec![n; 1000]).collect();
    world.put_parts("k", &parts).await;
    let whole = parts.concat();
    let rows: Vec<_> = world.rows().await.into_iter().filter(|(row, _)| row.starts_with(b"p/")).collect();
    let read = async |part: u64| world.get_range("k", part * 1000 + 10..part * 1000 + 20).await;
    for round in ["nothing is kept", "all is kept"] {
        assert_eq!(read(3).await, Some(vec![3; 10]), "{round}");
        let mut broken = rows[4].1.to_vec();
        broken[9] ^= 1;
        for bad in [Some(broken.into()), Some(rows[3].1.clone()), None] {
            match bad {
                Some(bad) => world.set(&rows[4].0, bad).await,
                None => world.drop_row(&rows[4].0).await,
            }
            assert_eq!(read(4).await, None, "{round}");
            assert_eq!(world.get_range("k", 0..5000).await, None, "{round}");
            assert_eq!(world.get("k").await, None, "{round}");
            assert!(read(3).await.is_none_or(|got| got == [3; 10]), "{round}");
        }
        world.set(&rows[4].0, rows[4].1.clone()).await;
        assert!(world.get("k").await.as_ref() == Some(&whole), "{round}");
    }
}

struct ByWorld<'a>(&'a World);
#[async_trait::async_trait]
impl Opener for ByWorld<'_> {
    async fn open(&self, _: &Bucket, binding: &Binding, envelope: &Envelope) -> Opened {
        match self.0.recover(envelope, &binding.key, binding.write) {
            Some(key) => Opened::Key(key),
            None => Opened::Failed("its data key does not open".into()),
        }
    }
}

async fn problems(world: &World) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut sink = |found| {
        if let Found::Problem(problem) = found {
            problems.push(problem);
        }
    };
    world.store.verify(world.tree.clone(), &ByWorld(world), &mut sink).await.unwrap();
    problems
}

/// What `tresor verify` rests on: an honest store has no problem, and no row can be changed, lost or added without one. Rows of
/// garbage are the exception: they are not authenticated, and remove nothing that a record names.
#[tokio::test]
async fn verifying_finds_every_changed_lost_and_added_row() {
    let world = World::new().await;
    world.put("small", &[7; 300]).await;
    world.put("large", &vec![9; 100_000]).await;
    world.put_parts("parts", &[vec![1; 70_000], vec![2; 10]]).await;
    world.begin_parts("open", &[vec![1; 100]]).await;
    assert_eq!(problems(&world).await, []);
    let rows = world.rows().await;
    for prefix in ["B", "o/", "u/", "p/", "b/", "w/", "k/", "m/"] {
        assert!(rows.iter().any(|(row, _)| row.starts_with(prefix.as_bytes())), "{prefix}");
    }
    for (row, value) in rows {
        // The value of a row that says that a blob is in use means nothing.
        if !row.starts_with(b"w/") {
            for n in (0..value.len()).step_by(value.len().div_ceil(40)) {
                let mut broken = value.to_vec();
                broken[n] ^= 1;
                world.set(&row, broken.into()).await;
                assert!(!problems(&world).await.is_empty(), "byte {n} of row {row:?} was changed");
            }
        }
        world.drop_row(&row).await;
        assert!(!problems(&world).await.is_empty(), "row {row:?} was lost");
        world.set(&row, value).await;
    }
    assert_eq!(problems(&world).await, []);
    for row in [&b"o/new"[..], b"b/0123456789abcdef", b"w/0123456789abcdef01234567", b"x/unknown"] {
        world.set(row, vec![1; 60].into()).await;
        assert!(!problems(&world).await.is_empty(), "row {row:?} was added");
        world.drop_row(row).await;
    }
}
