"""The key mirror: every change is copied, what is lost from the store comes back from it, what was destroyed does not, and one that
cannot be written is told of and caught up with."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from harness import KEY_ID, Server, binary


@pytest.fixture
def server(tmp_path):
    (tmp_path / "s").mkdir()
    running = Server(tmp_path / "s", extra_config=f'[kms]\nmirror = "{tmp_path / "mirror"}"\n')
    # The declared key of the harness opens a [[kms.key]] table; TOML wants [kms] before it.
    text = running.config.read_text()
    head, tail = text.split("[[kms.key]]", 1)
    mirror = f'[kms]\nmirror = "{tmp_path / "mirror"}"\n'
    running.config.write_text(head + mirror + "[[kms.key]]" + tail.replace(mirror, ""))
    running.mirror = tmp_path / "mirror"
    return running.start()


def admin(server, path):
    try:
        with urllib.request.urlopen(server.endpoints["admin"] + path) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        # Not ready yet: the endpoints are announced a moment before.
        return error.read().decode()


def restore(server, *arguments):
    command = [binary(), "keys", "restore", str(server.mirror), *arguments, "--data-dir", str(server.data), "--config", str(server.config), "--dev"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(server.home), "XDG_CONFIG_HOME": str(server.home / "config")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def contents(server):
    return b"".join(path.read_bytes() for path in sorted((server.mirror / "rows").iterdir()))


def test_lost_keys_come_back_from_the_mirror(server, tmp_path):
    kms, s3 = server.kms(), server.client()
    s3.create_bucket(Bucket="box")
    s3.put_object(Bucket="box", Key="owned", Body=b"under the owned key")
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName="alias/mine", TargetKeyId=arn)
    kms.create_alias(AliasName="alias/gone", TargetKeyId=arn)
    kms.delete_alias(AliasName="alias/gone")
    blobs = []
    for _ in range(2):
        blobs.append(kms.encrypt(KeyId="alias/mine", Plaintext=b"secret")["CiphertextBlob"])
        kms.rotate_key_on_demand(KeyId=arn)
    declared = kms.encrypt(KeyId=KEY_ID, Plaintext=b"declared")["CiphertextBlob"]
    found = contents(server)
    assert b"alias/mine" in found and b"alias/gone" not in found and b"owned/111122223333" in found
    # Only wrapped rows: no erasure secret is in the mirror.
    for secret in (server.data / "erasure").iterdir():
        assert secret.read_bytes() not in found
    assert admin(server, "/ready") == "ready\n" and "tresor_key_mirror_behind 0" in admin(server, "/metrics")
    server.stop()

    # The metadata is lost; the header and the erasure secrets are not.
    shutil.rmtree(server.data / "meta")
    server.start()
    log = server.log.read_text()
    assert "holds rows that the store has lost" in log and f"tresor keys restore {server.mirror}" in log
    assert f"key/111122223333/{KEY_ID}" in log and "it is not made anew" in log
    # An owned key that is made meanwhile does not push the lost one out.
    server.client().create_bucket(Bucket="meanwhile")
    server.client().put_object(Bucket="meanwhile", Key="k", Body=b"written meanwhile")
    server.stop()
    restored = restore(server)
    assert restored["Rows"] >= 4 and restored["ErasureSecrets"] == 0
    server.start()
    kms = server.kms()
    for blob in blobs:
        assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"secret"
    assert kms.decrypt(CiphertextBlob=declared)["Plaintext"] == b"declared"
    assert [alias["AliasName"] for alias in kms.list_aliases(KeyId=arn)["Aliases"]] == ["alias/mine"]
    assert server.client().get_object(Bucket="meanwhile", Key="k")["Body"].read() == b"written meanwhile"
    server.stop()
    assert server.log.read_text().count("holds rows that the store has lost") == 1


def test_a_mirror_that_cannot_be_written_is_told_of_and_caught_up_with(server, tmp_path):
    kms = server.kms()
    kms.create_alias(AliasName="alias/removed", TargetKeyId=KEY_ID)
    rows = server.mirror / "rows"
    rows.rename(server.mirror / "away")
    rows.write_text("not a directory")
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    kms.delete_alias(AliasName="alias/removed")
    assert kms.encrypt(KeyId=arn, Plaintext=b"x")["CiphertextBlob"]
    assert "the key mirror could not be written" in server.log.read_text()
    assert "tresor_key_mirror_behind 1" in admin(server, "/metrics")
    server.kill()
    rows.unlink()
    (server.mirror / "away").rename(rows)
    assert b"alias/removed" in contents(server)
    server.start()
    # The row that was removed meanwhile is not taken for a lost one.
    assert "has lost" not in server.log.read_text()
    assert b"alias/removed" not in contents(server) and arn.rsplit("/", 1)[1].encode() in contents(server)
    deadline = time.monotonic() + 10
    while admin(server, "/ready") != "ready\n":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "tresor_key_mirror_behind 0" in admin(server, "/metrics")
    server.stop()


def test_a_mirror_of_another_store_is_refused_by_name(server, tmp_path):
    server.stop()
    (tmp_path / "t").mkdir()
    other = Server(tmp_path / "t")
    other.config.write_text(server.config.read_text())
    with pytest.raises(AssertionError, match="is of store [0-9a-f]{32}, and this is store"):
        other.start()
