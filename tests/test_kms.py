"""KMS over AWS's own protocol: the aws CLI session of a first course, and every group of operations through boto3."""

import base64
import datetime
import json
import subprocess
import urllib.error
import urllib.request

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

from harness import ACCOUNTS, REGION, Server, operations

ACCOUNT = ACCOUNTS["main"][0]


@pytest.fixture(scope="module")
def kms(server):
    return server.kms()


@pytest.fixture
def key(kms):
    return kms.create_key()["KeyMetadata"]["Arn"]


def refused(code, call, text=None, status=400, **arguments):
    """The call fails with this code, status and text (None: any; "": none at all)."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    assert answer["Error"]["Code"] == code, answer
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == status, answer
    if text is not None:
        assert answer["Error"].get("Message", "") == text
    return answer


def test_a_first_course_with_the_aws_cli(server, tmp_path):
    def aws(*words):
        output = server.run("aws", "kms", *words)
        return json.loads(output) if output.strip() else None

    first = aws("create-key", "--description", "course")["KeyMetadata"]
    assert first["KeyState"] == "Enabled" and first["Arn"].startswith(f"arn:aws:kms:{REGION}:{ACCOUNT}:key/")
    second = aws("create-key")["KeyMetadata"]["KeyId"]
    aws("create-alias", "--alias-name", "alias/course", "--target-key-id", first["KeyId"])
    plain = tmp_path / "plain.txt"
    plain.write_bytes(b"the secret of the course")
    context = "course=1,step=two"
    sealed = aws("encrypt", "--key-id", "alias/course", "--plaintext", f"fileb://{plain}", "--encryption-context", context)
    blob = tmp_path / "sealed.bin"
    blob.write_bytes(base64.b64decode(sealed["CiphertextBlob"]))
    opened = aws("decrypt", "--ciphertext-blob", f"fileb://{blob}", "--encryption-context", context)
    assert base64.b64decode(opened["Plaintext"]) == b"the secret of the course" and opened["KeyId"] == first["Arn"]
    moved = aws(
        "re-encrypt", "--ciphertext-blob", f"fileb://{blob}", "--source-encryption-context", context,
        "--destination-key-id", second,
    )
    assert moved["SourceKeyId"] == first["Arn"] and moved["KeyId"].endswith(second)
    blob.write_bytes(base64.b64decode(moved["CiphertextBlob"]))
    opened = aws("decrypt", "--ciphertext-blob", f"fileb://{blob}", "--key-id", second)
    assert base64.b64decode(opened["Plaintext"]) == b"the secret of the course"
    aws("enable-key-rotation", "--key-id", first["KeyId"])
    status = aws("get-key-rotation-status", "--key-id", first["KeyId"])
    assert status["KeyRotationEnabled"] is True and status["RotationPeriodInDays"] == 365
    data_key = aws("generate-data-key", "--key-id", first["KeyId"], "--key-spec", "AES_256")
    assert len(base64.b64decode(data_key["Plaintext"])) == 32 and len(data_key["KeyMaterialId"]) == 64
    planned = aws("schedule-key-deletion", "--key-id", second, "--pending-window-in-days", "7")
    assert planned["KeyState"] == "PendingDeletion" and planned["PendingWindowInDays"] == 7
    assert aws("cancel-key-deletion", "--key-id", second)["KeyId"].endswith(second)
    assert aws("describe-key", "--key-id", second)["KeyMetadata"]["KeyState"] == "Disabled"
    assert any(alias["AliasName"] == "alias/course" for alias in aws("list-aliases")["Aliases"])


def test_contexts_bind_and_keys_are_told_apart(kms, key):
    context = {"a": "1", "b": "2"}
    sealed = kms.encrypt(KeyId=key, Plaintext=b"x" * 4096, EncryptionContext=context)
    assert "KeyMaterialId" not in sealed
    blob = sealed["CiphertextBlob"]
    for other in [{}, {"a": "1"}, {"a": "1", "b": "2", "c": "3"}, {"a": "2", "b": "2"}, {"A": "1", "b": "2"}]:
        refused("InvalidCiphertextException", kms.decrypt, "", CiphertextBlob=blob, EncryptionContext=other)
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext={"b": "2", "a": "1"})["Plaintext"] == b"x" * 4096
    other = kms.create_key()["KeyMetadata"]["Arn"]
    text = "The key ID in the request does not identify a CMK that can perform this operation."
    refused("IncorrectKeyException", kms.decrypt, text, KeyId=other, CiphertextBlob=blob, EncryptionContext=context)
    for n in range(0, len(blob), 7):
        broken = bytearray(blob)
        broken[n] ^= 1
        with pytest.raises(ClientError) as caught:
            kms.decrypt(CiphertextBlob=bytes(broken), EncryptionContext=context)
        assert caught.value.response["Error"]["Code"] in ("InvalidCiphertextException", "AccessDeniedException")


def test_rotation_keeps_old_ciphertexts_and_shows_its_history(kms, key):
    blobs, materials = [], []
    for _ in range(4):
        made = kms.generate_data_key(KeyId=key, NumberOfBytes=24)
        blobs.append((made["CiphertextBlob"], made["Plaintext"]))
        materials.append(made["KeyMaterialId"])
        kms.rotate_key_on_demand(KeyId=key)
    assert len(set(materials)) == 4
    for (blob, plain), material in zip(blobs, materials):
        opened = kms.decrypt(CiphertextBlob=blob)
        assert (opened["Plaintext"], opened["KeyMaterialId"]) == (plain, material)
    rotations = kms.list_key_rotations(KeyId=key)["Rotations"]
    assert [entry["RotationType"] for entry in rotations] == ["ON_DEMAND"] * 4
    every = kms.list_key_rotations(KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL", Limit=2)
    assert every["Truncated"] and len(every["Rotations"]) == 2
    rest = kms.list_key_rotations(KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL", Marker=every["NextMarker"])
    assert [e["KeyMaterialState"] for e in rest["Rotations"]] == ["NON_CURRENT", "NON_CURRENT", "CURRENT"]
    for _ in range(21):
        kms.rotate_key_on_demand(KeyId=key)
    text = f"The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be performed for this key: {key}"
    refused("LimitExceededException", kms.rotate_key_on_demand, text, KeyId=key)
    kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
    assert kms.get_key_rotation_status(KeyId=key)["RotationPeriodInDays"] == 90
    kms.disable_key_rotation(KeyId=key)
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False


def test_aliases_tags_descriptions_and_pages(kms, key):
    name = "alias/a-" + key[-12:]
    kms.create_alias(AliasName=name, TargetKeyId=key)
    refused("AlreadyExistsException", kms.create_alias, AliasName=name, TargetKeyId=key)
    refused("InvalidAliasNameException", kms.create_alias, AliasName="alias/aws/mine", TargetKeyId=key)
    text = 'Alias must start with the prefix "alias/". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html'
    refused("ValidationException", kms.create_alias, text, AliasName="mine", TargetKeyId=key)
    sealed = kms.encrypt(KeyId=name, Plaintext=b"old")["CiphertextBlob"]
    other = kms.create_key()["KeyMetadata"]["Arn"]
    kms.update_alias(AliasName=name, TargetKeyId=other)
    assert kms.describe_key(KeyId=name)["KeyMetadata"]["Arn"] == other
    assert kms.decrypt(CiphertextBlob=sealed)["KeyId"] == key
    mac = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["Arn"]
    refused("ValidationException", kms.update_alias, AliasName=name, TargetKeyId=mac)
    kms.delete_alias(AliasName=name)
    refused("NotFoundException", kms.describe_key, KeyId=name)

    kms.update_key_description(KeyId=key, Description="new words")
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["Description"] == "new words"
    kms.tag_resource(KeyId=key, Tags=[{"TagKey": "a", "TagValue": "1"}, {"TagKey": "b", "TagValue": "2"}])
    kms.tag_resource(KeyId=key, Tags=[{"TagKey": "a", "TagValue": "3"}])
    kms.untag_resource(KeyId=key, TagKeys=["b"])
    assert kms.list_resource_tags(KeyId=key)["Tags"] == [{"TagKey": "a", "TagValue": "3"}]
    twice = [{"TagKey": "a", "TagValue": "1"}] * 2
    refused("TagException", kms.tag_resource, "Duplicate tag keys", KeyId=key, Tags=twice)
    many = [{"TagKey": str(n), "TagValue": ""} for n in range(51)]
    refused("TagException", kms.create_key, "Too many tags", Tags=many)
    reserved = [{"TagKey": "aws:x", "TagValue": ""}]
    refused("TagException", kms.tag_resource, "Tags beginning with aws: are reserved", KeyId=key, Tags=reserved)
    listed = [entry["KeyArn"] for page in kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 2}) for entry in page["Keys"]]
    assert key in listed and len(listed) == len(set(listed))
    refused("InvalidMarkerException", kms.list_keys, Marker="!")
    # A marker belongs to the list that gave it.
    of_keys = kms.list_keys(Limit=1)["NextMarker"]
    of_aliases = kms.list_aliases(Limit=1)["NextMarker"]
    refused("InvalidMarkerException", kms.list_aliases, Marker=of_keys)
    refused("InvalidMarkerException", kms.list_keys, Marker=of_aliases)
    refused("InvalidMarkerException", kms.list_grants, KeyId=key, Marker=of_keys)
    assert kms.list_keys(Limit=1, Marker=of_keys)["Keys"] != kms.list_keys(Limit=1)["Keys"]


def test_signatures_macs_and_secrets(kms):
    def made(spec, usage):
        return kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]

    for spec in ["RSA_2048", "ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521", "ECC_SECG_P256K1", "ECC_NIST_EDWARDS25519", "ML_DSA_44", "ML_DSA_65", "ML_DSA_87"]:
        key = made(spec, "SIGN_VERIFY")
        for algorithm in key["SigningAlgorithms"]:
            names = {"KeyId": key["Arn"], "SigningAlgorithm": algorithm}
            signature = kms.sign(Message=b"message", **names)["Signature"]
            assert kms.verify(Message=b"message", Signature=signature, **names)["SignatureValid"] is True
            refused("KMSInvalidSignatureException", kms.verify, "", Message=b"other", Signature=signature, **names)
            if spec.startswith(("RSA", "ECC_NIST_P", "ECC_SECG")):
                text = f"Digest is invalid length for algorithm {algorithm}."
                refused("ValidationException", kms.sign, text, Message=b"short", MessageType="DIGEST", **names)
        if spec == "ECC_NIST_P256":
            public = serialization.load_der_public_key(kms.get_public_key(KeyId=key["Arn"])["PublicKey"])
            public.verify(signature, b"message", ec.ECDSA(hashes.SHA256()))

    rsa = made("RSA_2048", "ENCRYPT_DECRYPT")["Arn"]
    public = serialization.load_der_public_key(kms.get_public_key(KeyId=rsa)["PublicKey"])
    outside = public.encrypt(b"made outside", padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None))
    opened = kms.decrypt(KeyId=rsa, CiphertextBlob=outside, EncryptionAlgorithm="RSAES_OAEP_SHA_256")
    assert opened["Plaintext"] == b"made outside"
    for algorithm, limit in [("RSAES_OAEP_SHA_1", 214), ("RSAES_OAEP_SHA_256", 190)]:
        names = {"KeyId": rsa, "EncryptionAlgorithm": algorithm}
        sealed = kms.encrypt(Plaintext=b"x" * limit, **names)["CiphertextBlob"]
        assert kms.decrypt(CiphertextBlob=sealed, **names)["Plaintext"] == b"x" * limit
        text = f"Algorithm {algorithm} and key spec RSA_2048 cannot encrypt data larger than {limit} bytes."
        refused("ValidationException", kms.encrypt, text, Plaintext=b"x" * (limit + 1), **names)

    for bits in (224, 256, 384, 512):
        mac = made(f"HMAC_{bits}", "GENERATE_VERIFY_MAC")["Arn"]
        names = {"KeyId": mac, "MacAlgorithm": f"HMAC_SHA_{bits}", "Message": b"message"}
        tag = kms.generate_mac(**names)["Mac"]
        assert len(tag) * 8 == bits and kms.verify_mac(Mac=tag, **names)["MacValid"] is True
        refused("KMSInvalidMacException", kms.verify_mac, "", Mac=tag, **(names | {"Message": b"other"}))
    text = "Algorithm HMAC_SHA_256 is incompatible with key spec HMAC_512."
    refused("InvalidKeyUsageException", kms.generate_mac, text, **(names | {"MacAlgorithm": "HMAC_SHA_256"}))

    agreement = made("ECC_NIST_P384", "KEY_AGREEMENT")["Arn"]
    mine = ec.generate_private_key(ec.SECP384R1())
    theirs = serialization.load_der_public_key(kms.get_public_key(KeyId=agreement)["PublicKey"])
    der = mine.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    derived = kms.derive_shared_secret(KeyId=agreement, KeyAgreementAlgorithm="ECDH", PublicKey=der)
    assert derived["SharedSecret"] == mine.exchange(ec.ECDH(), theirs)

    for spec in ("ML_KEM_512", "ML_KEM_768", "ML_KEM_1024"):
        kem = {"KeyId": made(spec, "ENCAPSULATE_DECAPSULATE")["Arn"], "EncapsulationAlgorithm": "ML_KEM"}
        made_up = kms.encapsulate(**kem)
        opened = kms.decapsulate(SharedSecretCiphertextBlob=made_up["SharedSecretCiphertextBlob"], **kem)
        assert opened["SharedSecret"] == made_up["SharedSecret"]
    refused("UnsupportedOperationException", kms.create_key, KeySpec="SM2", KeyUsage="SIGN_VERIFY")


def test_data_key_pairs(kms, key):
    for spec in ["RSA_2048", "ECC_NIST_P256", "ECC_NIST_EDWARDS25519"]:
        pair = kms.generate_data_key_pair(KeyId=key, KeyPairSpec=spec, EncryptionContext={"a": "b"})
        private = serialization.load_der_private_key(pair["PrivateKeyPlaintext"], None)
        public = private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        assert public == pair["PublicKey"]
        opened = kms.decrypt(CiphertextBlob=pair["PrivateKeyCiphertextBlob"], EncryptionContext={"a": "b"})
        assert opened["Plaintext"] == pair["PrivateKeyPlaintext"]
        without = kms.generate_data_key_pair_without_plaintext(KeyId=key, KeyPairSpec=spec)
        assert "PrivateKeyPlaintext" not in without and without["KeyId"] == key


def wrapped(algorithm, parameters, material):
    """Material as AWS documents its wrapping."""
    public = serialization.load_der_public_key(parameters["PublicKey"])
    hash_of = hashes.SHA1 if algorithm.endswith("SHA_1") else hashes.SHA256
    oaep = padding.OAEP(padding.MGF1(hash_of()), hash_of(), None)
    if algorithm.startswith("RSAES"):
        return public.encrypt(material, oaep)
    kek = bytes(range(32))
    return public.encrypt(kek, oaep) + keywrap.aes_key_wrap_with_padding(kek, material)


def test_imported_material(kms):
    key = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]
    arn = key["Arn"]
    assert (key["KeyState"], key["Enabled"]) == ("PendingImport", False)
    refused("KMSInvalidStateException", kms.encrypt, f"{arn} is pending import.", KeyId=arn, Plaintext=b"x")

    def bring(material, algorithm="RSAES_OAEP_SHA_256", spec="RSA_2048", **more):
        given = kms.get_parameters_for_import(KeyId=arn, WrappingAlgorithm=algorithm, WrappingKeySpec=spec)
        more = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"} | more
        return kms.import_key_material(KeyId=arn, ImportToken=given["ImportToken"], EncryptedKeyMaterial=wrapped(algorithm, given, material), **more)

    first = bytes(range(32))
    made = bring(first)
    assert kms.describe_key(KeyId=arn)["KeyMetadata"]["KeyState"] == "Enabled"
    sealed = kms.encrypt(KeyId=arn, Plaintext=b"under imported material")["CiphertextBlob"]
    for algorithm in ["RSAES_OAEP_SHA_1", "RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256"]:
        assert bring(first, algorithm)["KeyMaterialId"] == made["KeyMaterialId"]
    refused("IncorrectKeyMaterialException", bring, material=bytes(32))
    refused("IncorrectKeyMaterialException", bring, material=bytes(16))
    text = "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES"
    refused("ValidationException", bring, text, material=first, ExpirationModel="KEY_MATERIAL_EXPIRES")
    given = kms.get_parameters_for_import(KeyId=arn, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048")
    token = bytearray(given["ImportToken"])
    token[40] ^= 1
    material = wrapped("RSAES_OAEP_SHA_256", given, first)
    model = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
    refused("InvalidImportTokenException", kms.import_key_material, KeyId=arn, ImportToken=bytes(token), EncryptedKeyMaterial=material, **model)
    refused("InvalidCiphertextException", kms.import_key_material, "", KeyId=arn, ImportToken=given["ImportToken"], EncryptedKeyMaterial=material[:-1] + b"\0", **model)

    # New material waits for a rotation on demand; both are needed for the key to be whole.
    refused("KMSInvalidStateException", kms.rotate_key_on_demand, f"No available key material pending rotation for the key: {arn}.", KeyId=arn)
    second = bring(bytes(range(32, 64)), ImportType="NEW_KEY_MATERIAL", KeyMaterialDescription="second")
    states = {e["KeyMaterialId"]: e["KeyMaterialState"] for e in kms.list_key_rotations(KeyId=arn, IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]}
    assert states == {made["KeyMaterialId"]: "CURRENT", second["KeyMaterialId"]: "PENDING_ROTATION"}
    refused("KMSInvalidStateException", bring, material=bytes(range(64, 96)), ImportType="NEW_KEY_MATERIAL")
    kms.rotate_key_on_demand(KeyId=arn)
    assert kms.generate_data_key(KeyId=arn, KeySpec="AES_256")["KeyMaterialId"] == second["KeyMaterialId"]
    assert kms.decrypt(CiphertextBlob=sealed)["KeyMaterialId"] == made["KeyMaterialId"]
    kms.delete_imported_key_material(KeyId=arn, KeyMaterialId=made["KeyMaterialId"])
    refused("KMSInvalidStateException", kms.decrypt, f"{arn} is pending import.", CiphertextBlob=sealed)
    expiry = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=3)
    bring(first, ExpirationModel="KEY_MATERIAL_EXPIRES", ValidTo=expiry, KeyMaterialId=made["KeyMaterialId"])
    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"under imported material"
    while datetime.datetime.now(datetime.timezone.utc) <= expiry + datetime.timedelta(milliseconds=100):
        pass
    refused("KMSInvalidStateException", kms.decrypt, f"{arn} is pending import.", CiphertextBlob=sealed)
    bring(first, KeyMaterialId=made["KeyMaterialId"])
    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"under imported material"
    text = f"{arn} origin is EXTERNAL which is not valid for this operation."
    refused("UnsupportedOperationException", kms.enable_key_rotation, text, KeyId=arn)


def test_what_is_not_there_says_so(kms, key):
    refused("UnsupportedOperationException", kms.create_key, MultiRegion=True)
    refused("UnsupportedOperationException", kms.describe_custom_key_stores)
    refused("UnsupportedOperationException", kms.replicate_key, KeyId=key, ReplicaRegion="eu-west-1")
    refused("UnsupportedOperationException", kms.create_key, Origin="AWS_CLOUDHSM", CustomKeyStoreId="cks-1")


def test_last_usage(kms, key):
    assert kms.get_key_last_usage(KeyId=key)["KeyLastUsage"] == {}
    refused("DryRunOperationException", kms.encrypt, KeyId=key, Plaintext=b"x", DryRun=True)
    assert kms.get_key_last_usage(KeyId=key)["KeyLastUsage"] == {}
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    assert kms.get_key_last_usage(KeyId=key)["KeyLastUsage"]["Operation"] == "Encrypt"
    refused("InvalidCiphertextException", kms.decrypt, KeyId=key, CiphertextBlob=blob, EncryptionContext={"a": "b"})
    last = kms.get_key_last_usage(KeyId=key)
    assert last["KeyLastUsage"]["Operation"] == "Encrypt" and last["TrackingStartDate"] >= last["KeyCreationDate"]


def test_last_usage_outlives_a_restart(tmp_path):
    server = Server(tmp_path).start()
    try:
        key = server.kms().create_key()["KeyMetadata"]["KeyId"]
        server.kms().encrypt(KeyId=key, Plaintext=b"x")
        before = server.kms().get_key_last_usage(KeyId=key)
        server.stop()
        server.start()
        after = server.kms().get_key_last_usage(KeyId=key)
        assert after["KeyLastUsage"] == before["KeyLastUsage"] != {}
        assert after["TrackingStartDate"] == before["TrackingStartDate"]
    finally:
        server.stop()


def test_dry_runs_without_a_ciphertext(kms, key):
    dry = {"DryRun": True, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]}
    refused("DryRunOperationException", kms.decrypt, KeyId=key, CiphertextBlob=b"none", **dry)
    refused("ValidationException", kms.decrypt, CiphertextBlob=b"none", **dry)
    refused("ValidationException", kms.decrypt, KeyId=key, CiphertextBlob=b"x", DryRun=True, DryRunModifiers=["ALL"])
    refused("DryRunOperationException", kms.re_encrypt, SourceKeyId=key, CiphertextBlob=b"none", DestinationKeyId=key, **dry)
    kms.disable_key(KeyId=key)
    refused("DisabledException", kms.decrypt, KeyId=key, CiphertextBlob=b"none", **dry)


def test_material_made_by_openssl_as_aws_documents_it(kms, tmp_path):
    """Steps 1 to 3 of "Importing key material" with the openssl command line."""

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=tmp_path, check=True, capture_output=True)

    arn = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["Arn"]
    given = kms.get_parameters_for_import(KeyId=arn, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_3072")
    (tmp_path / "WrappingPublicKey.bin").write_bytes(given["PublicKey"])
    openssl("rand", "-out", "PlaintextKeyMaterial.bin", "32")
    openssl(
        "pkeyutl", "-encrypt", "-in", "PlaintextKeyMaterial.bin", "-inkey", "WrappingPublicKey.bin", "-keyform", "DER", "-pubin",
        "-out", "EncryptedKeyMaterial.bin", "-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256", "-pkeyopt", "rsa_mgf1_md:sha256",
    )
    expiry = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
    names = {"KeyId": arn, "ImportToken": given["ImportToken"], "EncryptedKeyMaterial": (tmp_path / "EncryptedKeyMaterial.bin").read_bytes()}
    kms.import_key_material(ExpirationModel="KEY_MATERIAL_EXPIRES", ValidTo=expiry, **names)
    blob = kms.encrypt(KeyId=arn, Plaintext=b"x")["CiphertextBlob"]
    while datetime.datetime.now(datetime.timezone.utc) <= expiry + datetime.timedelta(milliseconds=100):
        pass
    refused("KMSInvalidStateException", kms.decrypt, f"{arn} is pending import.", CiphertextBlob=blob)
    kms.import_key_material(ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE", **names)
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    (tmp_path / "PlaintextKeyMaterial.bin").write_bytes(bytes(32))
    openssl(
        "pkeyutl", "-encrypt", "-in", "PlaintextKeyMaterial.bin", "-inkey", "WrappingPublicKey.bin", "-keyform", "DER", "-pubin",
        "-out", "Other.bin", "-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256", "-pkeyopt", "rsa_mgf1_md:sha256",
    )
    names["EncryptedKeyMaterial"] = (tmp_path / "Other.bin").read_bytes()
    refused("IncorrectKeyMaterialException", kms.import_key_material, ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE", **names)


def test_the_table_names_the_56_operations_of_the_model():
    assert len({row["name"] for row in operations("kms")}) == 56


def post(server, target, body, who="main", service="kms", tamper=None):
    """A request signed by botocore's own signer; the status and the JSON of the answer."""
    headers = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1"}
    request = AWSRequest("POST", server.endpoints["http"] + "/", headers=headers, data=body)
    if who is not None:
        _, key, secret = ACCOUNTS[who]
        SigV4Auth(Credentials(key, secret), service, REGION).add_auth(request)
    ready = urllib.request.Request(request.url, tamper or body, dict(request.headers.items()), method="POST")
    try:
        with urllib.request.urlopen(ready) as answer:
            return answer.status, json.loads(answer.read() or b"{}"), answer.headers
    except urllib.error.HTTPError as answer:
        return answer.code, json.loads(answer.read() or b"{}"), answer.headers


def test_a_signature_covers_the_body_and_the_service(server):
    target = "TrentService.ListAliases"
    assert post(server, target, b"{}", tamper=b'{"KeyId":"x"}')[1]["__type"] == "InvalidSignatureException"
    assert post(server, target, b"{}", service="s3")[1]["__type"] == "InvalidSignatureException"
    assert post(server, target, b"{}", who=None)[2]["x-amzn-RequestId"]


def test_bodies_that_are_none(server):
    for body in [b"", b"x", b"[]", b'"', b'{"KeyId":', b'{"KeyId":5}', b'{"Limit":"x"}', b"\xff\xfe"]:
        status, answer, _ = post(server, "TrentService.ListAliases", body)
        expected = (200, None) if body == b"" else (400, "SerializationException")
        assert (status, answer.get("__type")) == expected, (body, answer)
    status, answer, _ = post(server, "TrentService.ListKeys", b" " * (256 * 1024 + 1))
    assert (status, answer["__type"]) == (400, "SerializationException")
    assert post(server, "TrentService.Nothing", b"{}")[1]["__type"] == "UnknownOperationException"
