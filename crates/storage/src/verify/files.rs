//! Files: each is a blob that a row of this store names, or it does not belong here. And none looks like plaintext.

use super::{ProblemKind, Walk};
use crate::{
    blob::{BlobId, BlobTree, Surveyed},
    error::StoreError,
    garbage::is_owned,
    meta::Partition,
    record::Garbage,
    rows,
    store::partition,
};
use std::{collections::HashSet, sync::Arc};
use tokio::sync::mpsc;

/// Bytes of a file that are judged.
const SAMPLE: usize = 64 * 1024;
/// Files on their way from the directory walk.
const AHEAD: usize = 256;

/// Whether bytes are certainly no ciphertext: their values are far from equally frequent, or a few bytes are all text. What was
/// compressed looks like ciphertext and is not told from it.
fn looks_like_plaintext(sample: &[u8]) -> bool {
    if sample.len() < 1024 {
        let text = |b: &u8| matches!(b, b' '..=b'~' | b'\t' | b'\r' | b'\n');
        return sample.len() >= 16 && sample.iter().all(text);
    }
    let mut counts = [0_u32; 256];
    for byte in sample {
        counts[usize::from(*byte)] += 1;
    }
    let expected = sample.len() as f64 / 256.0;
    let chi_square: f64 = counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
    // 255 degrees of freedom: random bytes give 255 ± 23, and more than 600 not once in 10^30 files.
    chi_square > 600.0
}

impl Walk<'_> {
    pub(super) async fn files(&mut self, tree: Arc<dyn BlobTree>, known: &[Partition]) -> Result<(), StoreError> {
        let known: HashSet<&Partition> = known.iter().collect();
        let (send, mut files) = mpsc::channel(AHEAD);
        let walker = Arc::clone(&tree);
        let walking = tokio::spawn(async move { walker.survey(send).await });
        while let Some(file) = files.recv().await {
            self.tally.files += 1;
            let plaintext = match tree.sample(&file.path, SAMPLE).await {
                Ok(sample) => looks_like_plaintext(&sample),
                // Removed meanwhile, or unreadable, which its object tells.
                Err(_) => false,
            };
            let found = match file.blob {
                None => Some((ProblemKind::Foreign, "a file that is no blob")),
                Some(id) if !known.contains(&partition(id.bucket)) => {
                    // A bucket that was made meanwhile is known to the catalogue.
                    let made = self.store.all_buckets().await?.iter().any(|bucket| bucket.id == id.bucket);
                    (!made).then_some((ProblemKind::Foreign, "a blob of a bucket that this store does not have"))
                }
                Some(id) if self.is_named(&id).await? => None,
                Some(_) => Some((ProblemKind::Orphan, "a blob that no row names; the next start removes it")),
            };
            let bucket = file.blob.map(|id| id.bucket.to_string()).unwrap_or_default();
            match (found, plaintext) {
                (None, false) => {}
                _ if tree.sample(&file.path, 0).await.is_err() => {}
                (None, true) => {
                    self.problem(ProblemKind::Plaintext, &bucket, &file.path, "a blob that looks like plaintext");
                }
                (Some((kind, what)), plain) => {
                    let kind = if plain { ProblemKind::Plaintext } else { kind };
                    let what = if plain { format!("{what}, and it looks like plaintext") } else { what.to_owned() };
                    self.problem(kind, &bucket, &file.path, what);
                }
            }
        }
        walking.await.map_err(std::io::Error::other)??;
        Ok(())
    }

    /// Whether a row, a write in progress or the garbage names a blob.
    async fn is_named(&mut self, id: &BlobId) -> Result<bool, StoreError> {
        // In this order: what is committed between the two looks was in flight at the first.
        if self.shared.in_flight.lock().contains(id) || is_owned(self.shared, id).await.unwrap_or(true) {
            return Ok(true);
        }
        let mut from = Some(rows::GARBAGE.to_vec());
        while let Some(at) = from {
            let (entries, next) = self.page(partition(id.bucket), rows::GARBAGE, at).await?;
            for (_, value) in entries {
                let named = match minicbor::decode(&value) {
                    Ok(Garbage::Blob { owner, part, nonce }) => (owner, part, nonce) == (id.owner, id.part, id.nonce),
                    Ok(Garbage::Parts { upload, .. }) => *upload.as_bytes() == id.owner,
                    Err(_) => false,
                };
                if named {
                    self.tally.garbage += 1;
                    return Ok(true);
                }
            }
            from = next;
        }
        Ok(false)
    }
}

impl Surveyed {
    /// From a path below the root of the blobs.
    pub fn new(path: String, bytes: u64) -> Self {
        let pieces: Vec<&str> = path.split('/').collect();
        let blob = match pieces.as_slice() {
            [bucket, slot, rest] if bucket.len() == 32 && slot.len() == 7 => {
                let name = [*bucket, *slot, *rest].concat();
                // Upper case digits would name the same blob by another file.
                name.parse().ok().filter(|id: &BlobId| id.to_string() == name)
            }
            _ => None,
        };
        Self { path, blob, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_is_told_from_ciphertext() {
        let random = |n: u32| -> Vec<u8> { (0..n).flat_map(|n| tresor_digest::sha256(&n.to_be_bytes())).collect() };
        for blocks in [0, 1, 3, 31, 32, 100, 2048] {
            assert!(!looks_like_plaintext(&random(blocks)), "{blocks}");
        }
        for plain in [vec![b'x'; 100], vec![0; 2000], b"The quick brown fox. ".repeat(200), vec![7; SAMPLE]] {
            assert!(looks_like_plaintext(&plain));
        }
        assert!(!looks_like_plaintext(b"short"));
    }

    #[test]
    fn only_a_blob_in_its_place_is_one() {
        let id =
            BlobId { bucket: tresor_model::BucketId::from_bytes([0xab; 16]), owner: [2; 16], part: 0, nonce: [3; 8] };
        let name = id.to_string();
        let path = format!("{}/{}/{}", &name[..32], &name[32..39], &name[39..]);
        assert_eq!(Surveyed::new(path.clone(), 1).blob, Some(id));
        for other in [name.clone(), path.to_uppercase(), format!("x/{path}"), format!("{path}.new"), path[1..].into()] {
            assert_eq!(Surveyed::new(other, 1).blob, None);
        }
    }
}
