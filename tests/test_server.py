"""The process: where its secrets come from, whom its root key stands for, how it ends, what its probes say."""

import os
import signal
import socket
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import sse
from harness import ACCOUNTS, REGION, Server


def probe(server, path):
    try:
        return urllib.request.urlopen(server.endpoints["admin"] + path).status
    except urllib.error.HTTPError as error:
        return error.code


def test_probes(server):
    assert (probe(server, "/live"), probe(server, "/ready"), probe(server, "/nothing")) == (200, 200, 404)


def test_the_root_access_key_of_the_environment_stands_for_the_first_declared_account(tmp_path, monkeypatch):
    monkeypatch.setitem(ACCOUNTS, "environment", ("111122223333", "AKIAENVIRONMENT00000", "from-the-environment"))
    _, key, secret = ACCOUNTS["environment"]
    variables = {"TRESOR_ROOT_ACCESS_KEY_ID": key, "TRESOR_ROOT_SECRET_ACCESS_KEY": secret}
    server = Server(tmp_path, environment=variables).start()
    server.client("environment").create_bucket(Bucket="by-root")
    assert [bucket["Name"] for bucket in server.client("main").list_buckets()["Buckets"]] == ["by-root"]
    assert not (server.data / "credentials").exists()
    server.stop()


def test_a_generated_access_key_is_written_once_and_is_root_of_account_zero(tmp_path, monkeypatch):
    server = Server(tmp_path)
    server.config.write_text("")
    server.start()
    first = (server.data / "credentials").read_text()
    lines = dict(line.split(" = ") for line in first.splitlines()[1:])
    monkeypatch.setitem(ACCOUNTS, "generated", ("0" * 12, lines["aws_access_key_id"], lines["aws_secret_access_key"]))
    s3 = server.client("generated")
    s3.create_bucket(Bucket="mine")
    sent = s3.put_object(Bucket="mine", Key="k", Body=b"x", ServerSideEncryption="aws:kms")
    assert ":000000000000:key/" in sent["SSEKMSKeyId"]
    server.stop()
    server.start()
    assert (server.data / "credentials").read_text() == first
    server.stop()


def test_no_access_key_is_made_for_an_account_that_declares_one(tmp_path):
    server = Server(tmp_path).start()
    server.client("main").list_buckets()
    server.stop()
    assert not (server.data / "credentials").exists()


def test_the_root_key_comes_from_a_systemd_credential(tmp_path):
    directory = tmp_path / "credentials"
    directory.mkdir()
    (directory / "tresor-root-key").write_text("ab" * 32)
    environment = {"CREDENTIALS_DIRECTORY": str(directory), "TRESOR_ROOT_KEY_PROVIDER": "systemd"}
    server = Server(tmp_path, dev=False, environment=environment).start()
    server.client().create_bucket(Bucket="systemd")
    server.stop()
    (directory / "tresor-root-key").write_text("cd" * 32)
    with pytest.raises(AssertionError, match="not the one this store was made with"):
        server.start()


def test_a_root_key_file_in_the_data_directory_is_refused(tmp_path):
    with pytest.raises(AssertionError, match="never lies beside the data"):
        Server(tmp_path, dev=False, arguments=["--root-key-file", str(tmp_path / "data" / "key")]).start()


def test_two_stores_never_share_a_root_key_file_by_default(tmp_path):
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "shared")}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        Server(tmp_path / name, environment=environment).start().stop()
    keys = list((tmp_path / "shared" / "tresor").iterdir())
    assert len(keys) == 2 and keys[0].read_text() != keys[1].read_text()


def test_sigterm_lets_a_request_end(tmp_path):
    server = Server(tmp_path).start()
    server.client().create_bucket(Bucket="drain")
    base = server.endpoints["http"]
    body = sse.noise(200_000)
    signed = AWSRequest("PUT", f"{base}/drain/k", data=body, headers={"Content-Length": str(len(body)), "Connection": "close"})
    signed.context["payload_signing_enabled"] = True
    S3SigV4Auth(Credentials(*ACCOUNTS["main"][1:]), "s3", REGION).add_auth(signed)
    address = urllib.parse.urlsplit(base)
    head = [f"PUT /drain/k HTTP/1.1", f"Host: {address.netloc}", *(f"{name}: {value}" for name, value in signed.headers.items())]
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body[:100_000])
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises(OSError):
            socket.create_connection((address.hostname, address.port), timeout=5).close()
        connection.sendall(body[100_000:])
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    assert server.process.wait(30) == 0
    server.start()
    assert server.client().get_object(Bucket="drain", Key="k")["Body"].read() == body
    server.stop()


def test_keys_are_managed_while_the_server_runs_and_while_it_does_not(tmp_path):
    server = Server(tmp_path).start()
    made = server.tresor("keys", "create", "--description", "ours", "--alias", "alias/ours")
    assert (made["KeyState"], made["Aliases"], made["KeyMaterials"]) == ("Enabled", ["alias/ours"], 1)
    server.stop()
    os.environ["XDG_CONFIG_HOME"] = str(server.home / "config")
    try:
        rotated = server.tresor("keys", "rotate", "alias/ours", "--dev")
        assert rotated["KeyMaterials"] == 2 and rotated["CurrentKeyMaterialId"] != made["CurrentKeyMaterialId"]
    finally:
        del os.environ["XDG_CONFIG_HOME"]
    server.start()
    assert server.tresor("keys", "describe", made["Arn"])["Description"] == "ours"
    listed = {key["KeyId"] for key in server.tresor("keys", "list")}
    assert made["KeyId"] in listed
    server.stop()


def test_a_key_whose_alias_is_taken_is_not_made(server):
    before = {key["KeyId"] for key in server.tresor("keys", "list")}
    for alias, said in [("alias/test", "already exists"), ("alias/aws/mine", "reserved"), ("test", "alias/")]:
        with pytest.raises(AssertionError, match=said):
            server.tresor("keys", "create", "--alias", alias)
    assert {key["KeyId"] for key in server.tresor("keys", "list")} == before


def test_objects_written_before_a_rotation_stay_readable(server, s3, bucket):
    key = server.tresor("keys", "create")["KeyId"]
    asked = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
    for name, more in [("plain", {}), ("bucket-key", {"BucketKeyEnabled": True})]:
        s3.put_object(Bucket=bucket, Key=f"before-{name}", Body=b"before", **asked, **more)
    server.tresor("keys", "rotate", key)
    for name, more in [("plain", {}), ("bucket-key", {"BucketKeyEnabled": True})]:
        s3.put_object(Bucket=bucket, Key=f"after-{name}", Body=b"after", **asked, **more)
        assert s3.get_object(Bucket=bucket, Key=f"before-{name}")["Body"].read() == b"before"
        assert s3.get_object(Bucket=bucket, Key=f"after-{name}")["Body"].read() == b"after"
    material = lambda key: server.tresor("inspect", bucket, key)["envelope"]["wrapped_data_key"][76:140]
    assert material("before-plain") != material("after-plain")
