"""Must show 4: each error that the server-side encryption of these operations can give: status, code and text, as AWS words them."""

import base64
import hashlib

import pytest
from botocore.exceptions import ClientError

import sse
from harness import ACCOUNTS, KEY_ARN, KEY_ID, REGION, Server
from raw import request

SSE = "x-amz-server-side-encryption"
SOURCE = "x-amz-copy-source-server-side-encryption"


def b64(raw):
    return base64.b64encode(raw).decode()


def triple(prefix=SSE, key=sse.CUSTOMER_KEY, **changes):
    """The three SSE-C headers; a change to None leaves one out."""
    headers = {"algorithm": "AES256", "key": b64(key), "key-MD5": b64(hashlib.md5(key).digest())} | changes
    return {f"{prefix}-customer-{name}": value for name, value in headers.items() if value is not None}


WRONG_KEY = "Requests specifying Server Side Encryption with Customer provided keys must provide the correct secret key."
NO_KEY = "Requests specifying Server Side Encryption with Customer provided keys must provide an appropriate secret key."
NO_ALGORITHM = "Requests specifying Server Side Encryption with Customer provided keys must provide a valid encryption algorithm."
INVALID_KEY = "The secret key was invalid for the specified algorithm."
MD5_MISMATCH = "The calculated MD5 hash of the key did not match the hash that was provided."
BAD_ALGORITHM = "The Encryption request you specified is not valid. Supported value: AES256."
STORED_ENCRYPTED = (
    "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object."
)
PART_PARAMETERS = (
    "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters."
)
REQUIRES_KMS = "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms"
MALFORMED = "The XML you provided was not well-formed or did not validate against our published schema"
UNSUPPORTED = "x-amz-server-side-encryption header is not supported for this operation."

CUSTOMER = [
    ("with-sse", triple() | {SSE: "AES256"}, 400, "InvalidArgument", "Server Side Encryption with Customer provided key is incompatible with the encryption method specified"),
    ("algorithm", triple(algorithm="AES128"), 400, "InvalidEncryptionAlgorithmError", BAD_ALGORITHM),
    ("no-algorithm", triple(algorithm=None), 400, "InvalidArgument", NO_ALGORITHM),
    ("no-key", {name: value for name, value in triple().items() if not name.endswith("customer-key")}, 400, "InvalidArgument", NO_KEY),
    ("short-key", triple(key=b"short"), 400, "InvalidArgument", INVALID_KEY),
    ("wrong-md5", triple(**{"key-MD5": b64(hashlib.md5(b"x").digest())}), 400, "InvalidArgument", MD5_MISMATCH),
]


@pytest.fixture(scope="module")
def objects(s3):
    """One object of every kind."""
    bucket = "errors"
    s3.create_bucket(Bucket=bucket)
    for mode in sse.MODES:
        sse.upload(s3, bucket, mode, b"some text", mode)
    return bucket


@pytest.mark.parametrize("headers,status,code,text", [row[1:] for row in CUSTOMER], ids=[row[0] for row in CUSTOMER])
@pytest.mark.parametrize("operation", ["put", "create-multipart", "copy-target"])
def test_sse_c_headers_of_a_write(server, objects, operation, headers, status, code, text):
    method, path, extra = {
        "put": ("PUT", f"/{objects}/new", {}),
        "create-multipart": ("POST", f"/{objects}/new?uploads", {}),
        "copy-target": ("PUT", f"/{objects}/new", {"x-amz-copy-source": f"/{objects}/s3"}),
    }[operation]
    answer = request(server, method, path, headers | extra)
    assert answer.told == (status, code, text)
    assert answer.error["ArgumentName"] == SSE
    assert request(server, "HEAD", f"/{objects}/new").status == 404, "a refused write stored something"


def test_sse_c_write_without_the_keys_md5(server, objects):
    assert request(server, "PUT", f"/{objects}/new", triple(**{"key-MD5": None})).told == (400, "InvalidArgument", INVALID_KEY)


READS = [row for row in CUSTOMER if row[0] != "with-sse"] + [
    ("nothing", {}, 400, "InvalidRequest", STORED_ENCRYPTED),
    ("wrong-key", triple(key=sse.OTHER_CUSTOMER_KEY), 403, "AccessDenied", WRONG_KEY),
    ("no-md5", triple(**{"key-MD5": None}), 403, "AccessDenied", WRONG_KEY),
]


@pytest.mark.parametrize("headers,status,code,text", [row[1:] for row in READS], ids=[row[0] for row in READS])
def test_sse_c_headers_of_a_read(server, objects, headers, status, code, text):
    assert request(server, "GET", f"/{objects}/sse-c", headers).told == (status, code, text)
    head = request(server, "HEAD", f"/{objects}/sse-c", headers)
    assert (head.status, head.body) == (status, b"")
    attributes = headers | {"x-amz-object-attributes": "ETag"}
    assert request(server, "GET", f"/{objects}/sse-c?attributes", attributes).told == (status, code, text)
    source = {name.replace(SSE, SOURCE): value for name, value in headers.items()} | {"x-amz-copy-source": f"/{objects}/sse-c"}
    assert request(server, "PUT", f"/{objects}/copy", source).told == (status, code, text)


def test_sse_c_parts_must_bring_the_key_they_began_with(server, s3, objects):
    names = {"Bucket": objects, "Key": "upload"}
    upload = s3.create_multipart_upload(**names, **sse.WRITE["sse-c"])["UploadId"]
    path = f"/{objects}/upload?partNumber=1&uploadId={upload}"
    assert request(server, "PUT", path, body=b"x").told == (400, "InvalidRequest", PART_PARAMETERS)
    other = request(server, "PUT", path, triple(key=sse.OTHER_CUSTOMER_KEY), b"x")
    assert other.told == (400, "InvalidRequest", "The provided encryption parameters did not match the ones used originally.")
    assert s3.list_parts(**names, UploadId=upload).get("Parts", []) == []
    plain = s3.create_multipart_upload(**names)["UploadId"]
    wrong = request(server, "PUT", f"/{objects}/upload?partNumber=1&uploadId={plain}", triple(), b"x")
    assert wrong.told == (400, "InvalidRequest", PART_PARAMETERS)


def test_sse_c_completion_and_deletion_need_no_key(s3, bucket):
    names = {"Bucket": bucket, "Key": "k"}
    upload = s3.create_multipart_upload(**names, **sse.WRITE["sse-c"])
    assert upload["SSECustomerAlgorithm"] == "AES256"
    assert "ServerSideEncryption" not in upload
    s3.abort_multipart_upload(**names, UploadId=upload["UploadId"])
    s3.put_object(**names, Body=b"x", **sse.WRITE["sse-c"])
    assert s3.delete_object(**names)["ResponseMetadata"]["HTTPStatusCode"] == 204


REQUESTS = [
    ("unknown-method", {SSE: "AES512"}, "InvalidArgument", "The encryption method specified is not supported"),
    ("fsx", {SSE: "aws:fsx"}, "InvalidArgument", "The encryption method specified is not supported"),
    ("key-id-alone", {f"{SSE}-aws-kms-key-id": KEY_ID}, "InvalidArgument", REQUIRES_KMS),
    ("key-id-with-s3", {SSE: "AES256", f"{SSE}-aws-kms-key-id": KEY_ID}, "InvalidArgument", REQUIRES_KMS),
    ("bad-key-id", {SSE: "aws:kms", f"{SSE}-aws-kms-key-id": "fake-key-id"}, "KMS.NotFoundException", "Invalid keyId 'fake-key-id'"),
    (
        "absent-key",
        {SSE: "aws:kms", f"{SSE}-aws-kms-key-id": "99999999-2222-3333-4444-555555555555"},
        "KMS.NotFoundException",
        f"Key '{KEY_ARN.replace(KEY_ID, '99999999-2222-3333-4444-555555555555')}' does not exist",
    ),
    (
        "other-region",
        {SSE: "aws:kms", f"{SSE}-aws-kms-key-id": KEY_ARN.replace(REGION, "eu-central-1")},
        "KMS.NotFoundException",
        "Invalid arn eu-central-1",
    ),
]


@pytest.mark.parametrize("headers,code,text", [row[1:] for row in REQUESTS], ids=[row[0] for row in REQUESTS])
def test_encryption_headers_of_a_write(server, objects, headers, code, text):
    assert request(server, "PUT", f"/{objects}/new", headers, b"x").told == (400, code, text)
    assert request(server, "POST", f"/{objects}/new?uploads", headers).told == (400, code, text)
    assert request(server, "HEAD", f"/{objects}/new").status == 404


@pytest.mark.parametrize("mode", ["s3", "kms", "dsse"])
def test_encryption_headers_where_none_belong(server, s3, objects, mode):
    for method, path in [("GET", f"/{objects}/{mode}"), ("GET", f"/{objects}?list-type=2"), ("GET", f"/{objects}")]:
        assert request(server, method, path, {SSE: "AES256"}).told == (400, "InvalidArgument", UNSUPPORTED)
    assert request(server, "HEAD", f"/{objects}/{mode}", {SSE: "AES256"}).status == 400
    upload = s3.create_multipart_upload(Bucket=objects, Key="u", **sse.WRITE[mode])["UploadId"]
    for method, query in [("POST", f"uploadId={upload}"), ("PUT", f"partNumber=1&uploadId={upload}")]:
        answer = request(server, method, f"/{objects}/u?{query}", {SSE: "AES256"}, b"<CompleteMultipartUpload/>")
        assert answer.told == (400, "InvalidArgument", UNSUPPORTED)


@pytest.mark.parametrize("mode", ["kms", "bucket-key", "dsse"])
def test_a_disabled_key_stops_writes_and_reads(server, s3, bucket, mode):
    key = server.tresor("keys", "create")
    asked = {name: value for name, value in sse.WRITE[mode].items() if name != "SSEKMSKeyId"} | {"SSEKMSKeyId": key["KeyId"]}
    names = {"Bucket": bucket, "Key": "k"}
    s3.put_object(**names, Body=b"text", **asked)
    server.tresor("keys", "disable", key["KeyId"])
    for call in (lambda: s3.get_object(**names), lambda: s3.put_object(**names, Body=b"x", **asked)):
        with pytest.raises(ClientError) as caught:
            call()
        error = caught.value.response
        assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
        assert (error["Error"]["Code"], error["Error"]["Message"]) == ("KMS.DisabledException", f"{key['Arn']} is disabled.")
    server.tresor("keys", "enable", key["KeyId"])
    assert s3.get_object(**names)["Body"].read() == b"text"


def test_another_accounts_key_is_denied(server, objects):
    other = server.tresor("keys", "create", "--account", ACCOUNTS["other"][0])
    answer = request(server, "PUT", f"/{objects}/new", {SSE: "aws:kms", f"{SSE}-aws-kms-key-id": other["Arn"]}, b"x")
    assert answer.told == (403, "AccessDenied", "Access Denied")


def test_kms_objects_need_signature_version_4(server, objects):
    for mode in ["kms", "bucket-key", "dsse"]:
        answer = request(server, "GET", f"/{objects}/{mode}", version=2)
        text = "Requests specifying Server Side Encryption with AWS KMS managed keys require AWS Signature Version 4."
        assert answer.told == (400, "InvalidArgument", text)
        assert (answer.error["ArgumentName"], answer.error["ArgumentValue"]) == ("Authorization", "null")
    assert request(server, "GET", f"/{objects}/s3", version=2).body == b"some text"
    assert request(server, "GET", f"/{objects}/kms", who=None).told[:2] == (403, "AccessDenied")


def test_a_copy_onto_itself_must_change_something(server, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    copy = {"x-amz-copy-source": f"/{bucket}/k"}
    text = (
        "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, "
        "storage class, website redirect location or encryption attributes."
    )
    assert request(server, "PUT", f"/{bucket}/k", copy).told == (400, "InvalidRequest", text)
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    assert request(server, "PUT", f"/{bucket}/k", copy).status == 200


def configuration(*rules):
    return f"<ServerSideEncryptionConfiguration>{''.join(f'<Rule>{rule}</Rule>' for rule in rules)}</ServerSideEncryptionConfiguration>"


def default(algorithm, key=""):
    key = f"<KMSMasterKeyID>{key}</KMSMasterKeyID>" if key else ""
    inner = f"<SSEAlgorithm>{algorithm}</SSEAlgorithm>{key}"
    return f"<ApplyServerSideEncryptionByDefault>{inner}</ApplyServerSideEncryptionByDefault>"


def test_bucket_encryption_refuses_what_aws_refuses(server, bucket):
    put = lambda body: request(server, "PUT", f"/{bucket}?encryption", body=body.encode())
    for body in [configuration(), configuration(default("AES256"), default("AES256")), configuration(default("AES1")), "<x", ""]:
        assert put(body).told == (400, "MalformedXML", MALFORMED), body
    answer = put(configuration(default("AES256", KEY_ID)))
    text = "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse"
    assert answer.told == (400, "InvalidArgument", text)
    assert answer.error["ArgumentName"] == "ApplyServerSideEncryptionByDefault"
    for method in ["GET", "PUT", "DELETE"]:
        body = configuration(default("AES256")).encode() if method == "PUT" else b""
        answer = request(server, method, "/no-such-bucket-here?encryption", body=body)
        assert answer.told == (404, "NoSuchBucket", "The specified bucket does not exist")


def test_bucket_encryption_is_applied_and_deleted(server, s3, bucket):
    get = lambda: s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    plain = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}
    assert get() == plain
    for algorithm, key, mode in [("aws:kms", True, "bucket-key"), ("aws:kms", False, "kms"), ("aws:kms:dsse", False, "dsse")]:
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": algorithm, "KMSMasterKeyID": KEY_ID}, "BucketKeyEnabled": key}
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
        assert get() == rule
        s3.put_object(Bucket=bucket, Key=mode, Body=b"x")
        sse.check(mode, s3.head_object(Bucket=bucket, Key=mode))
        s3.put_object(Bucket=bucket, Key="explicit", Body=b"x", ServerSideEncryption="AES256")
        sse.check("s3", s3.head_object(Bucket=bucket, Key="explicit"))
    for _ in range(2):
        assert request(server, "DELETE", f"/{bucket}?encryption").status == 204
    assert get() == plain
    sse.check("dsse", s3.head_object(Bucket=bucket, Key="dsse"))


def test_kms_without_a_key_id_uses_the_aws_managed_key(server, s3, bucket):
    answer = s3.put_object(Bucket=bucket, Key="k", Body=b"x", ServerSideEncryption="aws:kms")
    keys = {key["Arn"]: key for key in server.tresor("keys", "list")}
    made = keys[answer["SSEKMSKeyId"]]
    assert (made["KeyManager"], made["Aliases"]) == ("AWS", ["alias/aws/s3"])
    assert made["Description"] == "Default key that protects my S3 objects when no other key is defined"


def test_the_encryption_context_is_echoed_and_bound(server, s3, bucket):
    context = b64(b'{"department":"ten"}')
    headers = {SSE: "aws:kms", f"{SSE}-context": context}
    answer = request(server, "PUT", f"/{bucket}/k", headers, b"x")
    assert base64.b64decode(answer.headers[f"{SSE}-context"]) == b'{"department":"ten"}'
    assert f"{SSE}-context" not in request(server, "GET", f"/{bucket}/k").headers
    for bad in ["not base64!", b64(b"[1]"), b64(b'{"a":1}'), b64(b'{"aws:s3:arn":"x"}')]:
        assert request(server, "PUT", f"/{bucket}/k", {SSE: "aws:kms", f"{SSE}-context": bad}).told[:2] == (400, "InvalidArgument")


def test_a_bucket_can_block_sse_c(server, s3, bucket):
    s3.put_object(Bucket=bucket, Key="before", Body=b"x", **sse.WRITE["sse-c"])
    blocked = default("AES256") + "<BlockedEncryptionTypes><EncryptionType>SSE-C</EncryptionType></BlockedEncryptionTypes>"
    assert request(server, "PUT", f"/{bucket}?encryption", body=configuration(blocked).encode()).status == 200
    for method, path in [("PUT", f"/{bucket}/k"), ("POST", f"/{bucket}/k?uploads")]:
        assert request(server, method, path, triple()).told[:2] == (403, "AccessDenied")
    copy = triple() | {"x-amz-copy-source": f"/{bucket}/before"} | triple(SOURCE)
    assert request(server, "PUT", f"/{bucket}/k", copy).told[:2] == (403, "AccessDenied")
    assert s3.get_object(Bucket=bucket, Key="before", **sse.read("sse-c"))["Body"].read() == b"x"
    assert b"<EncryptionType>SSE-C</EncryptionType>" in request(server, "GET", f"/{bucket}?encryption").body


def test_a_server_that_blocks_sse_c_in_new_buckets(tmp_path):
    server = Server(tmp_path, extra_config="[s3]\nblock_sse_c = true\n").start()
    try:
        server.client().create_bucket(Bucket="fresh")
        assert request(server, "PUT", "/fresh/k", triple(), b"x").told[:2] == (403, "AccessDenied")
    finally:
        server.stop()


def test_plain_http_without_dev_refuses_secrets_unless_a_trusted_proxy_vouches(tmp_path):
    key = tmp_path / "root-key"
    arguments = ["--root-key-file", str(key)]
    server = Server(tmp_path, '[server]\ntrusted_proxies = ["127.0.0.1"]\n', dev=False, arguments=arguments).start()
    try:
        assert request(server, "PUT", "/plain").status == 200
        secure = "must be made over a secure connection."
        for headers in [triple(), {SSE: "aws:kms"}, {SSE: "aws:kms:dsse"}]:
            answer = request(server, "PUT", "/plain/k", headers, b"x")
            assert answer.told[:2] == (400, "InvalidRequest") and answer.told[2].endswith(secure), answer
            vouched = request(server, "PUT", "/plain/k", headers | {"X-Forwarded-Proto": "https"}, b"x")
            assert vouched.status == 200, vouched
            assert request(server, "PUT", "/plain/k", headers | {"X-Forwarded-Proto": "http"}, b"x").status == 400
        assert request(server, "PUT", "/plain/k", body=b"x").status == 200
        assert (key.stat().st_mode & 0o777) == 0o600
    finally:
        server.stop()
