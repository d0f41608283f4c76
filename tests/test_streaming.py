"""The signed streaming payloads, signed here by the rules of the S3 API reference, and Expect: 100-continue by hand."""

import base64
import datetime
import hashlib
import hmac
import socket
import urllib.parse
import zlib

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from harness import ACCOUNTS, REGION
from raw import request, send

EMPTY = hashlib.sha256().hexdigest()
PIECES = [b"a" * 70_000, b"b" * 10, b""]
BODY = b"".join(PIECES)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def sign(server, path, mode, headers):
    """The headers of a streaming PUT, and what signs its chunks: key, date, scope, first signature."""
    _, key_id, secret = ACCOUNTS["main"]
    host = urllib.parse.urlsplit(server.endpoints["http"]).netloc
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{date[:8]}/{REGION}/s3/aws4_request"
    headers = {"host": host, "x-amz-date": date, "x-amz-content-sha256": mode, "x-amz-decoded-content-length": str(len(BODY))} | headers
    names = sorted(headers)
    canonical = "\n".join(["PUT", path, "", *(f"{name}:{headers[name]}" for name in names), "", ";".join(names), mode])
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{sha256(canonical.encode())}"
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
    return headers, key, date, scope, signature


def put(server, bucket, trailer, change=lambda body: body, checksum=None):
    path = f"/{bucket}/streamed"
    mode = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" + ("-TRAILER" if trailer else "")
    extra = {"x-amz-trailer": "x-amz-checksum-crc32"} if trailer else {}
    headers, key, date, scope, previous = sign(server, path, mode, extra)
    body = b""
    for piece in PIECES:
        text = f"AWS4-HMAC-SHA256-PAYLOAD\n{date}\n{scope}\n{previous}\n{EMPTY}\n{sha256(piece)}"
        previous = hmac.digest(key, text.encode(), "sha256").hex()
        body += f"{len(piece):x};chunk-signature={previous}\r\n".encode() + piece + (b"\r\n" if piece else b"")
    if trailer:
        line = "x-amz-checksum-crc32:" + base64.b64encode((checksum or zlib.crc32(BODY)).to_bytes(4, "big")).decode()
        text = f"AWS4-HMAC-SHA256-TRAILER\n{date}\n{scope}\n{previous}\n{sha256((line + chr(10)).encode())}"
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        body += f"{line}\r\nx-amz-trailer-signature:{signature}\r\n".encode()
    return send(server.endpoints["http"], "PUT", path, headers, change(body + b"\r\n"))


@pytest.mark.parametrize("trailer", [False, True], ids=["plain", "trailer"])
def test_signed_chunks_are_taken_and_altered_ones_refused(server, bucket, trailer):
    altered = put(server, bucket, trailer, lambda body: body.replace(b"bbb", b"bbc"))
    assert altered.told[:2] == (403, "SignatureDoesNotMatch")
    resigned = put(server, bucket, trailer, lambda body: body.replace(b"chunk-signature=", b"chunk-signature=0", 1))
    assert resigned.status in (400, 403)
    short = put(server, bucket, trailer, lambda body: body[: len(body) // 2])
    assert short.told[:2] == (400, "IncompleteBody")
    assert request(server, "HEAD", f"/{bucket}/streamed").status == 404, "a refused body stored something"
    assert put(server, bucket, trailer).status == 200
    assert request(server, "GET", f"/{bucket}/streamed").body == BODY


def test_a_signed_trailer_is_held_against_the_body_and_against_its_signature(server, bucket):
    assert put(server, bucket, True, checksum=1).told[:2] == (400, "BadDigest")
    swapped = put(server, bucket, True, lambda body: body.replace(b"x-amz-trailer-signature:", b"x-amz-trailer-signature:0"))
    assert swapped.status == 403
    missing = put(server, bucket, True, lambda body: body[: body.index(b"x-amz-trailer-signature")] + b"\r\n")
    assert missing.told[:2] == (400, "MalformedTrailerError")
    assert request(server, "HEAD", f"/{bucket}/streamed").status == 404


def exchange(server, headers, body, wait):
    """Sends a head, waits for 100 Continue if told to, then sends the body; everything that came back."""
    address = urllib.parse.urlsplit(server.endpoints["http"])
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(headers)
        first = connection.recv(4096) if wait else b""
        if not wait or first.startswith(b"HTTP/1.1 100"):
            connection.sendall(body)
            first += connection.recv(4096)
        return first


def test_expect_100_continue_is_answered_before_the_body_and_only_for_who_may_write(server, s3, bucket):

    def head(secret):
        signed = AWSRequest("PUT", f"{server.endpoints['http']}/{bucket}/k", data=b"hello", headers={"Content-Length": "5", "Connection": "close"})
        signed.context["payload_signing_enabled"] = True
        S3SigV4Auth(Credentials(ACCOUNTS["main"][1], secret), "s3", REGION).add_auth(signed)
        host = urllib.parse.urlsplit(server.endpoints["http"]).netloc
        lines = [f"PUT /{bucket}/k HTTP/1.1", f"Host: {host}", "Expect: 100-continue"]
        return ("\r\n".join(lines + [f"{name}: {value}" for name, value in signed.headers.items()]) + "\r\n\r\n").encode()

    refused = exchange(server, head("wrong"), b"hello", wait=True)
    assert refused.startswith(b"HTTP/1.1 403"), refused
    taken = exchange(server, head(ACCOUNTS["main"][2]), b"hello", wait=True)
    assert taken.startswith(b"HTTP/1.1 100") and b"HTTP/1.1 200" in taken, taken
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"hello"
