"""Client-side encryption with the official libraries: with a KMS key of ours and with a client's own key, stored in our S3."""

import os
import subprocess

import aws_encryption_sdk
import pytest
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.models import (
    AesWrappingAlg,
    CreateAwsKmsKeyringInput,
    CreateMultiKeyringInput,
    CreateRawAesKeyringInput,
)
from s3_encryption import S3EncryptionClient, S3EncryptionClientConfig
from s3_encryption.materials.kms_keyring import KmsKeyring

from test_kms import refused

BODY = os.urandom(200_000)
CONTEXT = {"purpose": "test", "tenant": "one"}


@pytest.fixture(scope="module")
def kms(server):
    return server.kms()


@pytest.fixture(scope="module")
def providers():
    return AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())


def stored(server, bucket, key, ciphertext):
    """What comes back from our S3."""
    s3 = server.client()
    s3.put_object(Bucket=bucket, Key=key, Body=ciphertext)
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def test_the_aws_encryption_sdk_with_kms_keys(server, kms, bucket, providers):
    first, second = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    client = aws_encryption_sdk.EncryptionSDKClient()
    one_of = lambda arn: providers.create_aws_kms_keyring(CreateAwsKmsKeyringInput(kms_key_id=arn, kms_client=kms))
    both = providers.create_multi_keyring(CreateMultiKeyringInput(generator=one_of(first), child_keyrings=[one_of(second)]))
    sealed, _ = client.encrypt(source=BODY, keyring=both, encryption_context=CONTEXT)
    assert BODY not in sealed
    sealed = stored(server, bucket, "sdk", sealed)
    for arn in (first, second):
        opened, _ = client.decrypt(source=sealed, keyring=one_of(arn), encryption_context=CONTEXT)
        assert opened == BODY
    kms.rotate_key_on_demand(KeyId=first)
    opened, _ = client.decrypt(source=sealed, keyring=both)
    assert opened == BODY
    other = one_of(kms.create_key()["KeyMetadata"]["Arn"])
    with pytest.raises(Exception, match="(?i)decrypt"):
        client.decrypt(source=sealed, keyring=other)


def test_the_aws_encryption_sdk_with_a_clients_own_key(server, bucket, providers):
    keyring = providers.create_raw_aes_keyring(
        CreateRawAesKeyringInput(key_namespace="tests", key_name="own", wrapping_key=bytes(range(32)), wrapping_alg=AesWrappingAlg.ALG_AES256_GCM_IV12_TAG16)
    )
    client = aws_encryption_sdk.EncryptionSDKClient()
    sealed, _ = client.encrypt(source=BODY, keyring=keyring, encryption_context=CONTEXT)
    opened, _ = client.decrypt(source=stored(server, bucket, "own", sealed), keyring=keyring)
    assert opened == BODY


def test_the_s3_encryption_client(server, kms, bucket):
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    plain = server.client()
    wrapped = S3EncryptionClient(plain, S3EncryptionClientConfig(KmsKeyring(kms, arn)))
    wrapped.put_object(Bucket=bucket, Key="s3ec", Body=BODY)
    raw = server.client().get_object(Bucket=bucket, Key="s3ec")["Body"].read()
    assert len(raw) == len(BODY) + 16 and BODY[:64] not in raw
    assert wrapped.get_object(Bucket=bucket, Key="s3ec")["Body"].read() == BODY
    kms.disable_key(KeyId=arn)
    with pytest.raises(Exception, match="disabled"):
        wrapped.get_object(Bucket=bucket, Key="s3ec")["Body"].read()
    kms.enable_key(KeyId=arn)
    assert wrapped.get_object(Bucket=bucket, Key="s3ec")["Body"].read() == BODY
    refused("KMSInvalidStateException", kms.cancel_key_deletion, KeyId=arn)


def test_the_aws_encryption_sdk_for_javascript(server, kms, bucket):
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    script = os.path.join(os.path.dirname(__file__), "node", "roundtrip.js")
    environment = server.environment_of() | {"NODE_PATH": os.environ["TRESOR_NODE_MODULES"], "KEY_ARN": arn}
    environment["BODY"] = BODY[:4096].hex()
    for mode in ("kms", "own"):
        run = lambda step, text="": subprocess.run(["node", script, mode, step], env=environment, input=text, capture_output=True, text=True, timeout=60, check=True)
        sealed = bytes.fromhex(run("encrypt").stdout)
        assert BODY[:64] not in sealed
        back = stored(server, bucket, f"js-{mode}", sealed)
        assert bytes.fromhex(run("decrypt", back.hex()).stdout) == BODY[:4096]
