//! The other way round: rows that belong to an object or an upload must have one. In windows, so that memory has a bound.

use super::{ProblemKind, Walk, shown};
use crate::{
    error::StoreError,
    record::{Body, Bucket, Garbage},
    rows,
    store::partition,
};
use std::collections::HashSet;
use tresor_envelope::IndexKey;

/// Rows looked for at the same time, about 60 bytes each.
const WINDOW: usize = 500_000;
/// Small bodies, blobs in use, parts.
const OWNED: [&[u8]; 3] = [b"b/", b"w/", b"p/"];

impl Walk<'_> {
    pub(super) async fn unnamed_rows(&mut self, bucket: &Bucket, index: &IndexKey) -> Result<(), StoreError> {
        let mut window = HashSet::new();
        for prefix in OWNED {
            let mut from = Some(prefix.to_vec());
            while let Some(at) = from {
                let (entries, next) = self.page(partition(bucket.id), prefix, at).await?;
                for (row, value) in entries {
                    self.tally.rows += 1;
                    if prefix == b"p/"
                        && let Err(error) = self.shared.open_part(bucket, index, &row, value)
                    {
                        self.problem(ProblemKind::Record, bucket.name.as_str(), &shown(&row), error.to_string());
                    }
                    window.insert(row);
                }
                if window.len() >= WINDOW {
                    self.close(bucket, std::mem::take(&mut window)).await?;
                }
                from = next;
            }
        }
        self.close(bucket, window).await
    }

    /// Takes out of the window what something names, and tells of the rest.
    async fn close(&mut self, bucket: &Bucket, mut window: HashSet<Vec<u8>>) -> Result<(), StoreError> {
        if window.is_empty() {
            return Ok(());
        }
        let place = partition(bucket.id);
        // Uploads first: one that is completed meanwhile is found among the objects then.
        let mut from = Some(rows::UPLOADS.to_vec());
        while let Some(at) = from {
            let (entries, next) = self.page(place, rows::UPLOADS, at).await?;
            for (row, value) in entries {
                if let Ok(upload) = self.shared.open_upload(bucket, &row, value) {
                    let prefix = rows::parts(&upload.id);
                    window.retain(|row| !row.starts_with(&prefix));
                }
            }
            from = next;
        }
        let mut from = Some(rows::OBJECTS.to_vec());
        while let Some(at) = from {
            let (entries, next) = self.page(place, rows::OBJECTS, at).await?;
            for (row, value) in entries {
                let Some(record) = self.readable(bucket, &row, &value) else { continue };
                match record.body {
                    Body::Inline(_) => drop(window.remove(&rows::inline(&record.write))),
                    Body::Blob(_, nonce) => drop(window.remove(&rows::blob_owner(record.write.as_bytes(), &nonce))),
                    Body::Parts { upload, chosen, .. } => {
                        for number in chosen.iter().flat_map(|(first, last)| *first..=*last) {
                            window.remove(&rows::part(&upload, number));
                        }
                    }
                }
            }
            from = next;
        }
        let mut from = Some(rows::GARBAGE.to_vec());
        while let Some(at) = from {
            let (entries, next) = self.page(place, rows::GARBAGE, at).await?;
            for (_, value) in entries {
                if let Ok(Garbage::Parts { upload, .. }) = minicbor::decode(&value) {
                    let prefix = rows::parts(&upload);
                    window.retain(|row| !row.starts_with(&prefix));
                }
            }
            from = next;
        }
        for row in window {
            if self.shared.get(place, &row).await?.is_some() {
                let what = "neither an object nor an upload names this row";
                self.problem(ProblemKind::Orphan, bucket.name.as_str(), &shown(&row), what);
            }
        }
        Ok(())
    }
}
