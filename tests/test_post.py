"""Uploads from HTML forms: what boto3 presigns, what browsers send, and what is refused. Texts recorded from AWS."""

import base64
import datetime
import hashlib
import http.client
import json
import time
import urllib.parse

import pytest
from botocore.exceptions import ClientError

import sse
from harness import ACCOUNTS, KEY_ARN, KEY_ID
from raw import Answer

BOUNDARY = "----formboundary7MA4YWxk"


def form(fields, file=b"hello", filename="photo.png", after=b""):
    """A body as browsers send it: the fields, then the file."""
    parts = []
    for name, value in fields:
        value = value.encode() if isinstance(value, str) else value
        parts.append(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n")
    if file is not None:
        named = "" if filename is None else f'; filename="{filename}"'
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"{named}\r\nContent-Type: text/html\r\n\r\n'
        parts.append(head.encode() + file + b"\r\n")
    return b"".join(parts) + after + f"--{BOUNDARY}--\r\n".encode()


def send(server, bucket, body, headers=None, endpoint="http", path=None, chunks=None):
    address = urllib.parse.urlsplit(server.endpoints[endpoint])
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    sent = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Content-Length": str(len(body))} | (headers or {})
    pieces = body if chunks is None else iter([body[n : n + chunks] for n in range(0, len(body), chunks)])
    connection.request("POST", path or f"/{bucket}", body=pieces, headers=sent)
    answer = Answer(connection.getresponse())
    connection.close()
    return answer


@pytest.fixture(scope="module")
def s3(server):
    """boto3 presigns for other addresses than AWS's with Signature Version 2, unless told."""
    return server.client(signature_version="s3v4")


def presign(s3, bucket, key="k", fields=None, conditions=(), expires=600):
    """Fields in the order in which a form has them."""
    extra = dict(fields or {})
    covered = list(conditions) + [{name: value} for name, value in extra.items()]
    post = s3.generate_presigned_post(bucket, key, Fields=extra, Conditions=covered, ExpiresIn=expires)
    return list(post["fields"].items())


def without(fields, *names):
    return [(name, value) for name, value in fields if name not in names]


def place(server, bucket, encoded):
    """Where the object is; a development server takes its plain HTTP for HTTPS."""
    return f"https://{urllib.parse.urlsplit(server.endpoints['http']).netloc}/{bucket}/{encoded}"


def gone(s3, bucket, key="k"):
    with pytest.raises(ClientError) as caught:
        s3.head_object(Bucket=bucket, Key=key)
    return caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_what_boto3_presigns_is_taken(server, bucket, version):
    answer = send(server, bucket, form(presign(server.client(signature_version=version), bucket)))
    assert (answer.status, answer.body) == (204, b""), answer
    etag = hashlib.md5(b"hello").hexdigest()
    assert answer.headers["etag"] == f'"{etag}"'
    assert answer.headers["location"] == place(server, bucket, "k")
    assert answer.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    assert answer.headers["x-amz-server-side-encryption"] == "AES256"
    found = server.client().get_object(Bucket=bucket, Key="k")
    assert found["Body"].read() == b"hello"
    # Not the type that the part names.
    assert found["ContentType"] == "binary/octet-stream"


def test_fields_become_what_headers_are(server, s3, bucket):
    fields = {
        "Content-Type": "image/png", "Cache-Control": "no-store", "x-amz-meta-UPPER": "ünïcode", "acl": "private",
        "x-amz-storage-class": "STANDARD_IA", "tagging": "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
        "Content-Disposition": "attachment; filename=${filename}",
    }
    signed = s3.generate_presigned_post(
        bucket, "u/${filename}", Fields=fields,
        Conditions=[{n: v} for n, v in fields.items() if n != "Content-Disposition"] + [["starts-with", "$content-disposition", ""]],
    )["fields"]
    answer = send(server, bucket, form(list(signed.items()), filename="C:\\\\dir\\\\pho to.png"))
    assert answer.status == 204, answer
    found = s3.head_object(Bucket=bucket, Key="u/pho to.png")
    assert (found["ContentType"], found["CacheControl"], found["StorageClass"]) == ("image/png", "no-store", "STANDARD_IA")
    assert found["ContentDisposition"] == "attachment; filename=pho to.png"
    assert found["Metadata"]["upper"].encode("latin-1").decode() == "ünïcode"
    assert s3.get_object_tagging(Bucket=bucket, Key="u/pho to.png")["TagSet"] == [{"Key": "a", "Value": "b"}]
    # Where the file has no name, the key keeps the words.
    signed = s3.generate_presigned_post(bucket, "v/${filename}")["fields"]
    assert send(server, bucket, form(list(signed.items()), filename=None)).status == 204
    assert s3.head_object(Bucket=bucket, Key="v/${filename}")["ContentLength"] == 5


@pytest.mark.parametrize("mode", sse.MODES)
def test_every_encryption(server, s3, bucket, mode):
    key = base64.b64encode(sse.CUSTOMER_KEY).decode()
    md5 = base64.b64encode(hashlib.md5(sse.CUSTOMER_KEY).digest()).decode()
    name = "x-amz-server-side-encryption"
    fields = {
        "s3": {name: "AES256"},
        "kms": {name: "aws:kms", f"{name}-aws-kms-key-id": KEY_ID},
        "bucket-key": {name: "aws:kms", f"{name}-aws-kms-key-id": KEY_ARN, f"{name}-bucket-key-enabled": "true"},
        "dsse": {name: "aws:kms:dsse", f"{name}-aws-kms-key-id": KEY_ID},
        "sse-c": {f"{name}-customer-algorithm": "AES256", f"{name}-customer-key": key, f"{name}-customer-key-MD5": md5},
    }[mode]
    answer = send(server, bucket, form(presign(s3, bucket, fields=fields), file=b"x" * 100_000))
    assert answer.status == 204, answer
    found = s3.get_object(Bucket=bucket, Key="k", **sse.read(mode))
    assert found["Body"].read() == b"x" * 100_000
    sse.check(mode, found)


def test_a_large_file_streams_in(server, s3, bucket):
    body = sse.noise(20 << 20) + b"\r\n--" + BOUNDARY.encode()[:-1]
    cut = form(presign(s3, bucket), file=body)[:-5]
    assert send(server, bucket, cut, chunks=777_777).told[1] == "MalformedPOSTRequest"
    assert gone(s3, bucket)
    sent = form(presign(s3, bucket), file=body) + b"epilogue"
    assert send(server, bucket, sent, chunks=777_777).status == 204
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == body


def test_what_follows_the_file_means_nothing(server, s3, bucket):
    late = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="success_action_status"\r\n\r\n201\r\n'.encode()
    assert send(server, bucket, form(presign(s3, bucket), after=late)).status == 204


def test_answers(server, s3, bucket):
    def post(**fields):
        return send(server, bucket, form(presign(s3, bucket, "a/b c", fields)))

    assert (post(success_action_status="200").status, post(success_action_status="404").status) == (200, 204)
    created = post(success_action_status="201")
    etag = hashlib.md5(b"hello").hexdigest()
    location = place(server, bucket, "a%2Fb%20c")
    document = (
        f"<PostResponse><Location>{location}</Location><Bucket>{bucket}</Bucket><Key>a/b c</Key>"
        f"<ETag>&quot;{etag}&quot;</ETag></PostResponse>"
    )
    assert created.status == 201 and created.headers["location"] == location
    assert created.body.decode().replace('"' + etag + '"', f"&quot;{etag}&quot;").endswith(document), created.body
    told = post(success_action_redirect="http://example.com/done?x=1")
    assert (told.status, told.body) == (303, b"")
    assert told.headers["location"] == f"http://example.com/done?x=1&bucket={bucket}&key=a%2Fb+c&etag=%22{etag}%22"
    assert post(redirect="https://example.com").headers["location"].startswith("https://example.com?bucket=")
    assert post(success_action_redirect="/relative").status == 204


def test_what_the_policy_refuses(server, s3, bucket):
    def check(fields, expected, **body):
        assert send(server, bucket, form(fields, **body)).told == expected
        assert gone(s3, bucket)

    def denied(why):
        return 403, "AccessDenied", f"Invalid according to Policy: {why}"

    signed = presign(s3, bucket)
    check([*signed, ("x-amz-meta-a", "b")], denied("Extra input fields: x-amz-meta-a"))
    check([("key", "other"), *without(signed, "key")], denied('Policy Condition failed: ["eq", "$key", "k"]'))
    check([("X-Amz-Meta-A", "c"), *without(presign(s3, bucket, fields={"x-amz-meta-a": "b"}), "x-amz-meta-a")],
          denied('Policy Condition failed: ["eq", "$x-amz-meta-a", "b"]'))
    check(presign(s3, bucket, conditions=[["starts-with", "$Content-Type", ""]]),
          denied('Policy Condition failed: ["starts-with", "$Content-Type", ""]'))
    late = presign(s3, bucket, expires=1)
    time.sleep(1.5)
    check(late, denied("Policy expired."))
    elsewhere = presign(s3, bucket + "-other")
    check(elsewhere, denied(f'Policy Condition failed: ["eq", "$bucket", "{bucket}-other"]'))
    for size, code, text in [(11, "EntityTooLarge", "exceeds the maximum"), (4, "EntityTooSmall", "is smaller than the minimum")]:
        ranged = presign(s3, bucket, conditions=[["content-length-range", 5, 10]])
        check(ranged, (400, code, f"Your proposed upload {text} allowed size"), file=b"x" * size)
    for size in [5, 10]:
        ranged = presign(s3, bucket, f"k{size}", conditions=[["content-length-range", "5", "10"]])
        assert send(server, bucket, form(ranged, file=b"x" * size)).status == 204
    assert send(server, bucket, form([*signed, ("x-ignore-me", "b")])).status == 204


def signed_by_hand(policy, who="main"):
    """A form with Signature Version 2 over any text."""
    import hmac

    _, key, secret = ACCOUNTS[who]
    text = base64.b64encode(policy.encode() if isinstance(policy, str) else json.dumps(policy).encode()).decode()
    signature = base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()
    return [("key", "k"), ("policy", text), ("AWSAccessKeyId", key), ("signature", signature)]


def test_documents_that_are_no_policy(server, bucket):
    until = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for policy, text in [
        ("{", "Invalid JSON."),
        ({"conditions": []}, "Policy missing expiration."),
        ({"expiration": until}, "Policy missing conditions."),
        ({"expiration": until, "CONDITIONS": []}, "Unexpected: 'conditions'"),
        ({"expiration": "soon", "conditions": []}, "Invalid 'expiration' value: 'soon'"),
        ({"expiration": until, "conditions": [{}]},
         "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified."),
        ({"expiration": until, "conditions": [["content-length-range", 0]]},
         "Invalid content-length-range: wrong number of arguments."),
    ]:
        answer = send(server, bucket, form(signed_by_hand(policy)))
        assert answer.told == (400, "InvalidPolicyDocument", f"Invalid Policy: {text}"), policy
    whole = {"expiration": until, "conditions": [{"bucket": bucket}, ["starts-with", "$key", ""]]}
    assert send(server, bucket, form(signed_by_hand(whole))).status == 204
    # Who may not write here may not let others do it.
    assert send(server, bucket, form(signed_by_hand(whole, who="other"))).told == (403, "AccessDenied", "Access Denied")


def test_signatures(server, s3, bucket):
    def check(fields, *expected):
        answer = send(server, bucket, form(fields))
        assert answer.told == expected, answer
        assert gone(s3, bucket)
        return answer.error

    signed = presign(s3, bucket)

    def missing(name):
        return 400, "InvalidArgument", (
            f"Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the fields."
        )

    error = check(without(signed, "x-amz-signature"), *missing("X-Amz-Signature"))
    assert (error["ArgumentName"], error["ArgumentValue"]) == ("X-Amz-Signature", None)
    check(without(signed, "x-amz-algorithm", "x-amz-credential"), *missing("X-Amz-Algorithm"))
    check(without(signed_by_hand("{}"), "signature"), *missing("Signature"))
    check(without(signed_by_hand("{}"), "AWSAccessKeyId"), *missing("AWSAccessKeyId"))
    check(without(signed, "key"), *missing("key"))
    check(without(signed, "policy"), *missing("Policy"))
    mismatch = (
        403, "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
    )
    policy = dict(signed)["policy"]
    error = check([(n, v[:-2] if n == "policy" else v) for n, v in signed], *mismatch)
    assert error["StringToSign"] == policy[:-2]
    check([(n, "AAAA" if n == "signature" else v) for n, v in signed_by_hand("{}")], *mismatch)
    check(
        [(n, v.replace("AKIA", "AKIB") if n == "x-amz-credential" else v) for n, v in signed],
        403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.",
    )
    check([("key", "k"), ("policy", policy)], 403, "AccessDenied", "Access Denied")
    check([*signed, ("x-amz-security-token", "x")], 400, "InvalidToken", "The provided token is malformed or otherwise invalid.")


def test_bodies_that_are_no_form(server, s3, bucket):
    signed = presign(s3, bucket)
    malformed = (400, "MalformedPOSTRequest", "The body of your POST request is not well-formed multipart/form-data.")
    answer = send(server, bucket, form(signed), headers={"Content-Type": "text/html"})
    assert answer.told == (412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
    assert answer.error["Condition"] == "Bucket POST must be of the enclosure-type multipart/form-data"
    assert send(server, bucket, form(signed), headers={"Content-Type": "multipart/form-data"}).told == malformed
    for broken in [b"", b"x" * 100, form(signed)[: -len(BOUNDARY) - 6], form(signed)[:500]]:
        assert send(server, bucket, broken).told == malformed, broken[-50:]
    one = (400, "InvalidArgument", "POST requires exactly one file upload per request.")
    assert send(server, bucket, form(signed, file=None)).told == one
    large = (
        400, "MaxPostPreDataLengthExceeded", "Your POST request fields preceeding the upload file was too large.",
    )
    for fields in [[("a", "b" * 20_481)], [(f"a{n}", "b" * 200) for n in range(110)]]:
        answer = send(server, bucket, form([*signed, *fields]))
        assert answer.told == large
        assert answer.error["MaxPostPreDataLengthBytes"] == "20480"
    assert send(server, bucket, b"x" * 200_000, headers={"Expect": ""}).told == large
    assert send(server, bucket, form([*signed, ("key", "k2")])).told[:2] == (400, "InvalidArgument")
    assert send(server, bucket, form(signed), headers={"x-amz-acl": "private"}).told[:2] == (501, "NotImplemented")
    assert send(server, bucket, form([("x-amz-object-lock-mode", "GOVERNANCE"), *presign(
        s3, bucket, conditions=[["starts-with", "$x-amz-object-lock-mode", ""]])])).told[:2] == (501, "NotImplemented")
    assert send(server, bucket, form([("Content-Type", "a\nb"), *presign(
        s3, bucket, conditions=[["starts-with", "$Content-Type", ""]])])).told[:2] == (400, "InvalidArgument")
    assert send(server, bucket, form(signed), path="/").status == 405
    assert gone(s3, bucket)


def test_checksums_are_held_against_the_file(server, s3, bucket):
    right = base64.b64encode(hashlib.sha256(b"hello").digest()).decode()
    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    answer = send(server, bucket, form(presign(s3, bucket, fields={"x-amz-checksum-sha256": wrong})))
    assert answer.told == (400, "BadDigest", "The SHA256 you specified did not match the calculated checksum.")
    assert gone(s3, bucket)
    answer = send(server, bucket, form(presign(s3, bucket, fields={"x-amz-checksum-sha256": right})))
    assert (answer.status, answer.headers["x-amz-checksum-sha256"]) == (204, right)


def test_the_trail_names_who_signed(server, s3, bucket):
    assert send(server, bucket, form(presign(server.client("alice", signature_version="s3v4"), bucket, "by-alice"))).status == 204
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        lines = [json.loads(line) for path in sorted((server.data / "audit").glob("*.jsonl")) for line in path.read_text().splitlines()]
        events = [line["event"] for line in lines if "by-alice" in json.dumps(line)]
        posted = [event for event in events if event["eventName"] == "PostObject"]
        if posted:
            break
        time.sleep(0.2)
    assert posted[0]["userIdentity"]["userName"] == "alice"
    assert posted[0]["requestParameters"] == {"bucketName": bucket, "key": "by-alice"}
