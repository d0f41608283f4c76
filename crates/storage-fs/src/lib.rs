//! Blobs as plain files, and the erasure secrets of KMS keys. Must be named only where the server is assembled.

mod blobs;
mod erasure;
mod reading;
mod warming;
mod writing;

pub use blobs::FsBlobs;
pub use erasure::ErasureFiles;

use std::{fs::File, io, path::Path};

/// Makes the entries of a directory durable.
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
