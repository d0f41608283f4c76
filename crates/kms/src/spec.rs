//! What kinds of KMS key there are, and what each can do. Source: the AWS KMS developer guide, "Key spec reference".

/// Makes an enum whose names are AWS's and whose numbers are those of stored records.
macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$attribute:meta])* $n:literal $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
        #[cbor(index_only)]
        pub enum $name { $($(#[$attribute])* #[n($n)] $variant,)* }
        impl $name {
            pub const NAMES: &'static [&'static str] = &[$($text,)*];
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

names! {
    /// `KeySpec`
    KeySpec {
        0 Rsa2048 = "RSA_2048",
        1 Rsa3072 = "RSA_3072",
        2 Rsa4096 = "RSA_4096",
        3 P256 = "ECC_NIST_P256",
        4 P384 = "ECC_NIST_P384",
        5 P521 = "ECC_NIST_P521",
        6 Secp256k1 = "ECC_SECG_P256K1",
        #[default]
        7 Symmetric = "SYMMETRIC_DEFAULT",
        8 Hmac224 = "HMAC_224",
        9 Hmac256 = "HMAC_256",
        10 Hmac384 = "HMAC_384",
        11 Hmac512 = "HMAC_512",
        12 Sm2 = "SM2",
        13 MlDsa44 = "ML_DSA_44",
        14 MlDsa65 = "ML_DSA_65",
        15 MlDsa87 = "ML_DSA_87",
        16 Ed25519 = "ECC_NIST_EDWARDS25519",
        17 MlKem512 = "ML_KEM_512",
        18 MlKem768 = "ML_KEM_768",
        19 MlKem1024 = "ML_KEM_1024",
    }
}

names! {
    /// `KeyUsage`
    KeyUsage {
        0 SignVerify = "SIGN_VERIFY",
        #[default]
        1 EncryptDecrypt = "ENCRYPT_DECRYPT",
        2 Mac = "GENERATE_VERIFY_MAC",
        3 KeyAgreement = "KEY_AGREEMENT",
        4 Encapsulate = "ENCAPSULATE_DECAPSULATE",
    }
}

impl KeySpec {
    pub const fn is_symmetric(self) -> bool {
        matches!(self, Self::Symmetric)
    }
    pub const fn is_rsa(self) -> bool {
        matches!(self, Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096)
    }
    pub const fn is_hmac(self) -> bool {
        matches!(self, Self::Hmac224 | Self::Hmac256 | Self::Hmac384 | Self::Hmac512)
    }
    pub const fn is_kem(self) -> bool {
        matches!(self, Self::MlKem512 | Self::MlKem768 | Self::MlKem1024)
    }
    /// Has a public key.
    pub const fn is_asymmetric(self) -> bool {
        !self.is_symmetric() && !self.is_hmac()
    }

    /// What a key of this spec can be for.
    pub const fn usages(self) -> &'static [KeyUsage] {
        match self {
            Self::Symmetric => &[KeyUsage::EncryptDecrypt],
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => &[KeyUsage::EncryptDecrypt, KeyUsage::SignVerify],
            Self::P256 | Self::P384 | Self::P521 => &[KeyUsage::SignVerify, KeyUsage::KeyAgreement],
            Self::Secp256k1 | Self::Ed25519 | Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => &[KeyUsage::SignVerify],
            Self::Hmac224 | Self::Hmac256 | Self::Hmac384 | Self::Hmac512 => &[KeyUsage::Mac],
            Self::Sm2 => &[KeyUsage::EncryptDecrypt, KeyUsage::SignVerify, KeyUsage::KeyAgreement],
            Self::MlKem512 | Self::MlKem768 | Self::MlKem1024 => &[KeyUsage::Encapsulate],
        }
    }

    /// `EncryptionAlgorithms`
    pub const fn encryption_algorithms(self) -> &'static [&'static str] {
        match self {
            Self::Symmetric => &["SYMMETRIC_DEFAULT"],
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => &["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"],
            Self::Sm2 => &["SM2PKE"],
            _ => &[],
        }
    }
    /// `SigningAlgorithms`
    pub const fn signing_algorithms(self) -> &'static [&'static str] {
        match self {
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => &[
                "RSASSA_PKCS1_V1_5_SHA_256",
                "RSASSA_PKCS1_V1_5_SHA_384",
                "RSASSA_PKCS1_V1_5_SHA_512",
                "RSASSA_PSS_SHA_256",
                "RSASSA_PSS_SHA_384",
                "RSASSA_PSS_SHA_512",
            ],
            Self::P256 | Self::Secp256k1 => &["ECDSA_SHA_256"],
            Self::P384 => &["ECDSA_SHA_384"],
            Self::P521 => &["ECDSA_SHA_512"],
            Self::Ed25519 => &["ED25519_SHA_512"],
            Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => &["ML_DSA_SHAKE_256"],
            Self::Sm2 => &["SM2DSA"],
            _ => &[],
        }
    }
    /// `MacAlgorithms`
    pub const fn mac_algorithms(self) -> &'static [&'static str] {
        match self {
            Self::Hmac224 => &["HMAC_SHA_224"],
            Self::Hmac256 => &["HMAC_SHA_256"],
            Self::Hmac384 => &["HMAC_SHA_384"],
            Self::Hmac512 => &["HMAC_SHA_512"],
            _ => &[],
        }
    }
    /// Bytes of a MAC key: the length of its hash.
    pub const fn mac_bytes(self) -> usize {
        match self {
            Self::Hmac224 => 28,
            Self::Hmac384 => 48,
            Self::Hmac512 => 64,
            _ => 32,
        }
    }
    /// The most bytes RSAES-OAEP encrypts: the modulus less twice the hash less two.
    pub const fn oaep_limit(self, algorithm_is_sha1: bool) -> usize {
        let modulus = match self {
            Self::Rsa2048 => 256,
            Self::Rsa3072 => 384,
            _ => 512,
        };
        modulus - 2 - 2 * if algorithm_is_sha1 { 20 } else { 32 }
    }
}
