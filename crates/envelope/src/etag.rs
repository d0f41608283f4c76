//! Entity tags in the index: sealed under a per-bucket key, so that LIST, If-Match and HEAD never need an object's key and a
//! stolen disk shows no MD5 of a plaintext. docs/format.md section "Entity tags".

use crate::primitive::derive;
use aes::{
    Aes256, Block,
    cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit},
};
use std::fmt;

/// A tweakable one-block cipher (XEX: Rogaway 2004) over two independent AES-256 keys.
pub struct IndexKey {
    tweak: Aes256,
    block: Aes256,
}

impl fmt::Debug for IndexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IndexKey")
    }
}

impl IndexKey {
    /// The key of one bucket, from the store's index root key.
    pub fn derive(root: &[u8; 32], bucket: &[u8; 16]) -> Self {
        let key = |label: &[u8]| derive(root, &[], &[label, bucket]);
        Self {
            tweak: Aes256::new((&*key(b"tresor/v1/etag-tweak")).into()),
            block: Aes256::new((&*key(b"tresor/v1/etag")).into()),
        }
    }

    fn mask(&self, tweak: &[u8; 16]) -> [u8; 16] {
        let mut mask = (*tweak).into();
        self.tweak.encrypt_block(&mut mask);
        mask.into()
    }

    /// `tweak` must be unique to this entity tag: a write id or a part's stream id.
    pub fn seal(&self, tweak: &[u8; 16], digest: &[u8; 16]) -> [u8; 16] {
        let mask = self.mask(tweak);
        let mut block = xor(digest, &mask).into();
        self.block.encrypt_block(&mut block);
        xor(&block.into(), &mask)
    }

    pub fn open(&self, tweak: &[u8; 16], sealed: &[u8; 16]) -> [u8; 16] {
        let mask = self.mask(tweak);
        let mut block = xor(sealed, &mask).into();
        self.block.decrypt_block(&mut block);
        xor(&block.into(), &mask)
    }

    /// Opens many (tweak, sealed) in their order: the cipher is several times faster over many blocks than over one.
    pub fn open_all(&self, sealed: &[([u8; 16], [u8; 16])]) -> Vec<[u8; 16]> {
        let mut masks: Vec<Block> = sealed.iter().map(|(tweak, _)| (*tweak).into()).collect();
        self.tweak.encrypt_blocks(&mut masks);
        let mut blocks: Vec<Block> =
            sealed.iter().zip(&masks).map(|((_, sealed), mask)| xor(sealed, &(*mask).into()).into()).collect();
        self.block.decrypt_blocks(&mut blocks);
        blocks.iter().zip(&masks).map(|(block, mask)| xor(&(*block).into(), &(*mask).into())).collect()
    }
}

fn xor(a: &[u8; 16], b: &[u8; 16]) -> [u8; 16] {
    (u128::from_ne_bytes(*a) ^ u128::from_ne_bytes(*b)).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_tags_look_different_and_open_again() {
        let key = IndexKey::derive(&[1; 32], &[2; 16]);
        let (a, b) = (key.seal(&[3; 16], &[4; 16]), key.seal(&[5; 16], &[4; 16]));
        assert_ne!(a, b);
        assert_eq!((key.open(&[3; 16], &a), key.open(&[5; 16], &b)), ([4; 16], [4; 16]));
        let many: Vec<_> = (0..70).map(|n| ([n; 16], key.seal(&[n; 16], &[n ^ 7; 16]))).collect();
        assert_eq!(key.open_all(&many), (0..70).map(|n| [n ^ 7; 16]).collect::<Vec<_>>());
        assert_eq!(key.open_all(&[]), Vec::<[u8; 16]>::new());
        let other = IndexKey::derive(&[1; 32], &[9; 16]);
        assert_ne!(other.seal(&[3; 16], &[4; 16]), a);
    }
}
