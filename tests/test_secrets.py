"""Must show 8: with logs at TRACE, no key, no plaintext and no secret is in any log, file or database."""

import base64
import pathlib
import re
import subprocess

import pytest

import sse
from harness import ACCOUNTS, Server, binary

MARKER = b"the-plaintext-marker-that-must-not-be-found-"


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """A server at TRACE that has written, read, copied and failed with every kind of encryption, and then has stopped."""
    server = Server(tmp_path_factory.mktemp("secrets"), log="trace").start()
    s3 = server.client()
    s3.create_bucket(Bucket="secrets")
    for mode in sse.MODES:
        for name, size in [("small", 2_000), ("large", 6 << 20)]:
            body = (MARKER * (size // len(MARKER) + 1))[:size]
            names = {"Bucket": "secrets", "Key": f"{mode}-{name}"}
            s3.put_object(**names, Body=body, **sse.WRITE[mode])
            assert s3.get_object(**names, **sse.read(mode))["Body"].read() == body
            s3.copy_object(Bucket="secrets", Key=f"copy-{mode}", CopySource=names, **sse.WRITE[mode], **sse.source(mode))
        sse.upload(s3, "secrets", f"{mode}-parts", body, mode, [5 << 20, 1 << 20])
    server.client(endpoint="https").list_buckets()
    for call in (
        lambda: s3.get_object(Bucket="secrets", Key="sse-c-small"),
        lambda: s3.get_object(Bucket="secrets", Key="sse-c-small", SSECustomerAlgorithm="AES256", SSECustomerKey=sse.OTHER_CUSTOMER_KEY),
        lambda: s3.get_object(Bucket="secrets", Key="none"),
    ):
        with pytest.raises(s3.exceptions.ClientError):
            call()
    server.tresor("keys", "rotate", "alias/test")
    server.tresor("inspect", "secrets", "sse-c-small")
    server.stop()
    return server


def forms(secret):
    """A secret as it is, in hex and in base64."""
    raw = secret if isinstance(secret, bytes) else secret.encode()
    return [raw, raw.hex().encode(), raw.hex().upper().encode(), base64.b64encode(raw)]


def holders(server, needles, allowed=()):
    """The files below the server's directory that hold one of the needles."""
    found = []
    for path in server.home.rglob("*"):
        if path.is_file() and path.name not in allowed:
            content = path.read_bytes()
            found += [(path.name, needle[:12]) for needle in needles if needle in content]
    return found


def test_the_server_logged_at_trace(used):
    log = used.log.read_text()
    assert "TRACE" in log and "PutObject" in log


def test_no_plaintext(used):
    assert holders(used, [MARKER]) == []


def test_no_customer_key(used):
    assert holders(used, forms(sse.CUSTOMER_KEY) + forms(sse.OTHER_CUSTOMER_KEY)) == []


def test_no_secret_access_key_but_in_the_config(used):
    needles = [form for who in ACCOUNTS for form in forms(ACCOUNTS[who][2])]
    assert holders(used, needles, allowed=["tresor.toml"]) == []


def test_a_generated_secret_access_key_is_in_its_private_file_alone(tmp_path):
    server = Server(tmp_path, log="trace")
    server.config.write_text("")
    server.start()
    file = server.data / "credentials"
    server.run("env", "-u", "AWS_ACCESS_KEY_ID", "-u", "AWS_SECRET_ACCESS_KEY", f"AWS_SHARED_CREDENTIALS_FILE={file}", "aws", "s3", "mb", "s3://made")
    server.stop()
    generated = file.read_text().split("aws_secret_access_key = ")[1].strip()
    assert holders(server, forms(generated), allowed=["credentials"]) == []
    assert file.stat().st_mode & 0o777 == 0o600


def test_no_root_key_but_in_its_file(used):
    (key_file,) = (used.home / "config").rglob("*.root-key")
    text = key_file.read_text().strip()
    assert holders(used, forms(bytes.fromhex(text)), allowed=[key_file.name]) == []
    assert not key_file.is_relative_to(used.data)


def test_the_places_of_secrets_are_private(used):
    (key_file,) = (used.home / "config").rglob("*.root-key")
    for path in [used.config, used.data / "tls" / "ca.key", key_file]:
        assert path.stat().st_mode & 0o777 == 0o600, path
    assert used.data.stat().st_mode & 0o777 == 0o700


def test_the_root_key_leaves_the_environment_once_read(tmp_path):
    key = "ab" * 32
    server = Server(tmp_path, '[root_key]\nprovider = "env"\n', environment={"TRESOR_ROOT_KEY": key}, log="trace").start()
    try:
        server.client().create_bucket(Bucket="envkey")
        assert holders(server, forms(bytes.fromhex(key))) == []
        server.kill()
        server.environment["TRESOR_ROOT_KEY"] = "cd" * 32
        with pytest.raises(AssertionError, match="not the one this store was made with"):
            server.start()
        server.environment["TRESOR_ROOT_KEY"] = key
        server.start()
        assert server.client().list_buckets()["Buckets"]
    finally:
        server.stop()


def test_without_a_provider_the_server_does_not_start(tmp_path):
    server = Server(tmp_path, dev=False)
    with pytest.raises(AssertionError, match="no root key provider is configured"):
        server.start()
    assert not (server.data / "meta").exists()


def test_dev_refuses_an_address_that_others_reach(tmp_path):
    command = [binary(), "serve", "--dev", "--data-dir", str(tmp_path / "data"), "--listen", "0.0.0.0:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "loopback only" in done.stderr


def test_a_second_server_on_the_same_directory_is_refused(server):
    command = [binary(), "serve", "--dev", "--data-dir", str(server.data), "--listen", "127.0.0.1:0"]
    command += ["--tls-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "in use by another tresor" in done.stderr


def test_keys_lie_in_locked_memory_that_no_core_dump_has(server):
    """Long-lived keys have pages of their own: locked (lo) and left out of dumps (dd). The process makes no core dump at all."""
    proc = pathlib.Path(f"/proc/{server.process.pid}")
    limits = proc.joinpath("limits").read_text()
    assert re.search(r"Max core file size +0 +0 ", limits), limits
    flags = [line.split()[1:] for line in proc.joinpath("smaps").read_text().splitlines() if line.startswith("VmFlags:")]
    own = [found for found in flags if "dd" in found and "wr" in found and "gd" not in found]
    assert own, "no page is left out of core dumps"
    if "could not be locked" not in server.log.read_text():
        assert any("lo" in found for found in own)
        locked = re.search(r"VmLck:\s+(\d+) kB", proc.joinpath("status").read_text())
        assert int(locked.group(1)) >= 4
