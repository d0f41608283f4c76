//! Bodies: where a record says they lie, as long as it says, and every chunk authentic.

use super::{ATTEMPTS, Opened, Problem, ProblemKind, Walk, shown};
use crate::{
    blob::BlobId,
    error::StoreError,
    objects::Places,
    record::{Bucket, Upload, Version},
    rows,
    store::partition,
};
use bytes::Bytes;
use std::io;
use tresor_envelope::{Binding, Header, PlainBody, SealedPart};

fn problem(bucket: &Bucket, name: &str, kind: ProblemKind, what: impl Into<String>) -> Problem {
    Problem { kind, bucket: bucket.name.to_string(), name: name.to_owned(), what: what.into() }
}

impl Walk<'_> {
    /// What is wrong with an object's body. Sums of authenticated bytes are kept.
    pub(super) async fn body_problems(
        &mut self,
        bucket: &Bucket,
        version: &Version,
    ) -> Result<Vec<Problem>, StoreError> {
        let name = version.key.as_str();
        if version.delete_marker {
            return Ok(Vec::new());
        }
        let (parts, places) = match self.store.places(bucket, version).await {
            Ok(found) => found,
            Err(StoreError::Corrupt(what)) => return Ok(vec![problem(bucket, name, ProblemKind::Damaged, what)]),
            Err(StoreError::Overtaken) => {
                return Ok(vec![problem(bucket, name, ProblemKind::Missing, "its parts are gone")]);
            }
            Err(error) => return Err(error),
        };
        let header = &version.envelope.header;
        let mut problems = self.lengths(bucket, name, header, &parts, &places).await?;
        if parts.iter().map(|part| part.length).sum::<u64>() != version.size {
            problems.push(problem(bucket, name, ProblemKind::Length, "its parts do not add up to its size"));
        }
        if !problems.is_empty() {
            return Ok(problems);
        }
        let binding = Binding { bucket: bucket.id, key: version.key.clone(), write: version.write };
        match self.opener.open(bucket, &binding, &version.envelope).await {
            Opened::NeedsCustomer => self.tally.without_customer_key += 1,
            Opened::Destroyed => self.tally.destroyed += 1,
            Opened::Failed(why) => problems.push(problem(bucket, name, ProblemKind::Key, why)),
            Opened::Key(key) => {
                if let Some(stored) = &version.checksums
                    && key.open_digests(&stored.salt, &stored.sealed).is_err()
                {
                    let what = "its checksums do not authenticate";
                    problems.push(problem(bucket, name, ProblemKind::Damaged, what));
                }
                match self.store.open(bucket, version, key, 0..version.size).await {
                    Ok(body) => problems.extend(self.drain(bucket, name, body).await),
                    Err(error) => problems.push(problem(bucket, name, ProblemKind::Damaged, error.to_string())),
                }
            }
        }
        Ok(problems)
    }

    /// Authenticates every chunk of a body.
    async fn drain(&mut self, bucket: &Bucket, name: &str, mut body: PlainBody) -> Option<Problem> {
        let mut at = 0_u64;
        loop {
            match body.next().await {
                Ok(None) => return None,
                Ok(Some(piece)) => {
                    at += piece.len() as u64;
                    self.tally.authenticated_bytes += piece.len() as u64;
                }
                Err(error) => {
                    let what = format!("the chunk at byte {at} does not open: {error}");
                    return Some(problem(bucket, name, ProblemKind::Damaged, what));
                }
            }
        }
    }

    /// Whether the ciphertext is there and has the length that its record says, byte for byte.
    async fn lengths(
        &mut self,
        bucket: &Bucket,
        name: &str,
        header: &Header,
        parts: &[SealedPart],
        places: &Places,
    ) -> Result<Vec<Problem>, StoreError> {
        let mut problems = Vec::new();
        match places {
            Places::Inline(place, row) => {
                let expected = parts.first().map_or(0, |part| part.sealed_length(header));
                match self.shared.get(*place, row).await? {
                    None => problems.push(problem(bucket, name, ProblemKind::Missing, "its small body is gone")),
                    Some(value) if value.len() as u64 != expected => {
                        let what = format!("its small body has {} bytes and not {expected}", value.len());
                        problems.push(problem(bucket, name, ProblemKind::Length, what));
                    }
                    Some(_) => {}
                }
            }
            Places::Blobs(ids) => {
                for (part, id) in parts.iter().zip(ids.iter()) {
                    if id.part == 0 && !crate::garbage::is_owned(self.shared, id).await? {
                        let what = format!("no row says that blob {id} is in use: the next sweep would remove it");
                        problems.push(problem(bucket, name, ProblemKind::Missing, what));
                    }
                    if let Some((kind, what)) = self.blob_length(id, part.sealed_length(header)).await {
                        problems.push(problem(bucket, name, kind, what));
                    }
                }
            }
        }
        Ok(problems)
    }

    async fn blob_length(&mut self, id: &BlobId, expected: u64) -> Option<(ProblemKind, String)> {
        match self.shared.blobs.read(id, expected..expected, 1).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Some((ProblemKind::Missing, format!("its blob {id} is gone")));
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Some((ProblemKind::Length, format!("its blob {id} is shorter than {expected} bytes")));
            }
            Err(error) => return Some((ProblemKind::Damaged, format!("its blob {id} cannot be read: {error}"))),
            Ok(_) => {}
        }
        let longer = self.shared.blobs.read(id, expected..expected + 1, 1).await.is_ok();
        longer.then(|| (ProblemKind::Length, format!("its blob {id} is longer than {expected} bytes")))
    }

    /// Uploads in progress: their rows and every part.
    pub(super) async fn uploads(&mut self, bucket: &Bucket) -> Result<(), StoreError> {
        let place = partition(bucket.id);
        let mut from = Some(rows::UPLOADS.to_vec());
        while let Some(at) = from {
            let (entries, next) = self.page(place, rows::UPLOADS, at).await?;
            for (row, value) in entries {
                self.tally.rows += 1;
                match self.shared.open_upload(bucket, &row, value.clone()) {
                    Ok(upload) => {
                        self.tally.uploads += 1;
                        self.upload_parts(bucket, &upload, &row).await?;
                    }
                    Err(error) if self.shared.get(place, &row).await?.as_ref() == Some(&value) => {
                        self.problem(ProblemKind::Record, bucket.name.as_str(), &shown(&row), error.to_string());
                    }
                    Err(_) => {}
                }
            }
            from = next;
        }
        Ok(())
    }

    async fn upload_parts(&mut self, bucket: &Bucket, upload: &Upload, upload_row: &[u8]) -> Result<(), StoreError> {
        let place = partition(bucket.id);
        let prefix = rows::parts(&upload.id);
        let mut from = Some(prefix.clone());
        while let Some(at) = from {
            let (entries, next) = self.page(place, &prefix, at).await?;
            for (row, mut value) in entries {
                for _ in 0..ATTEMPTS {
                    let found = self.part_problem(bucket, upload, &row, &value).await;
                    let Some(found) = found else { break };
                    match self.shared.get(place, &row).await? {
                        // Sent again meanwhile.
                        Some(now) if now != value => value = now,
                        // Aborted or completed meanwhile: its parts are looked at elsewhere.
                        _ if self.shared.get(place, upload_row).await?.is_none() => break,
                        None => break,
                        Some(_) => {
                            self.report(found);
                            break;
                        }
                    }
                }
            }
            from = next;
        }
        Ok(())
    }

    async fn part_problem(&mut self, bucket: &Bucket, upload: &Upload, row: &[u8], value: &Bytes) -> Option<Problem> {
        let index = self.shared.index_key(bucket.id);
        let part = match self.shared.open_part(bucket, &index, row, value.clone()) {
            Ok(part) => part,
            Err(error) => return Some(problem(bucket, &shown(row), ProblemKind::Record, error.to_string())),
        };
        let name = format!("{} (upload {}, part {})", upload.key, upload.id, part.number);
        let id = BlobId { bucket: bucket.id, owner: *upload.id.as_bytes(), part: part.number, nonce: part.nonce };
        let header = &upload.envelope.header;
        if let Some((kind, what)) = self.blob_length(&id, part.sealed.sealed_length(header)).await {
            return Some(problem(bucket, &name, kind, what));
        }
        let binding = Binding { bucket: bucket.id, key: upload.key.clone(), write: upload.write };
        match self.opener.open(bucket, &binding, &upload.envelope).await {
            Opened::NeedsCustomer | Opened::Destroyed => None,
            Opened::Failed(why) => Some(problem(bucket, &name, ProblemKind::Key, why)),
            Opened::Key(key) => match self.store.open_blob(key, header, part.sealed, id) {
                Ok(body) => self.drain(bucket, &name, body).await,
                Err(error) => Some(problem(bucket, &name, ProblemKind::Damaged, error.to_string())),
            },
        }
    }
}
