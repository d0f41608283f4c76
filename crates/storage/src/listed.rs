//! What a listing shows of an object's record, read from its bytes and without the rest of it: a thousand of them make a page.

use crate::error::StoreError;
use minicbor::{Decoder, decode::Error};
use tresor_model::{Timestamp, WriteId};

/// Of a `VersionRecord`, under its field numbers. Texts lie in the record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ListedRecord<'r> {
    pub write: WriteId,
    pub null: bool,
    pub owner: &'r str,
    pub modified: Timestamp,
    /// Bytes of plaintext.
    pub size: u64,
    pub sealed_etag: [u8; 16],
    pub parts: Option<u16>,
    pub storage_class: Option<&'r str>,
}

/// `VersionRecord::meta`, the last field that a listing looks at: fields are written in the order of their numbers.
const META: u32 = 11;
/// `ObjectMeta::storage_class`.
const STORAGE_CLASS: u32 = 7;

impl<'r> ListedRecord<'r> {
    /// Reads a record that was authenticated. Errors: Corrupt.
    pub(crate) fn read(cbor: &'r [u8]) -> Result<Self, StoreError> {
        Self::decode(cbor).map_err(|_| StoreError::Corrupt("an authentic record cannot be decoded"))
    }

    fn decode(cbor: &'r [u8]) -> Result<Self, Error> {
        let mut d = Decoder::new(cbor);
        let (mut write, mut null, mut owner, mut modified, mut size) = (None, None, None, None, None);
        let (mut sealed_etag, mut parts, mut storage_class) = (None, None, None);
        let fields = d.map()?.ok_or_else(|| Error::message("a map of unknown length"))?;
        for _ in 0..fields {
            match number(&mut d)? {
                0 => write = Some(d.decode()?),
                1 => null = Some(d.bool()?),
                3 => owner = Some(d.str()?),
                4 => modified = Some(d.decode()?),
                5 => size = Some(d.u64()?),
                6 => sealed_etag = d.bytes()?.try_into().ok(),
                7 => parts = d.decode()?,
                META => {
                    storage_class = self::storage_class(&mut d)?;
                    break;
                }
                _ => skip(&mut d)?,
            }
        }
        let missing = || Error::message("a field is missing");
        Ok(Self {
            write: write.ok_or_else(missing)?,
            null: null.ok_or_else(missing)?,
            owner: owner.ok_or_else(missing)?,
            modified: modified.ok_or_else(missing)?,
            size: size.ok_or_else(missing)?,
            sealed_etag: sealed_etag.ok_or_else(missing)?,
            parts,
            storage_class,
        })
    }
}

/// Reads an `ObjectMeta` up to its storage class.
fn storage_class<'r>(d: &mut Decoder<'r>) -> Result<Option<&'r str>, Error> {
    let fields = d.map()?.ok_or_else(|| Error::message("a map of unknown length"))?;
    for _ in 0..fields {
        match number(d)? {
            STORAGE_CLASS => return d.decode(),
            number if number > STORAGE_CLASS => break,
            _ => skip(d)?,
        }
    }
    Ok(None)
}

/// A field's number; small ones are one byte.
#[inline]
fn number(d: &mut Decoder<'_>) -> Result<u32, Error> {
    match d.input().get(d.position()) {
        Some(small @ 0..24) => {
            d.set_position(d.position() + 1);
            Ok(u32::from(*small))
        }
        _ => d.u32(),
    }
}

/// Skips one value, as `Decoder::skip` does, which looks at every text in it and takes seven times as long.
fn skip(d: &mut Decoder<'_>) -> Result<(), Error> {
    let (input, mut at) = (d.input(), d.position());
    let mut values = 1_u64;
    while values > 0 {
        let end = || Error::end_of_input();
        let first = *input.get(at).ok_or_else(end)?;
        at += 1;
        let argument = match first & 0x1f {
            small @ 0..24 => u64::from(small),
            wide @ 24..28 => {
                let bytes = input.get(at..at + (1 << (wide - 24))).ok_or_else(end)?;
                at += bytes.len();
                bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
            }
            // Of unknown length: none of ours, and the library's to read.
            _ => return d.skip(),
        };
        let inside = match first >> 5 {
            0 | 1 | 7 => 0,
            2 | 3 => {
                at = usize::try_from(argument).ok().and_then(|length| at.checked_add(length)).ok_or_else(end)?;
                0
            }
            4 => argument,
            5 => argument.saturating_mul(2),
            // A tag is followed by what it is about.
            _ => 1,
        };
        values = (values - 1).saturating_add(inside);
    }
    if at > input.len() {
        return Err(Error::end_of_input());
    }
    d.set_position(at);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn skipping_ends_where_the_library_ends(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..40)) {
            let (mut ours, mut theirs) = (Decoder::new(&bytes), Decoder::new(&bytes));
            if theirs.skip().is_ok() {
                skip(&mut ours).unwrap();
                proptest::prop_assert_eq!(ours.position(), theirs.position());
            } else if skip(&mut ours).is_ok() {
                // What we do not look at: the bytes of texts.
                proptest::prop_assert!(ours.position() <= bytes.len());
            }
        }
    }
}
