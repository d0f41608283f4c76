"""What outsiders and half-trusted callers try against the KMS."""

import json

import pytest

from test_kms import post


@pytest.fixture(scope="module")
def kms(server):
    return server.kms()


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
