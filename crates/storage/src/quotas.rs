//! How much there is of what has a limit. Counted when it is asked for: what is counted is made rarely, or short-lived.

use crate::{
    error::StoreError,
    meta::Scan,
    record::Bucket,
    rows,
    store::{Store, partition},
};
use tresor_model::AccountId;

/// Rows read at a time.
const PAGE: usize = 1000;

impl Store {
    /// Whether an account has fewer buckets than `most`.
    pub async fn has_room_for_bucket(&self, owner: &AccountId, most: usize) -> Result<bool, StoreError> {
        let (found, _) = self.buckets(owner, "", None, most).await?;
        Ok(found.len() < most)
    }

    /// Whether a bucket has fewer uploads in progress than `most`. Those that are being made at the same time do not count yet.
    pub async fn has_room_for_upload(&self, bucket: &Bucket, most: usize) -> Result<bool, StoreError> {
        let (mut left, mut from) = (most, rows::UPLOADS.to_vec());
        while left > 0 {
            let scan = Scan { prefix: rows::UPLOADS.to_vec(), from, limit: left.min(PAGE) };
            let page = self.shared.meta.scan(partition(bucket.id), scan).await?;
            left -= page.entries.len();
            match page.entries.last() {
                Some((row, _)) if page.more => from = [&row[..], &[0]].concat(),
                _ => return Ok(left > 0),
            }
        }
        Ok(false)
    }
}
