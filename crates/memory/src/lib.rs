//! Memory for secrets that live as long as the server: pages of their own that are locked where the limit allows, left out of core
//! dumps, and wiped when a secret is dropped. Must never log, print or copy what it holds.
//!
//! Short-lived secrets stay in `Zeroizing`; so does what a cryptographic library keeps inside its own key objects.

use parking_lot::Mutex;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap_anonymous, munmap};
use std::{
    fmt,
    ptr::NonNull,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};
use zeroize::Zeroize;

/// A page that secrets share, in bytes: the bits of a `u128` times a slot.
const PAGE: usize = SLOT * 128;
/// What a secret takes at least, in bytes.
const SLOT: usize = 32;

static POOL: Mutex<Vec<Page>> = Mutex::new(Vec::new());
static WARNED: AtomicBool = AtomicBool::new(false);
static LOCKED: AtomicU64 = AtomicU64::new(0);
static UNLOCKED: AtomicU64 = AtomicU64::new(0);

/// A page of the pool; it is never given back, so that its lock is taken once.
struct Page {
    at: usize,
    /// One bit a slot.
    used: u128,
}

/// A secret of any length in locked memory. It does not print, copy or compare.
pub struct Locked {
    at: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory belongs to this value alone, and it is written only while it is made and while it is dropped.
#[allow(unsafe_code, reason = "a pointer to memory of its own is as movable as a Box")]
unsafe impl Send for Locked {}
// SAFETY: as above: shared use is reading.
#[allow(unsafe_code, reason = "a pointer to memory of its own is as shareable as a Box")]
unsafe impl Sync for Locked {}

impl Locked {
    /// A copy of `secret`; whoever gave it wipes the original.
    pub fn new(secret: &[u8]) -> Self {
        let mut this = Self::zeros(secret.len());
        this.bytes().copy_from_slice(secret);
        this
    }

    fn zeros(length: usize) -> Self {
        Self { at: if length > PAGE { map(length) } else { take(slots(length)) }, length }
    }

    #[allow(unsafe_code, reason = "the memory is reached through the pointer that maps it")]
    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: `at` points to at least `length` bytes that are mapped, initialised by the kernel with zeros, and owned by `self`.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.length) }
    }

    #[allow(unsafe_code, reason = "the memory is reached through the pointer that maps it")]
    pub fn expose(&self) -> &[u8] {
        // SAFETY: as in `bytes`; nothing writes while `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.length) }
    }

    /// The secret as a key of `N` bytes; `None` when it has another length.
    pub fn array<const N: usize>(&self) -> Option<&[u8; N]> {
        self.expose().try_into().ok()
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.bytes().zeroize();
        if self.length > PAGE {
            unmap(self.at, self.length);
        } else {
            give(self.at, slots(self.length));
        }
    }
}

impl fmt::Debug for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Locked({} bytes)", self.length)
    }
}

/// A key of 32 bytes in locked memory.
pub struct LockedKey(Locked);

impl LockedKey {
    /// A copy; whoever gave it wipes the original.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Locked::new(key))
    }
    pub fn expose(&self) -> &[u8; 32] {
        self.0.array().expect("it was made from 32 bytes")
    }
}

impl fmt::Debug for LockedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockedKey")
    }
}

/// Bytes of memory for secrets that are locked, and that could not be.
pub fn usage() -> (u64, u64) {
    (LOCKED.load(Ordering::Relaxed), UNLOCKED.load(Ordering::Relaxed))
}

fn slots(length: usize) -> u32 {
    length.div_ceil(SLOT).max(1) as u32
}

/// The bits of `slots` neighbours, from the lowest.
fn mask(slots: u32) -> u128 {
    if slots >= 128 { u128::MAX } else { (1 << slots) - 1 }
}

/// Free neighbours in a page of the pool, or in a new one.
fn take(slots: u32) -> NonNull<u8> {
    let mut pool = POOL.lock();
    for page in pool.iter_mut() {
        for first in 0..=128 - slots {
            if page.used & (mask(slots) << first) == 0 {
                page.used |= mask(slots) << first;
                return pointer(page.at + first as usize * SLOT);
            }
        }
    }
    let at = map(PAGE);
    pool.push(Page { at: at.as_ptr().expose_provenance(), used: mask(slots) });
    at
}

fn give(at: NonNull<u8>, slots: u32) {
    let address = at.as_ptr().expose_provenance();
    let mut pool = POOL.lock();
    if let Some(page) = pool.iter_mut().find(|page| (page.at..page.at + PAGE).contains(&address)) {
        page.used &= !(mask(slots) << ((address - page.at) / SLOT));
    }
}

fn pointer(address: usize) -> NonNull<u8> {
    NonNull::new(std::ptr::with_exposed_provenance_mut(address)).expect("a mapping does not begin at 0")
}

/// Zeroed memory of its own. A machine without any memory left ends the process, as every allocation does.
#[allow(unsafe_code, reason = "mapping and locking memory are system calls on addresses")]
fn map(length: usize) -> NonNull<u8> {
    // SAFETY: a new private mapping at an address that the kernel chooses touches nothing that exists.
    let at =
        unsafe { mmap_anonymous(std::ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) }
            .expect("the machine gives a page of memory");
    // SAFETY: the range was mapped just now and is ours.
    let locked = unsafe { mlock(at, length) };
    // SAFETY: as above; the advice changes only what a core dump holds.
    let hidden = unsafe { madvise(at, length, Advice::LinuxDontDump) };
    match &locked {
        Ok(()) => LOCKED.fetch_add(length as u64, Ordering::Relaxed),
        Err(_) => UNLOCKED.fetch_add(length as u64, Ordering::Relaxed),
    };
    if let Err(error) = locked.and(hidden)
        && !WARNED.swap(true, Ordering::Relaxed)
    {
        tracing::warn!(%error, "memory of keys could not be locked and may be swapped out: raise RLIMIT_MEMLOCK (ulimit -l, LimitMEMLOCK=)");
    }
    NonNull::new(at.cast()).expect("a mapping does not begin at 0")
}

#[allow(unsafe_code, reason = "unmapping memory is a system call on addresses")]
fn unmap(at: NonNull<u8>, length: usize) {
    // SAFETY: the range was mapped by `map` for the one value that is being dropped.
    if unsafe { munmap(at.as_ptr().cast(), length) }.is_ok() {
        // It may have been among those that could not be locked; the sum stays right either way.
        let _ = LOCKED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |all| all.checked_sub(length as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_every_length_keep_apart_and_slots_are_used_again() {
        let made: Vec<(usize, Locked)> = [0, 1, 31, 32, 33, 64, 2400, 4095, 4096, 4097, 9000]
            .map(|length| (length, Locked::new(&vec![length as u8; length])))
            .into();
        for (length, secret) in &made {
            assert_eq!(secret.expose(), vec![*length as u8; *length]);
        }
        drop(made);
        let pages = || POOL.lock().len();
        let before = pages();
        for n in 0..10_000_u32 {
            let key = LockedKey::new(&[n as u8; 32]);
            assert_eq!(*key.expose(), [n as u8; 32]);
        }
        assert!(pages() <= before + 1);
        assert!(POOL.lock().iter().all(|page| page.used != u128::MAX || page.at % SLOT == 0));
    }

    #[test]
    fn it_never_prints_what_it_holds() {
        assert_eq!(format!("{:?} {:?}", Locked::new(b"secret"), LockedKey::new(&[7; 32])), "Locked(6 bytes) LockedKey");
    }
}
