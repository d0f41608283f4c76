"""The key state table of the developer guide and the error rows, cell by cell against the running server."""

import pytest

from harness import ACCOUNTS, REGION
from test_kms import refused, wrapped

ACCOUNT = ACCOUNTS["main"][0]
GRANTEE = f"arn:aws:iam::{ACCOUNT}:user/alice"


@pytest.fixture(scope="module")
def kms(server):
    return server.kms()


class Key:
    """A key in one state, and what the operations on it need."""

    def __init__(self, kms, state, **spec):
        self.kms, self.state = kms, state
        self.arn = kms.create_key(**spec)["KeyMetadata"]["Arn"]
        self.alias = "alias/s-" + self.arn[-12:]
        self.other = kms.create_key(**spec)["KeyMetadata"]["Arn"]
        self.blob = b""
        kms.create_alias(AliasName=self.alias, TargetKeyId=self.other)
        if spec.get("Origin") != "EXTERNAL" and "KeySpec" not in spec:
            self.blob = kms.encrypt(KeyId=self.arn, Plaintext=b"x")["CiphertextBlob"]
        if state == "Disabled":
            kms.disable_key(KeyId=self.arn)
        if state == "PendingDeletion":
            kms.schedule_key_deletion(KeyId=self.arn, PendingWindowInDays=7)

    def text(self, cell):
        return {
            "disabled": ("DisabledException", f"{self.arn} is disabled."),
            "deletion": ("KMSInvalidStateException", f"{self.arn} is pending deletion."),
            "not deletion": ("KMSInvalidStateException", f"{self.arn} is not pending deletion."),
            "import": ("KMSInvalidStateException", f"{self.arn} is pending import."),
            "external": ("UnsupportedOperationException", f"{self.arn} origin is EXTERNAL which is not valid for this operation."),
            "own": ("UnsupportedOperationException", f"{self.arn} origin is AWS_KMS which is not valid for this operation."),
        }[cell]


def grant(kms, arn):
    return kms.create_grant(KeyId=arn, GranteePrincipal=GRANTEE, Operations=["Decrypt"])["GrantId"]


OK = "ok"
USE = (OK, "disabled", "deletion", "import")
ANY = (OK, OK, OK, OK)
LIVING = (OK, OK, "deletion", OK)
MATERIAL = (OK, OK, "deletion", "import")
STATES = ("Enabled", "Disabled", "PendingDeletion", "PendingImport")
TAGS = [{"TagKey": "a", "TagValue": "b"}]

# Operation, what it does to a key, and its cells in the order of STATES.
TABLE = [
    ("CancelKeyDeletion", lambda k, m: m.cancel_key_deletion(KeyId=k.arn), ("not deletion", "not deletion", OK, "not deletion")),
    ("CreateAlias", lambda k, m: m.create_alias(AliasName=k.alias + "-n", TargetKeyId=k.arn), LIVING),
    ("CreateGrant", lambda k, m: grant(m, k.arn), USE),
    ("Decrypt", lambda k, m: m.decrypt(KeyId=k.arn, CiphertextBlob=k.blob or b"x" * 200), USE),
    ("DeleteAlias", lambda k, m: m.delete_alias(AliasName=k.alias), ANY),
    ("DeleteImportedKeyMaterial", lambda k, m: m.delete_imported_key_material(KeyId=k.arn), ("own", "own", "own", OK)),
    ("DescribeKey", lambda k, m: m.describe_key(KeyId=k.arn), ANY),
    ("DisableKey", lambda k, m: m.disable_key(KeyId=k.arn), MATERIAL),
    ("DisableKeyRotation", lambda k, m: m.disable_key_rotation(KeyId=k.arn), (OK, "disabled", "deletion", "external")),
    ("EnableKey", lambda k, m: m.enable_key(KeyId=k.arn), MATERIAL),
    ("EnableKeyRotation", lambda k, m: m.enable_key_rotation(KeyId=k.arn), (OK, "disabled", "deletion", "external")),
    ("Encrypt", lambda k, m: m.encrypt(KeyId=k.arn, Plaintext=b"x"), USE),
    ("GenerateDataKey", lambda k, m: m.generate_data_key(KeyId=k.arn, KeySpec="AES_256"), USE),
    ("GenerateDataKeyPair", lambda k, m: m.generate_data_key_pair(KeyId=k.arn, KeyPairSpec="ECC_NIST_P256"), USE),
    ("GenerateDataKeyPairWithoutPlaintext", lambda k, m: m.generate_data_key_pair_without_plaintext(KeyId=k.arn, KeyPairSpec="ECC_NIST_P256"), USE),
    ("GenerateDataKeyWithoutPlaintext", lambda k, m: m.generate_data_key_without_plaintext(KeyId=k.arn, KeySpec="AES_128"), USE),
    ("GetKeyPolicy", lambda k, m: m.get_key_policy(KeyId=k.arn), ANY),
    ("GetKeyRotationStatus", lambda k, m: m.get_key_rotation_status(KeyId=k.arn), (OK, OK, OK, "external")),
    ("GetParametersForImport", lambda k, m: m.get_parameters_for_import(KeyId=k.arn, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048"), ("own", "own", "own", OK)),
    ("ListAliases", lambda k, m: m.list_aliases(KeyId=k.arn), ANY),
    ("ListGrants", lambda k, m: m.list_grants(KeyId=k.arn), ANY),
    ("ListKeyPolicies", lambda k, m: m.list_key_policies(KeyId=k.arn), ANY),
    ("ListKeyRotations", lambda k, m: m.list_key_rotations(KeyId=k.arn), ANY),
    ("ListResourceTags", lambda k, m: m.list_resource_tags(KeyId=k.arn), ANY),
    ("PutKeyPolicy", lambda k, m: m.put_key_policy(KeyId=k.arn, Policy=m.get_key_policy(KeyId=k.arn)["Policy"]), ANY),
    ("ReEncrypt", lambda k, m: m.re_encrypt(CiphertextBlob=k.blob or b"x" * 200, SourceKeyId=k.arn, DestinationKeyId=k.arn), USE),
    ("RotateKeyOnDemand", lambda k, m: m.rotate_key_on_demand(KeyId=k.arn), USE),
    ("ScheduleKeyDeletion", lambda k, m: m.schedule_key_deletion(KeyId=k.arn), LIVING),
    ("TagResource", lambda k, m: m.tag_resource(KeyId=k.arn, Tags=TAGS), LIVING),
    ("UntagResource", lambda k, m: m.untag_resource(KeyId=k.arn, TagKeys=["a"]), LIVING),
    ("UpdateAlias", lambda k, m: m.update_alias(AliasName=k.alias, TargetKeyId=k.arn), LIVING),
    ("UpdateKeyDescription", lambda k, m: m.update_key_description(KeyId=k.arn, Description="d"), LIVING),
    ("GetKeyLastUsage", lambda k, m: m.get_key_last_usage(KeyId=k.arn), ANY),
]


@pytest.mark.parametrize("column", range(4), ids=STATES)
@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_cell(kms, row, column):
    _, operation, cells = row
    key = Key(kms, STATES[column], **({"Origin": "EXTERNAL"} if STATES[column] == "PendingImport" else {}))
    if cells[column] == OK:
        operation(key, kms)
    else:
        before = kms.describe_key(KeyId=key.arn)["KeyMetadata"]
        refused(key.text(cells[column])[0], operation, key.text(cells[column])[1], k=key, m=kms)
        assert kms.describe_key(KeyId=key.arn)["KeyMetadata"] == before


@pytest.mark.parametrize("state", ["Disabled", "PendingDeletion"])
def test_grants_end_in_every_state(kms, state):
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    first, second = grant(kms, arn), grant(kms, arn)
    (kms.disable_key if state == "Disabled" else kms.schedule_key_deletion)(KeyId=arn)
    kms.revoke_grant(KeyId=arn, GrantId=first)
    kms.retire_grant(KeyId=arn, GrantId=second)
    assert kms.list_grants(KeyId=arn)["Grants"] == []


ASYMMETRIC = [
    ("RSA_2048", "SIGN_VERIFY", lambda k, m: m.sign(KeyId=k, Message=b"m", SigningAlgorithm="RSASSA_PSS_SHA_256")),
    ("RSA_2048", "SIGN_VERIFY", lambda k, m: m.verify(KeyId=k, Message=b"m", Signature=b"s", SigningAlgorithm="RSASSA_PSS_SHA_256")),
    ("RSA_2048", "SIGN_VERIFY", lambda k, m: m.get_public_key(KeyId=k)),
    ("HMAC_256", "GENERATE_VERIFY_MAC", lambda k, m: m.generate_mac(KeyId=k, Message=b"m", MacAlgorithm="HMAC_SHA_256")),
    ("HMAC_256", "GENERATE_VERIFY_MAC", lambda k, m: m.verify_mac(KeyId=k, Message=b"m", Mac=b"t", MacAlgorithm="HMAC_SHA_256")),
    ("ECC_NIST_P256", "KEY_AGREEMENT", lambda k, m: m.derive_shared_secret(KeyId=k, KeyAgreementAlgorithm="ECDH", PublicKey=b"p")),
    ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE", lambda k, m: m.encapsulate(KeyId=k, EncapsulationAlgorithm="ML_KEM")),
]


@pytest.mark.parametrize("state", ["Disabled", "PendingDeletion"])
@pytest.mark.parametrize("row", ASYMMETRIC, ids=range(len(ASYMMETRIC)))
def test_cell_of_other_kinds_of_key(kms, row, state):
    spec, usage, operation = row
    key = Key(kms, state, KeySpec=spec, KeyUsage=usage)
    code, text = key.text("disabled" if state == "Disabled" else "deletion")
    refused(code, operation, text, k=key.arn, m=kms)


MISSING = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/134f2428-cec1-4b25-a1ae-9048164dba47"
LONG = "v" * 257
ERRORS = [
    ("generate_random", {}, "ValidationException", "NumberOfBytes is required."),
    ("generate_random", {"NumberOfBytes": 0}, "ValidationException", "1 validation error detected: Value '0' at 'numberOfBytes' failed to satisfy constraint: Member must have value greater than or equal to 1"),
    ("generate_random", {"NumberOfBytes": 1025}, "ValidationException", "1 validation error detected: Value '1025' at 'numberOfBytes' failed to satisfy constraint: Member must have value less than or equal to 1024"),
    ("describe_key", {"KeyId": MISSING}, "NotFoundException", f"Key '{MISSING}' does not exist"),
    ("describe_key", {"KeyId": MISSING.replace(REGION, "eu-west-3")}, "NotFoundException", "Invalid arn eu-west-3"),
    ("describe_key", {"KeyId": "fake-key-id"}, "NotFoundException", "Invalid keyId 'fake-key-id'"),
    ("describe_key", {"KeyId": "134f2428cec14b25a1ae9048164dba47"}, "NotFoundException", "Invalid keyId '134f2428cec14b25a1ae9048164dba47'"),
    ("describe_key", {"KeyId": "mrk-fake-key-id"}, "NotFoundException", "Invalid keyId 'mrk-fake-key-id'"),
    ("create_key", {"KeySpec": "HMAC_224"}, "ValidationException", "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."),
    ("create_key", {"KeySpec": "RSA_2048", "KeyUsage": "KEY_AGREEMENT"}, "ValidationException", "KeyUsage KEY_AGREEMENT is not compatible with KeySpec RSA_2048"),
    ("create_key", {"KeyUsage": "RANDOM"}, "ValidationException", "1 validation error detected: Value 'RANDOM' at 'keyUsage' failed to satisfy constraint: Member must satisfy enum value set: [SIGN_VERIFY, ENCRYPT_DECRYPT, GENERATE_VERIFY_MAC, KEY_AGREEMENT, ENCAPSULATE_DECAPSULATE]"),
    ("create_key", {"Tags": [{"TagKey": "k", "TagValue": LONG}]}, "ValidationException", f"1 validation error detected: Value '{LONG}' at 'tags.1.member.tagValue' failed to satisfy constraint: Member must have length less than or equal to 256"),
    ("generate_mac", {"KeyId": "key_id", "Message": b"m", "MacAlgorithm": "HMAC_SHA_224"}, "NotFoundException", "Invalid keyId 'key_id'"),
    ("generate_mac", {"KeyId": "key_id", "Message": b"m", "MacAlgorithm": "INVALID"}, "ValidationException", "1 validation error detected: Value 'INVALID' at 'macAlgorithm' failed to satisfy constraint: Member must satisfy enum value set: [HMAC_SHA_224, HMAC_SHA_256, HMAC_SHA_384, HMAC_SHA_512]"),
    ("derive_shared_secret", {"KeyId": "k", "KeyAgreementAlgorithm": "INVALID", "PublicKey": b"p"}, "ValidationException", "1 validation error detected: Value 'INVALID' at 'keyAgreementAlgorithm' failed to satisfy constraint: Member must satisfy enum value set: [ECDH]"),
    ("encrypt", {"KeyId": "alias/test", "Plaintext": b"x" * 4097}, "ValidationException", "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096"),
    ("encrypt", {"KeyId": "alias/test", "Plaintext": b""}, "ValidationException", "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length greater than or equal to 1"),
    ("encrypt", {"KeyId": "alias/test", "Plaintext": b"x", "GrantTokens": ["no-token"]}, "InvalidGrantTokenException", None),
    ("generate_data_key", {"KeyId": "alias/test"}, "ValidationException", None),
    ("generate_data_key", {"KeyId": "alias/test", "KeySpec": "AES_256", "NumberOfBytes": 4}, "ValidationException", None),
    ("schedule_key_deletion", {"KeyId": MISSING, "PendingWindowInDays": 6}, "ValidationException", None),
    ("schedule_key_deletion", {"KeyId": MISSING, "PendingWindowInDays": 31}, "ValidationException", None),
    ("enable_key", {"KeyId": "alias/test"}, "NotFoundException", "Invalid keyId 'alias/test'"),
    ("decrypt", {"CiphertextBlob": b"x"}, "InvalidCiphertextException", ""),
    ("get_parameters_for_import", {"KeyId": "k", "WrappingAlgorithm": "NONE", "WrappingKeySpec": "RSA_2048"}, "ValidationException", None),
]


@pytest.mark.parametrize("row", ERRORS, ids=[f"{n}-{row[0]}" for n, row in enumerate(ERRORS)])
def test_error_row(server, row):
    operation, arguments, code, text = row
    client = server.kms(parameter_validation=False)
    refused(code, getattr(client, operation), text, **arguments)


def test_usages_that_do_not_fit(kms):
    cipher = kms.create_key()["KeyMetadata"]["Arn"]
    mac = kms.create_key(KeySpec="HMAC_224", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["Arn"]
    sign = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]
    message = {"Message": b"m"}
    ecdsa = message | {"SigningAlgorithm": "ECDSA_SHA_256"}

    def unfit(call, arn, usage, operation, **arguments):
        text = f"{arn} key usage is {usage} which is not valid for {operation}."
        refused("InvalidKeyUsageException", call, text, KeyId=arn, **arguments)

    unfit(kms.generate_mac, cipher, "ENCRYPT_DECRYPT", "GenerateMac", MacAlgorithm="HMAC_SHA_256", **message)
    unfit(kms.sign, mac, "GENERATE_VERIFY_MAC", "Sign", **ecdsa)
    unfit(kms.verify, cipher, "ENCRYPT_DECRYPT", "Verify", Signature=b"s", **ecdsa)
    unfit(kms.encrypt, sign, "SIGN_VERIFY", "Encrypt", Plaintext=b"x")
    unfit(kms.derive_shared_secret, sign, "SIGN_VERIFY", "DeriveSharedSecret", KeyAgreementAlgorithm="ECDH", PublicKey=b"p")
    text = "Algorithm HMAC_SHA_256 is incompatible with key spec HMAC_224."
    refused("InvalidKeyUsageException", kms.generate_mac, text, KeyId=mac, MacAlgorithm="HMAC_SHA_256", **message)
    refused("UnsupportedOperationException", kms.rotate_key_on_demand, "", KeyId=mac)
    dry = "The request would have succeeded, but the DryRun option is set."
    refused("DryRunOperationException", kms.generate_data_key_pair, dry, KeyId=cipher, KeyPairSpec="RSA_2048", DryRun=True)
    refused("DryRunOperationException", kms.encrypt, dry, KeyId=cipher, Plaintext=b"x", DryRun=True)
    refused("DisabledException", disabled_dry_run, kms=kms, arn=cipher)


def disabled_dry_run(kms, arn):
    kms.disable_key(KeyId=arn)
    kms.encrypt(KeyId=arn, Plaintext=b"x", DryRun=True)
