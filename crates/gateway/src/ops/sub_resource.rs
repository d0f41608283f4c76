//! Documents of a bucket that are set and removed as a whole, and that new buckets have without anybody's saying so.

/// What a bucket can have of a kind.
pub(crate) trait SubResource: Copy + PartialEq + minicbor::Encode<()> {
    /// The document's kind in the store.
    const DOCUMENT: &'static str;
    /// What AWS gives a new bucket: where nothing was ever said.
    const NEW: Self;
    /// What counts where it was removed.
    const WITHOUT: Self;
}

/// What a bucket has: deleting says that there is none, which is not what a new bucket has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub(crate) enum Stored<T> {
    #[n(0)]
    Removed,
    #[n(1)]
    Set(#[n(0)] T),
}

impl<T: SubResource> Stored<T> {
    pub(crate) fn in_force(self) -> T {
        match self {
            Self::Removed => T::WITHOUT,
            Self::Set(set) => set,
        }
    }
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        minicbor::to_vec(self).expect("encoding into a Vec cannot fail")
    }
    /// The document of a new bucket; what it has by default needs none.
    pub(crate) fn document(self) -> Option<(&'static str, Vec<u8>)> {
        (self != Self::default()).then(|| (T::DOCUMENT, self.to_bytes()))
    }
}

impl<T: SubResource> Default for Stored<T> {
    fn default() -> Self {
        Self::Set(T::NEW)
    }
}
