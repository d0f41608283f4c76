//! Every operation of the KMS service model, and which of them answer. The one list that the router, the documents and the tests read.

use crate::{fault::Fault, fields::Fields, ops};
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;
use tresor_kms::{Call, Dependents, KeyRing, Recording};
use tresor_model::Caller;

/// What `X-Amz-Target` begins with.
pub(crate) const TARGET: &str = "TrentService.";

/// What an operation may use besides its members.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    pub ring: &'a KeyRing,
    pub caller: &'a Caller,
    pub request_id: &'a str,
    pub name: &'static str,
    pub dependents: &'a dyn Dependents,
    /// Makes the record that a change carries into its commit.
    pub recording: &'a dyn Recording,
}

impl<'a> Input<'a> {
    /// The call that is judged; the action has the operation's name.
    pub(crate) fn call(&self) -> Call<'a> {
        Call::new(self.caller, self.name, self.request_id).recorded_by(self.recording)
    }
}

pub(crate) type Handler = for<'a> fn(Input<'a>, Fields) -> BoxFuture<'a, Result<Value, Fault>>;

pub(crate) struct Row {
    pub name: &'static str,
    pub handler: Option<Handler>,
}

impl Row {
    /// Changes nothing; the use of a key counts as such, as in CloudTrail.
    pub(crate) fn is_read_only(&self) -> bool {
        const CHANGES: &[&str] = &[
            "Create",
            "Enable",
            "Disable",
            "Update",
            "Schedule",
            "Cancel",
            "Tag",
            "Untag",
            "Put",
            "Rotate",
            "Delete",
            "Retire",
            "Revoke",
            "Import",
            "Replicate",
            "Connect",
            "Disconnect",
        ];
        !CHANGES.iter().any(|verb| self.name.starts_with(verb))
    }
}

macro_rules! rows {
    ($($name:literal => $module:ident :: $handler:ident,)* ; $($missing:literal,)*) => {
        const ROWS: &[Row] = &[
            $(Row { name: $name, handler: Some(|input, fields| Box::pin(ops::$module::$handler(input, fields))) },)*
            $(Row { name: $missing, handler: None },)*
        ];
    };
}

rows! {
    "CreateKey" => keys::create,
    "DescribeKey" => keys::describe,
    "ListKeys" => keys::list,
    "EnableKey" => keys::enable,
    "DisableKey" => keys::disable,
    "UpdateKeyDescription" => keys::update_description,
    "ScheduleKeyDeletion" => keys::schedule_deletion,
    "CancelKeyDeletion" => keys::cancel_deletion,
    "GetKeyLastUsage" => keys::last_usage,
    "TagResource" => keys::tag,
    "UntagResource" => keys::untag,
    "ListResourceTags" => keys::list_tags,
    "GetKeyPolicy" => keys::get_policy,
    "PutKeyPolicy" => keys::put_policy,
    "ListKeyPolicies" => keys::list_policies,
    "Encrypt" => cipher::encrypt,
    "Decrypt" => cipher::decrypt,
    "ReEncrypt" => cipher::re_encrypt,
    "GenerateDataKey" => cipher::generate_data_key,
    "GenerateDataKeyWithoutPlaintext" => cipher::generate_data_key_without_plaintext,
    "GenerateDataKeyPair" => cipher::generate_data_key_pair,
    "GenerateDataKeyPairWithoutPlaintext" => cipher::generate_data_key_pair_without_plaintext,
    "GenerateRandom" => cipher::generate_random,
    "GetPublicKey" => asymmetric::get_public_key,
    "Sign" => asymmetric::sign,
    "Verify" => asymmetric::verify,
    "GenerateMac" => asymmetric::generate_mac,
    "VerifyMac" => asymmetric::verify_mac,
    "DeriveSharedSecret" => asymmetric::derive_shared_secret,
    "Encapsulate" => asymmetric::encapsulate,
    "Decapsulate" => asymmetric::decapsulate,
    "EnableKeyRotation" => rotation::enable,
    "DisableKeyRotation" => rotation::disable,
    "GetKeyRotationStatus" => rotation::status,
    "RotateKeyOnDemand" => rotation::on_demand,
    "ListKeyRotations" => rotation::list,
    "CreateAlias" => aliases::create,
    "UpdateAlias" => aliases::update,
    "DeleteAlias" => aliases::delete,
    "ListAliases" => aliases::list,
    "CreateGrant" => grants::create,
    "ListGrants" => grants::list,
    "ListRetirableGrants" => grants::list_retirable,
    "RetireGrant" => grants::retire,
    "RevokeGrant" => grants::revoke,
    "GetParametersForImport" => import::parameters,
    "ImportKeyMaterial" => import::import,
    "DeleteImportedKeyMaterial" => import::delete,
    ;
    "ReplicateKey",
    "UpdatePrimaryRegion",
    "CreateCustomKeyStore",
    "DescribeCustomKeyStores",
    "UpdateCustomKeyStore",
    "DeleteCustomKeyStore",
    "ConnectCustomKeyStore",
    "DisconnectCustomKeyStore",
}

pub(crate) fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

/// One row for people and for tests.
#[derive(Clone, Debug, Serialize)]
pub struct OperationRow {
    pub service: &'static str,
    pub name: &'static str,
    /// Every other one answers UnsupportedOperationException.
    pub implemented: bool,
    pub action: String,
    pub method: &'static str,
    /// The `X-Amz-Target` of a request.
    pub target: String,
    pub read_only: bool,
}

pub fn operations() -> Vec<OperationRow> {
    let row = |row: &Row| OperationRow {
        service: "kms",
        name: row.name,
        implemented: row.handler.is_some(),
        action: match row.name {
            "ReEncrypt" => "kms:ReEncryptFrom, kms:ReEncryptTo".into(),
            name => format!("kms:{name}"),
        },
        method: "POST",
        target: format!("{TARGET}{}", row.name),
        read_only: row.is_read_only(),
    };
    ROWS.iter().map(row).collect()
}
