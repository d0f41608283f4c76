"""What time does to keys: destroyed at the end of their waiting period and at the expiry of imported material, beyond recovery from
any older copy of the database; and keys that survive restarts, rotations and a move to another place."""

import datetime
import json
import os
import shutil
import subprocess
import time

import pytest

from harness import KEY_ARN, Server, binary
from test_kms import refused, wrapped

DAY = 24 * 60 * 60


@pytest.fixture(scope="module")
def clock(tmp_path_factory):
    source = os.path.join(os.path.dirname(__file__), "clock", "clock.c")
    built = tmp_path_factory.mktemp("clock") / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(built), source, "-ldl"], check=True)
    return built


def ahead(server, clock, days, until):
    """Runs the server with a clock that is `days` ahead until `until()` holds."""
    server.environment = {"LD_PRELOAD": str(clock), "CLOCK_AHEAD": str(days * DAY)}
    server.start()
    deadline = time.monotonic() + 30
    while not until():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.1)
    server.stop()
    server.environment = {}


def secrets_of(server):
    return {path.name: path.read_bytes() for path in (server.data / "erasure").iterdir()}


def nowhere(server, secret):
    """The bytes are in no file of the server's directories."""
    for path in server.home.rglob("*"):
        if path.is_file():
            assert secret not in path.read_bytes(), path


def import_parameters(kms, arn):
    return kms.get_parameters_for_import(KeyId=arn, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048")


def test_what_is_destroyed_stays_destroyed(tmp_path, clock):
    (tmp_path / "s").mkdir()
    server = Server(tmp_path / "s").start()
    kms, s3 = server.kms(), server.client()
    s3.create_bucket(Bucket="box")
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    kept = kms.create_key()["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName="alias/doomed", TargetKeyId=arn)
    under = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": arn}
    s3.put_object(Bucket="box", Key="small", Body=b"x" * 100, **under)
    s3.put_object(Bucket="box", Key="large", Body=b"x" * 300_000, BucketKeyEnabled=True, **under)
    s3.put_object(Bucket="box", Key="other", Body=b"kept", ServerSideEncryption="aws:kms", SSEKMSKeyId=kept)
    blob = kms.encrypt(KeyId=arn, Plaintext=b"sealed")["CiphertextBlob"]
    imported = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["Arn"]
    given = import_parameters(kms, imported)
    kms.import_key_material(
        KeyId=imported, ImportToken=given["ImportToken"], EncryptedKeyMaterial=wrapped("RSAES_OAEP_SHA_256", given, bytes(range(32))),
        ExpirationModel="KEY_MATERIAL_EXPIRES", ValidTo=datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=2),
    )
    second = kms.encrypt(KeyId=imported, Plaintext=b"sealed")["CiphertextBlob"]
    deleted = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["Arn"]
    given = import_parameters(kms, deleted)
    kms.import_key_material(
        KeyId=deleted, ImportToken=given["ImportToken"], EncryptedKeyMaterial=wrapped("RSAES_OAEP_SHA_256", given, bytes(range(32, 64))),
        ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
    )
    third = kms.encrypt(KeyId=deleted, Plaintext=b"sealed")["CiphertextBlob"]
    server.stop()
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(server.data, checkpoint)
    before = secrets_of(server)

    server.start()
    kms = server.kms()
    kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)
    kms.delete_imported_key_material(KeyId=deleted)
    server.stop()
    key_id = arn.rsplit("/", 1)[1]
    ahead(server, clock, 6, lambda: len(secrets_of(server)) == len(before) - 2)
    assert key_id in secrets_of(server), "the waiting period is not over"
    ahead(server, clock, 8, lambda: key_id not in secrets_of(server))

    server.start()
    kms, s3 = server.kms(), server.client()
    expired = server.tresor("audit", "search", "--event", "DeleteExpiredKeyMaterial")
    assert expired and all(event["eventType"] == "AwsServiceEvent" for event in expired)
    (gone,) = server.tresor("audit", "search", "--event", "DeleteKey")
    assert gone["userIdentity"] == {"accountId": arn.split(":")[4], "invokedBy": "AWS Internal"}
    assert gone["eventType"] == "AwsServiceEvent" and gone["serviceEventDetails"] == {"keyId": key_id}
    assert gone["resources"][0]["ARN"] == arn and "requestID" not in gone and gone["readOnly"] is False
    missing = f"Key '{arn}' does not exist"
    for name in ("small", "large"):
        refused("KMS.NotFoundException", s3.get_object, missing, Bucket="box", Key=name)
    assert s3.get_object(Bucket="box", Key="other")["Body"].read() == b"kept"
    refused("NotFoundException", kms.describe_key, missing, KeyId=arn)
    refused("NotFoundException", kms.describe_key, KeyId="alias/doomed")
    refused("AccessDeniedException", kms.decrypt, CiphertextBlob=blob)
    refused("KMSInvalidStateException", kms.decrypt, f"{imported} is pending import.", CiphertextBlob=second)
    refused("KMSInvalidStateException", kms.decrypt, f"{deleted} is pending import.", CiphertextBlob=third)
    server.stop()
    gone = set(before) - set(secrets_of(server))
    assert len(gone) == 3
    for name in gone:
        nowhere(server, before[name])
    nowhere(server, bytes(range(32)))

    # The checkpoint's database with today's secrets and the same root key: the rows are back, the material is not.
    shutil.rmtree(checkpoint / "erasure")
    shutil.copytree(server.data / "erasure", checkpoint / "erasure")
    shutil.rmtree(server.data)
    shutil.copytree(checkpoint, server.data)
    server.start()
    kms, s3 = server.kms(), server.client()
    assert kms.describe_key(KeyId=arn)["KeyMetadata"]["KeyState"] == "Enabled"
    for sealed in (blob, second, third):
        refused("KeyUnavailableException", kms.decrypt, status=500, CiphertextBlob=sealed)
    for name in ("small", "large"):
        refused("ServiceUnavailable", s3.get_object, status=503, Bucket="box", Key=name)
    assert s3.get_object(Bucket="box", Key="other")["Body"].read() == b"kept"
    server.stop()


def test_everything_opens_after_rotations_a_restart_and_a_move(tmp_path):
    (tmp_path / "a").mkdir()
    server = Server(tmp_path / "a").start()
    kms, s3 = server.kms(), server.client()
    s3.create_bucket(Bucket="box")
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    rsa = kms.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["Arn"]
    blobs = []
    for n in range(4):
        blobs.append(kms.encrypt(KeyId=arn, Plaintext=f"text {n}".encode())["CiphertextBlob"])
        s3.put_object(Bucket="box", Key=f"k{n}", Body=f"body {n}".encode(), ServerSideEncryption="aws:kms", SSEKMSKeyId=arn, BucketKeyEnabled=n % 2 == 0)
        if n < 3:
            kms.rotate_key_on_demand(KeyId=arn)
    sealed = kms.encrypt(KeyId=rsa, Plaintext=b"rsa", EncryptionAlgorithm="RSAES_OAEP_SHA_256")["CiphertextBlob"]
    server.stop()
    shutil.move(tmp_path / "a", tmp_path / "elsewhere")
    moved = Server(tmp_path / "elsewhere").start()
    kms, s3 = moved.kms(), moved.client()
    for n, blob in enumerate(blobs):
        assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == f"text {n}".encode()
        assert s3.get_object(Bucket="box", Key=f"k{n}")["Body"].read() == f"body {n}".encode()
    assert kms.decrypt(KeyId=rsa, CiphertextBlob=sealed, EncryptionAlgorithm="RSAES_OAEP_SHA_256")["Plaintext"] == b"rsa"
    moved.stop()


def test_keys_rotate_by_themselves(tmp_path, clock):
    (tmp_path / "s").mkdir()
    server = Server(tmp_path / "s").start()
    kms = server.kms()
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    paused = kms.create_key()["KeyMetadata"]["Arn"]
    for key in (arn, paused):
        kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
    kms.disable_key(KeyId=paused)
    managed = kms.describe_key(KeyId="alias/aws/s3")["KeyMetadata"]["Arn"]
    blob = kms.encrypt(KeyId=arn, Plaintext=b"old")["CiphertextBlob"]
    server.stop()

    def materials(key):
        return server.tresor("keys", "describe", key)["KeyMaterials"]

    ahead(server, clock, 91, lambda: materials(arn) == 2)
    server.start()
    assert (materials(paused), materials(managed)) == (1, 1)
    server.stop()
    ahead(server, clock, 366, lambda: materials(managed) == 2)
    server.start()
    kms = server.kms()
    types = {entry["RotationType"] for entry in kms.list_key_rotations(KeyId=arn)["Rotations"]}
    rotated = [event["serviceEventDetails"]["keyId"] for event in server.tresor("audit", "search", "--event", "RotateKey")]
    assert sorted(set(rotated)) == sorted(key.rsplit("/", 1)[1] for key in (arn, managed))
    assert types == {"AUTOMATIC"} and kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"old"
    server.stop()


def restore(server, backup, secrets, cwd=None):
    command = [binary(), "keys", "restore", str(backup), "--erasure-from", str(secrets), "--data-dir", str(server.data), "--config", str(server.config), "--dev"]
    environment = {"XDG_CONFIG_HOME": str(server.home / "config"), "PATH": "/usr/bin:/bin", "HOME": str(server.home)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, cwd=cwd)


def test_a_backup_brings_keys_back_and_destroyed_ones_stay_destroyed(tmp_path, clock):
    (tmp_path / "s").mkdir()
    server = Server(tmp_path / "s").start()
    kms = server.kms()
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    doomed = kms.create_key()["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName="alias/kept", TargetKeyId=arn)
    kms.create_alias(AliasName="alias/doomed", TargetKeyId=doomed)
    kms.rotate_key_on_demand(KeyId=arn)
    blobs = [kms.encrypt(KeyId=key, Plaintext=b"sealed")["CiphertextBlob"] for key in (arn, KEY_ARN, doomed)]
    backup, secrets = tmp_path / "backup", tmp_path / "secrets"
    done = server.tresor("keys", "backup", str(backup), "--erasure-to", str(secrets))
    assert done["ErasureSecrets"] == 3
    for path in secrets.iterdir():
        assert path.read_bytes() not in (backup / "keys.tresor").read_bytes()
    refused_while_running = restore(server, backup, secrets)
    assert refused_while_running.returncode != 0
    kms.schedule_key_deletion(KeyId=doomed, PendingWindowInDays=7)
    server.stop()
    key_id = doomed.rsplit("/", 1)[1]
    ahead(server, clock, 8, lambda: key_id not in secrets_of(server))

    # In the same store: the destroyed key does not come back.
    done = restore(server, backup, secrets)
    assert done.returncode == 0, done.stderr
    assert key_id not in secrets_of(server)
    server.start()
    kms = server.kms()
    refused("NotFoundException", kms.describe_key, KeyId=doomed)
    refused("NotFoundException", kms.describe_key, KeyId="alias/doomed")
    assert kms.decrypt(CiphertextBlob=blobs[0])["Plaintext"] == b"sealed"
    server.stop()

    # Elsewhere, from nothing but the backup, the secrets and the root key: what was there then opens.
    (tmp_path / "e").mkdir()
    elsewhere = Server(tmp_path / "e")
    shutil.copytree(server.home / "config", elsewhere.home / "config")
    done = restore(elsewhere, backup, secrets)
    assert done.returncode == 0, done.stderr
    elsewhere.start()
    kms = elsewhere.kms()
    for blob in blobs:
        assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"sealed"
    assert kms.describe_key(KeyId="alias/kept")["KeyMetadata"]["Arn"] == arn
    elsewhere.stop()


def test_a_backup_is_kept_apart_and_comes_back_from_relative_places(tmp_path):
    """Neither half in the data directory or in the other half; one-word paths as people type them; a wrong place changes nothing."""
    (tmp_path / "s").mkdir()
    server = Server(tmp_path / "s").start()
    key = server.tresor("keys", "create")["KeyId"]
    data, inside = str(server.data), str(server.data / "new" / "backup")
    for rows, secrets in [(data, "b2"), ("b1", data), (inside, "b2"), ("b1", inside), ("b1", "b1"), ("b1", "b1/secrets"), ("b1/rows", "b1")]:
        places = [str(tmp_path / place) for place in (rows, secrets)]
        with pytest.raises(AssertionError, match="kept apart"):
            server.tresor("keys", "backup", places[0], "--erasure-to", places[1])
    assert not (server.data / "new").exists() and not (tmp_path / "b1").exists()
    server.tresor("keys", "backup", str(tmp_path / "b1"), "--erasure-to", str(tmp_path / "b2"))
    server.stop()

    (tmp_path / "e").mkdir()
    elsewhere = Server(tmp_path / "e")
    shutil.copytree(server.home / "config", elsewhere.home / "config")
    done = restore(elsewhere, "b1", "not-there", cwd=tmp_path)
    assert done.returncode != 0 and "not-there" in done.stderr
    assert not elsewhere.data.exists()
    done = restore(elsewhere, "b1", "b2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ErasureSecrets"] == 2
    elsewhere.start()
    assert key in {found["KeyId"] for found in elsewhere.tresor("keys", "list")}
    elsewhere.stop()


def test_a_backup_of_before_a_new_root_key_says_so(tmp_path):
    (tmp_path / "s").mkdir()
    server = Server(tmp_path / "s").start()
    backup, secrets = tmp_path / "backup", tmp_path / "secrets"
    server.tresor("keys", "backup", str(backup), "--erasure-to", str(secrets))
    server.stop()
    told = tresor(server, "root", "rotate", str(tmp_path / "new-root-key"))
    assert told.returncode == 0 and "make a new key backup" in told.stdout, told.stderr
    done = restore(server, backup, secrets)
    assert done.returncode != 0 and "under another root key" in done.stderr, done.stderr
    (tmp_path / "o").mkdir()
    other = Server(tmp_path / "o")
    other.start().stop()
    assert "of another store" in restore(other, backup, secrets).stderr


def tresor(server, *words):
    command = [binary(), *words, "--data-dir", str(server.data), "--config", str(server.config), "--dev"]
    environment = {"XDG_CONFIG_HOME": str(server.home / "config"), "PATH": "/usr/bin:/bin", "HOME": str(server.home)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


def test_a_new_root_key_opens_everything_and_the_old_one_nothing(tmp_path):
    (tmp_path / "s").mkdir()
    server = Server(tmp_path / "s").start()
    kms, s3 = server.kms(), server.client()
    s3.create_bucket(Bucket="box")
    blob = kms.encrypt(KeyId="alias/test", Plaintext=b"sealed")["CiphertextBlob"]
    for key, more in [("s3", {}), ("kms", {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KEY_ARN})]:
        s3.put_object(Bucket="box", Key=key, Body=key.encode(), **more)
    new = tmp_path / "new.root-key"
    assert "in use" in tresor(server, "root", "rotate", str(new)).stderr or not new.exists()
    server.stop()
    inside = tresor(server, "root", "rotate", str(server.data / "root-key"))
    assert inside.returncode != 0 and "inside the data directory" in inside.stderr
    done = tresor(server, "root", "rotate", str(new))
    assert done.returncode == 0, done.stderr
    assert tresor(server, "root", "rotate", str(new)).returncode != 0
    with pytest.raises(AssertionError, match="root key is not the one"):
        server.start()
    server.arguments = ["--root-key-file", str(new)]
    server.start()
    kms, s3 = server.kms(), server.client()
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"sealed"
    for key in ("s3", "kms"):
        assert s3.get_object(Bucket="box", Key=key)["Body"].read() == key.encode()
    server.stop()
