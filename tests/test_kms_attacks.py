"""What outsiders and half-trusted callers try against the KMS: more than a grant holds, keys of others, amplified answers."""

import json

import pytest
from botocore.exceptions import ClientError

import harness
from harness import ACCOUNTS, Server
from test_kms import post, refused, wrapped
from test_kms_access import ACCOUNT, BOB, OTHER, denied, policy, statement
from test_kms_destruction import import_parameters, restore, secrets_of

MALLORY = f"arn:aws:iam::{OTHER}:user/mallory"
NOBODY_KNOWS = "because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access"


@pytest.fixture(scope="module")
def kms(server):
    return server.kms()


@pytest.fixture(scope="module")
def peopled(tmp_path_factory):
    """A server whose other account has a user with every permission that the account can give."""
    home = tmp_path_factory.mktemp("peopled")
    harness.ACCOUNTS["mallory"] = (OTHER, "AKIATESTMALLORY00000", "secret-of-the-user-mallory-for-tests-00000")
    (home / "mallory.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}]}))
    _, key, secret = ACCOUNTS["mallory"]
    user = f'[[account.user]]\nname = "mallory"\naccess_key_id = "{key}"\nsecret_access_key = "{secret}"\npolicy = "mallory.json"\n'
    extra = f'[[account]]\nid = "777788889999"\nname = "third"\naccess_key_id = "AKIATESTTHIRD0000000"\nsecret_access_key = "secret-of-the-third-account-for-tests-00"\n'
    harness.ACCOUNTS["third"] = ("777788889999", "AKIATESTTHIRD0000000", "secret-of-the-third-account-for-tests-00")
    text = harness.CONFIG
    at = text.index("[[kms.key]]")
    server = Server(home)
    server.config.write_text(text[:at] + user + extra + text[at:])
    server.start()
    yield server
    server.stop()


def text_of(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response["Error"]
    return error["Code"], error.get("Message", "")


def test_a_grant_to_an_account_is_handed_on_no_wider_than_it_is(peopled):
    kms, mallory = peopled.kms(), peopled.kms("mallory")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    inside = {"EncryptionContextSubset": {"app": "a"}}
    root = f"arn:aws:iam::{OTHER}:root"
    kms.create_grant(KeyId=key, GranteePrincipal=root, Operations=["Encrypt", "CreateGrant"], Constraints=inside)
    child = {"KeyId": key, "GranteePrincipal": MALLORY}
    for who in ("mallory", "other"):
        denied(peopled.kms(who).create_grant, Operations=["Decrypt"], Constraints=inside, **child)
        denied(peopled.kms(who).create_grant, Operations=["Encrypt"], **child)
        peopled.kms(who).create_grant(Operations=["Encrypt"], Constraints=inside, **child)
    blob = mallory.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext={"app": "a"})["CiphertextBlob"]
    denied(mallory.decrypt, KeyId=key, CiphertextBlob=blob, EncryptionContext={"app": "a"})


def test_a_key_policy_lets_no_stranger_retire_a_grant(peopled):
    kms = peopled.kms()
    third = "arn:aws:iam::777788889999:root"
    text = policy(statement(f"arn:aws:iam::{ACCOUNT}:root", "kms:*"), statement(third, ["kms:RetireGrant", "kms:DescribeKey"]))
    key = kms.create_key(Policy=text)["KeyMetadata"]["Arn"]
    made = kms.create_grant(KeyId=key, GranteePrincipal=MALLORY, Operations=["Encrypt"])
    peopled.kms("third").describe_key(KeyId=key)
    denied(peopled.kms("third").retire_grant, GrantToken=made["GrantToken"])
    denied(peopled.kms("third").retire_grant, KeyId=key, GrantId=made["GrantId"])
    denied(peopled.kms("mallory").retire_grant, GrantToken=made["GrantToken"])
    kms.retire_grant(GrantToken=made["GrantToken"])


def test_a_policy_that_keeps_ciphertexts_under_their_key_cannot_be_evaded(server, kms):
    away = statement(BOB, "kms:ReEncrypt*", "Deny", Condition={"Bool": {"kms:ReEncryptOnSameKey": "false"}})
    root = statement(f"arn:aws:iam::{ACCOUNT}:root", "kms:*")
    key = kms.create_key(Policy=policy(root, statement(BOB, "kms:*"), away))["KeyMetadata"]["Arn"]
    target = kms.create_key(Policy=policy(root, statement(BOB, "kms:*")))["KeyMetadata"]["Arn"]
    bob = server.kms("bob")
    blob = bob.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    for named in ({"SourceKeyId": key}, {}):
        denied(bob.re_encrypt, CiphertextBlob=blob, DestinationKeyId=target, **named)
        bob.re_encrypt(CiphertextBlob=blob, DestinationKeyId=key, **named)


def test_a_re_encryption_that_did_not_happen_is_no_use(kms):
    key = kms.create_key()["KeyMetadata"]["Arn"]
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    refused("DryRunOperationException", kms.re_encrypt, CiphertextBlob=blob, DestinationKeyId=key, DryRun=True)
    assert kms.get_key_last_usage(KeyId=key)["KeyLastUsage"]["Operation"] == "Encrypt"
    kms.re_encrypt(CiphertextBlob=blob, DestinationKeyId=key)
    assert kms.get_key_last_usage(KeyId=key)["KeyLastUsage"]["Operation"] == "ReEncrypt"


def test_nobody_learns_which_keys_another_account_has(server, kms):
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    name = "alias/secret-" + arn[-12:]
    kms.create_alias(AliasName=name, TargetKeyId=arn)
    missing = arn[:-12] + "0" * 12
    alias = arn.split(":key/")[0] + ":" + name
    other = server.kms("other")
    own = other.create_key()["KeyMetadata"]["Arn"]
    for operation, arguments in [
        ("describe_key", {}), ("encrypt", {"Plaintext": b"x"}), ("schedule_key_deletion", {}), ("list_grants", {}), ("get_key_policy", {}),
        ("list_aliases", {}), ("retire_grant", {"GrantId": "0" * 64}), ("create_grant", {"GranteePrincipal": own.replace(":kms:us-east-1:", ":iam::").split(":key")[0] + ":root", "Operations": ["Decrypt"]}),
    ]:
        seen = {text.replace(key, "KEY") for key in (arn, missing) for text in text_of(getattr(other, operation), KeyId=key, **arguments)}
        assert len(seen) == 2, (operation, seen)
        assert any(text.endswith(f"on resource: KEY {NOBODY_KNOWS}") for text in seen), seen
    for named in (alias, alias + "-missing"):
        code, text = text_of(other.encrypt, KeyId=named, Plaintext=b"x")
        assert code == "AccessDeniedException" and text.endswith(f"on resource: {named} {NOBODY_KNOWS}"), text
    blob = kms.encrypt(KeyId=arn, Plaintext=b"x")["CiphertextBlob"]
    forged = blob.replace(arn[-36:].encode(), missing[-36:].encode())
    assert forged != blob
    for call, arguments in [(other.decrypt, {}), (other.decrypt, {"KeyId": own}), (other.re_encrypt, {"DestinationKeyId": own})]:
        texts = [text_of(call, CiphertextBlob=sealed, **arguments) for sealed in (blob, forged)]
        assert texts[0] == texts[1] and ACCOUNT not in texts[0][1], texts
    mine = other.encrypt(KeyId=own, Plaintext=b"x")["CiphertextBlob"]
    seen = {text_of(other.re_encrypt, CiphertextBlob=mine, DestinationKeyId=key)[1].replace(key, "KEY") for key in (arn, missing)}
    assert len(seen) == 1, seen


def test_a_short_request_makes_no_long_answer(server):
    for operation, body in [
        ("CreateGrant", {"KeyId": "x", "GranteePrincipal": "y", "Operations": ["x"] * 40_000}),
        ("UntagResource", {"KeyId": "x", "TagKeys": [""] * 40_000}),
        ("TagResource", {"KeyId": "x", "Tags": [{}] * 40_000}),
        ("DescribeKey", {"KeyId": "x" * 200_000}),
    ]:
        status, answer, _ = post(server, "TrentService." + operation, json.dumps(body).encode(), who="bob")
        assert (status, answer["__type"]) == (400, "ValidationException")
        assert len(answer["message"]) < 16_384, (operation, len(answer["message"]))
    assert answer["message"] == "1 validation error detected: Value at 'keyId' failed to satisfy constraint: Member must have length less than or equal to 2048"


def test_the_trail_names_the_key_of_a_ciphertext(server, kms):
    source, target = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    blob = kms.encrypt(KeyId=source, Plaintext=b"x")["CiphertextBlob"]
    opened = kms.decrypt(CiphertextBlob=blob)
    moved = kms.re_encrypt(CiphertextBlob=blob, DestinationKeyId=target)
    found = {event["requestID"]: event for event in server.tresor("audit", "search", "--text", source)}
    event = found[opened["ResponseMetadata"]["RequestId"]]
    assert [resource["ARN"] for resource in event["resources"]] == [source]
    assert event["additionalEventData"]["keyMaterialId"] == opened["KeyMaterialId"]
    event = found[moved["ResponseMetadata"]["RequestId"]]
    assert {resource["ARN"] for resource in event["resources"]} == {source, target}


def test_a_restore_brings_back_nothing_that_was_taken_away(tmp_path):
    (tmp_path / "s").mkdir()
    server = Server(tmp_path / "s").start()
    kms = server.kms()
    arn = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["Arn"]
    given = import_parameters(kms, arn)
    material = wrapped("RSAES_OAEP_SHA_256", given, bytes(range(32)))
    kms.import_key_material(KeyId=arn, ImportToken=given["ImportToken"], EncryptedKeyMaterial=material, ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE")
    held = kms.create_key()["KeyMetadata"]["Arn"]
    grant = kms.create_grant(KeyId=held, GranteePrincipal=BOB, Operations=["Encrypt"])["GrantId"]
    kms.create_alias(AliasName="alias/former", TargetKeyId=held)
    server.kms("bob").encrypt(KeyId=held, Plaintext=b"x")
    backup, secrets = tmp_path / "backup", tmp_path / "secrets"
    server.tresor("keys", "backup", str(backup), "--erasure-to", str(secrets))
    kms.delete_imported_key_material(KeyId=arn)
    kms.revoke_grant(KeyId=held, GrantId=grant)
    kms.delete_alias(AliasName="alias/former")
    before = set(secrets_of(server))
    server.stop()
    assert restore(server, backup, secrets).returncode == 0
    assert set(secrets_of(server)) == before
    server.start()
    denied(server.kms("bob").encrypt, KeyId=held, Plaintext=b"x")
    kms = server.kms()
    refused("NotFoundException", kms.describe_key, KeyId="alias/former")
    assert kms.list_grants(KeyId=held)["Grants"] == []
    server.stop()


def test_no_two_accounts_declare_one_key_id(tmp_path):
    extra = f'[[kms.key]]\nid = "{harness.KEY_ID}"\naccount = "{OTHER}"\n'
    with pytest.raises(AssertionError, match=f"{harness.KEY_ID} is taken by the account {ACCOUNT}"):
        Server(tmp_path, extra_config=extra).start()
