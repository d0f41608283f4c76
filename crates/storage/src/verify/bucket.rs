//! One bucket: its objects and uploads, and the rows that go with them.

use super::{ATTEMPTS, Found, Problem, ProblemKind, Walk, shown};
use crate::{
    error::StoreError,
    record::{Bucket, BucketState, Version},
    rows,
    store::{partition, to_version},
};
use bytes::Bytes;
use std::collections::BTreeMap;
use tresor_envelope::{IndexKey, SseMode};
use tresor_model::ObjectKey;

/// Objects and bytes by KMS key and material.
type Counts = BTreeMap<Vec<u8>, (u64, u64)>;

/// The encryption by the name that the audit trail and the metrics use.
pub(super) const fn mode(mode: SseMode) -> &'static str {
    match mode {
        SseMode::S3 => "SSE-S3",
        SseMode::Kms => "SSE-KMS",
        SseMode::KmsBucketKey => "SSE-KMS, bucket key",
        SseMode::Dsse => "DSSE-KMS",
        SseMode::Customer => "SSE-C",
    }
}

fn object_key(row: &[u8]) -> Result<ObjectKey, StoreError> {
    let key = row.strip_prefix(rows::OBJECTS).and_then(|key| std::str::from_utf8(key).ok()?.parse().ok());
    key.ok_or(StoreError::Corrupt("an object's row has no valid key"))
}

impl Walk<'_> {
    pub(super) async fn bucket(&mut self, bucket: &Bucket) -> Result<(), StoreError> {
        self.tally.buckets += 1;
        let place = partition(bucket.id);
        let state = self.shared.get(place, &rows::bucket_state()).await?;
        let states = [BucketState::Open, BucketState::Closing].map(|state| self.shared.bucket_state(bucket.id, state));
        self.tally.rows += 1;
        if state.as_ref().is_none_or(|state| !states.contains(state)) {
            self.problem(ProblemKind::Record, bucket.name.as_str(), "row B", "the bucket's state is not authentic");
        }
        let index = self.shared.index_key(bucket.id);
        let mut from = Some(rows::OBJECTS.to_vec());
        while let Some(at) = from {
            let (entries, next) = self.page(place, rows::OBJECTS, at).await?;
            for (row, value) in entries {
                self.tally.rows += 1;
                self.object(bucket, &index, &row, value).await?;
                (self.sink)(Found::Progress(Box::new(self.tally.clone())));
            }
            from = next;
        }
        self.uploads(bucket).await?;
        self.key_uses(bucket, &index).await?;
        self.key_counts(bucket, &index).await?;
        self.unnamed_rows(bucket, &index).await?;
        let known: [&[u8]; 9] = [rows::OBJECTS, rows::UPLOADS, rows::GARBAGE, b"b/", b"p/", b"w/", b"k/", b"m/", b"B"];
        self.records(place, &[], &known).await
    }

    /// One object, looked at again when it changes meanwhile.
    async fn object(
        &mut self,
        bucket: &Bucket,
        index: &IndexKey,
        row: &[u8],
        mut value: Bytes,
    ) -> Result<(), StoreError> {
        let place = partition(bucket.id);
        let mut version = None;
        let mut problems = Vec::new();
        for _ in 0..ATTEMPTS {
            problems.clear();
            version = None;
            match object_key(row).and_then(|key| self.shared.version(bucket, index, key, &value)) {
                Ok(found) => {
                    problems = self.version_problems(bucket, &found).await?;
                    version = Some(found);
                }
                Err(error) => problems.push(Problem {
                    kind: ProblemKind::Record,
                    bucket: bucket.name.to_string(),
                    name: shown(row),
                    what: error.to_string(),
                }),
            }
            if problems.is_empty() {
                break;
            }
            match self.shared.get(place, row).await? {
                Some(now) if now != value => value = now,
                Some(_) => break,
                None => return Ok(()),
            }
        }
        if let Some(version) = &version {
            self.tally.objects += 1;
            let sums = self.tally.modes.entry(mode(version.envelope.header.mode)).or_default();
            *sums = (sums.0 + 1, sums.1 + version.size);
        }
        for problem in problems {
            self.report(problem);
        }
        Ok(())
    }

    async fn version_problems(&mut self, bucket: &Bucket, version: &Version) -> Result<Vec<Problem>, StoreError> {
        let mut problems = self.body_problems(bucket, version).await?;
        if !version.key_id.is_empty() {
            let row = rows::key_use(&version.key_id, &version.material_id, &version.key);
            let found = self.shared.get(partition(bucket.id), &row).await?;
            if found.as_deref() != Some(version.write.as_bytes()) {
                problems.push(Problem {
                    kind: ProblemKind::Count,
                    bucket: bucket.name.to_string(),
                    name: version.key.to_string(),
                    what: "no row says that it hangs on its key".into(),
                });
            }
        }
        Ok(problems)
    }

    /// Every row that says what hangs on a key must have its object.
    async fn key_uses(&mut self, bucket: &Bucket, index: &IndexKey) -> Result<(), StoreError> {
        let place = partition(bucket.id);
        let mut from = Some(b"k/".to_vec());
        while let Some(at) = from {
            let (entries, next) = self.page(place, b"k/", at).await?;
            for (row, value) in entries {
                self.tally.rows += 1;
                if self.key_use_holds(bucket, index, &row, &value).await?
                    || self.shared.get(place, &row).await?.as_ref() != Some(&value)
                {
                    continue;
                }
                let what = "it says that an object hangs on a key, and there is no such object";
                self.problem(ProblemKind::Count, bucket.name.as_str(), &shown(&row), what);
            }
            from = next;
        }
        Ok(())
    }

    async fn key_use_holds(
        &mut self,
        bucket: &Bucket,
        index: &IndexKey,
        row: &[u8],
        value: &Bytes,
    ) -> Result<bool, StoreError> {
        let parts = row.strip_prefix(b"k/").and_then(rows::unescape).and_then(|(key_id, rest)| {
            let (material, object) = rows::unescape(rest)?;
            Some((key_id, material, std::str::from_utf8(object).ok()?.parse::<ObjectKey>().ok()?))
        });
        let Some((key_id, material, key)) = parts else { return Ok(false) };
        let Some(stored) = self.shared.get(partition(bucket.id), &rows::object(&key)).await? else { return Ok(false) };
        Ok(match self.shared.version(bucket, index, key, &stored) {
            // The object's own problem is told with the object.
            Err(_) => true,
            Ok(version) => {
                version.key_id.as_bytes() == key_id
                    && version.material_id.as_bytes() == material
                    && value[..] == version.write.as_bytes()[..]
            }
        })
    }

    /// The sums of what hangs on each material must be those of the objects.
    async fn key_counts(&mut self, bucket: &Bucket, index: &IndexKey) -> Result<(), StoreError> {
        for attempt in 1..=ATTEMPTS {
            let before = self.stored_counts(bucket).await?;
            let counted = self.counted(bucket, index).await?;
            if before == counted {
                self.tally.rows += before.len() as u64;
                return Ok(());
            }
            // A bucket that is being written to is counted again; one that never rests is not judged.
            if self.stored_counts(bucket).await? != before {
                continue;
            }
            if attempt < ATTEMPTS {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
            for row in before.keys().chain(counted.keys().filter(|row| !before.contains_key(*row))) {
                let sums = |counts: &Counts| counts.get(row).copied().unwrap_or_default();
                let ((objects, bytes), (real_objects, real_bytes)) = (sums(&before), sums(&counted));
                if (objects, bytes) != (real_objects, real_bytes) {
                    let what = format!(
                        "it counts {objects} objects and {bytes} bytes, and there are {real_objects} and {real_bytes}"
                    );
                    self.problem(ProblemKind::Count, bucket.name.as_str(), &shown(row), what);
                }
            }
        }
        Ok(())
    }

    async fn stored_counts(&mut self, bucket: &Bucket) -> Result<Counts, StoreError> {
        let (mut counts, mut from) = (Counts::new(), Some(b"m/".to_vec()));
        while let Some(at) = from {
            let (entries, next) = self.page(partition(bucket.id), b"m/", at).await?;
            for (row, value) in entries {
                let sum =
                    |n: usize| value.get(n..n + 8).and_then(|sum| sum.try_into().ok()).map_or(0, u64::from_be_bytes);
                counts.insert(row, (sum(0), sum(8)));
            }
            from = next;
        }
        Ok(counts)
    }

    async fn counted(&mut self, bucket: &Bucket, index: &IndexKey) -> Result<Counts, StoreError> {
        let (mut counts, mut from) = (Counts::new(), Some(rows::OBJECTS.to_vec()));
        while let Some(at) = from {
            let (entries, next) = self.page(partition(bucket.id), rows::OBJECTS, at).await?;
            for (row, value) in entries {
                // A row that cannot be read was told of already.
                let Some(record) = self.readable(bucket, &row, &value) else { continue };
                let version = to_version(index, object_key(&row)?, record);
                if !version.key_id.is_empty() {
                    let sums = counts.entry(rows::key_count(&version.key_id, &version.material_id)).or_default();
                    *sums = (sums.0 + 1, sums.1 + version.size);
                }
            }
            from = next;
        }
        Ok(counts)
    }

    pub(super) fn readable(&self, bucket: &Bucket, row: &[u8], value: &Bytes) -> Option<crate::record::VersionRecord> {
        object_key(row).ok()?;
        rows::open_record(&self.shared.keys.records, partition(bucket.id), row, value).ok()
    }
}
