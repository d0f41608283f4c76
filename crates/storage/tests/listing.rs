//! Listings against what a sorted list of the keys says, whatever the prefix, the delimiter and the size of a page.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use std::collections::BTreeSet;
use tresor_model::AccountId;
use tresor_storage::{Listing, ListingQuery, ObjectMeta, StoreError};
use world::{World, account};

/// Keys that sort in odd places: around a delimiter, around the end of a byte, beyond ASCII, of one another's beginning.
const KEYS: [&str; 24] = [
    "a",
    "a/",
    "a//",
    "a/b",
    "a/b/c",
    "a/b/d",
    "a/c",
    "a0",
    "a.b",
    "b/\u{1}",
    "b/\u{7f}",
    "b/é/1",
    "b/é/2",
    "b/\u{10ffff}",
    "b0",
    "c<&>\"'/x",
    "c<&>\"'/y",
    "d d/e+f",
    "dir/1",
    "dir/2",
    "dir0",
    "é",
    "\u{fffd}/z",
    "\u{10ffff}\u{10ffff}",
];

async fn filled() -> World {
    let world = World::new().await;
    for key in KEYS {
        world.put(key, key.as_bytes()).await;
    }
    world
}

/// Keys and rolled-up prefixes, in order.
fn expected(prefix: &str, delimiter: Option<&str>) -> Vec<String> {
    let rolled = |key: &str| match delimiter.and_then(|d| Some(key[prefix.len()..].find(d)? + d.len())) {
        Some(end) => key[..prefix.len() + end].to_owned(),
        None => key.to_owned(),
    };
    KEYS.iter()
        .filter(|key| key.starts_with(prefix))
        .map(|key| rolled(key))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

fn names(listing: &Listing) -> Vec<String> {
    let mut names: Vec<String> = listing.objects().map(|object| object.key.to_owned()).collect();
    names.extend(listing.prefixes.iter().cloned());
    names.sort();
    names
}

#[tokio::test]
async fn pages_of_every_size_give_every_name_once() {
    let world = filled().await;
    for prefix in ["", "a", "a/", "a/b", "b/", "b/é", "c<", "dir", "dir/", "no"] {
        for delimiter in [None, Some("/"), Some("//"), Some("b"), Some("é")] {
            let expected = expected(prefix, delimiter);
            for limit in [1, 2, 3, expected.len().max(1), 1000] {
                let mut query = ListingQuery {
                    prefix: prefix.into(),
                    delimiter: delimiter.map(str::to_owned),
                    limit,
                    ..ListingQuery::default()
                };
                let mut seen = Vec::new();
                loop {
                    let page = world.store.list_objects(&world.bucket, &query).await.unwrap();
                    let names = names(&page);
                    assert_eq!(names.len(), page.count());
                    assert_eq!(names.iter().map(String::len).sum::<usize>(), page.text_bytes());
                    assert!(page.next.is_none() || (page.count() == limit && page.next.as_ref() == names.last()));
                    seen.extend(names);
                    match page.next {
                        Some(next) => query.after = Some(next),
                        None => break,
                    }
                }
                assert_eq!(seen, expected, "{prefix:?} {delimiter:?} {limit}");
            }
        }
    }
    let none = ListingQuery { limit: 0, ..ListingQuery::default() };
    let page = world.store.list_objects(&world.bucket, &none).await.unwrap();
    assert_eq!((page.count(), page.next), (0, None));
}

/// A listing reads a part of a record by itself.
#[tokio::test]
async fn an_object_is_listed_as_it_is_read() {
    let world = World::new().await;
    let other: AccountId = "999988887777".parse().unwrap();
    let metas = [
        ObjectMeta::default(),
        ObjectMeta { storage_class: Some("STANDARD_IA".into()), ..ObjectMeta::default() },
        ObjectMeta {
            content_type: Some("text/plain; charset=\"é\"".into()),
            content_encoding: Some(String::new()),
            website_redirect: Some("x".repeat(2000)),
            storage_class: Some("GLACIER_IR".into()),
            user: vec![("storage_class".into(), "no".into()), ("é".into(), "y".repeat(300))],
            ..ObjectMeta::default()
        },
        ObjectMeta { user: (0..40).map(|n| (n.to_string(), "v".into())).collect(), ..ObjectMeta::default() },
    ];
    for (n, meta) in metas.into_iter().enumerate() {
        for owner in [account(), other.clone()] {
            let key = format!("{n}/{owner}");
            world.try_put_as(&key, &vec![7; n * 40_000], owner, meta.clone()).await.unwrap();
        }
    }
    world.put_parts("parts", &[vec![1; 100], vec![2; 200]]).await;
    let query = ListingQuery { limit: 1000, ..ListingQuery::default() };
    let page = world.store.list_objects(&world.bucket, &query).await.unwrap();
    assert_eq!((page.count(), page.owners().len()), (9, 2));
    for object in page.objects() {
        let read = world.store.version(&world.bucket, &object.key.parse().unwrap(), None).await.unwrap().unwrap();
        assert_eq!((object.version_id, object.owner), (read.version_id, &read.owner));
        assert_eq!((object.modified, object.size, object.etag), (read.modified, read.size, read.etag));
        assert_eq!(object.storage_class, read.meta.storage_class.as_deref());
    }
}

#[tokio::test]
async fn a_row_that_was_changed_or_moved_ends_a_listing() {
    let world = filled().await;
    let query = ListingQuery { limit: 1000, ..ListingQuery::default() };
    let damaged = async || match world.store.list_objects(&world.bucket, &query).await {
        Ok(_) => false,
        Err(StoreError::Corrupt(_)) => true,
        Err(other) => panic!("{other}"),
    };
    let rows: Vec<_> = world.rows().await.into_iter().filter(|(row, _)| row.starts_with(b"o/")).collect();
    for (at, (row, value)) in rows.iter().enumerate() {
        let mut broken = value.to_vec();
        broken[at * 7 % value.len()] ^= 1;
        world.set(row, broken.into()).await;
        assert!(damaged().await, "row {at}");
        world.set(row, rows[(at + 1) % rows.len()].1.clone()).await;
        assert!(damaged().await, "row {at}");
        world.set(row, value.clone()).await;
        assert!(!damaged().await);
    }
}
