"""Documents and files are what they say."""

import pathlib
import re
import subprocess
import urllib.request

import pytest

from harness import Server, binary

ROOT = pathlib.Path(__file__).parent.parent


def run(*arguments):
    return subprocess.run([binary(), *arguments], capture_output=True, text=True, timeout=60)


def test_the_generated_list_of_operations_is_current():
    assert (ROOT / "docs/operations.md").read_text() == run("operations", "--markdown").stdout, "run: make docs"


def test_the_documented_development_environment_starts(tmp_path):
    server = Server(tmp_path)
    server.config.write_text((ROOT / "config/dev.toml").read_text())
    (server.home / "dev-alice.json").write_text((ROOT / "config/dev-alice.json").read_text())
    server.start().stop()


def test_config_check_says_what_is_wrong(tmp_path):
    file = tmp_path / "tresor.toml"
    for text, said in [
        ("regoin = 1", "regoin"),
        ('[[account]]\nid = "12"', "twelve digits"),
        ('[[kms.key]]\nid = "x"\naccount = "111122223333"', "not declared"),
        ('[root_key]\nprovider = "rot13"', "rot13"),
        ('[server]\ntls_key = "k"', "come together"),
    ]:
        file.write_text(text)
        file.chmod(0o600)
        done = run("config", "check", "--config", str(file))
        assert done.returncode != 0 and said in done.stderr, (text, done.stderr)
    file.write_text('[[account]]\nid = "111122223333"\naccess_key_id = "A"\nsecret_access_key = "S"\n')
    assert run("config", "check", "--config", str(file)).returncode == 0
    file.chmod(0o644)
    assert "make it 0600" in run("config", "check", "--config", str(file)).stderr


def test_the_same_access_key_with_two_secrets_does_not_start(tmp_path):
    environment = {"TRESOR_ROOT_ACCESS_KEY_ID": "AKIATESTMAIN00000000", "TRESOR_ROOT_SECRET_ACCESS_KEY": "another"}
    with pytest.raises(AssertionError, match="two secrets"):
        Server(tmp_path, environment=environment).start()


def test_settings_come_from_variables_and_the_root_key_from_a_passphrase(tmp_path):
    (tmp_path / "passphrase").write_text("a long and secret sentence\n")
    (tmp_path / "passphrase").chmod(0o600)
    environment = {
        "TRESOR_ROOT_KEY_PROVIDER": "passphrase",
        "TRESOR_ROOT_KEY_PATH": str(tmp_path / "passphrase"),
        "TRESOR_AUTH_SIGV2": "false",
    }
    server = Server(tmp_path, dev=False, environment=environment).start()
    s3 = server.client()
    s3.create_bucket(Bucket="again")
    with pytest.raises(s3.exceptions.ClientError, match="not supported"):
        server.client(signature_version="s3").list_buckets()
    server.stop()
    server.start()
    assert [bucket["Name"] for bucket in server.client().list_buckets()["Buckets"]] == ["again"]
    server.stop()


def test_nothing_that_answers_clients_opens_keys_without_asking_a_policy():
    """`kms::inspect` is for `tresor verify` alone."""
    named = [path for path in (ROOT / "crates").rglob("*.rs") if "Inspected" in path.read_text()]
    assert {str(path.relative_to(ROOT)) for path in named} == {"crates/kms/src/inspect.rs", "crates/kms/src/lib.rs", "crates/server/src/verify.rs"}


def test_alerts_name_metrics_that_exist(server):
    server.kms().describe_key(KeyId="alias/test")
    text = urllib.request.urlopen(server.endpoints["admin"] + "/metrics").read().decode()
    known = set(re.findall(r"^(tresor_\w+?)[ {]", text, re.MULTILINE))
    named = set(re.findall(r"\btresor_\w+", (ROOT / "config/alerts.yml").read_text()))
    assert named and named <= known, named - known


def test_every_difference_from_the_policy_simulator_is_listed():
    names = re.findall(r'Rule\(\n\s+"([a-z-]+)"', (ROOT / "tools/policy-differential/rules.py").read_text())
    document = (ROOT / "docs/policy-differences.md").read_text()
    listed = re.findall(r"\(`([a-z-]+)`: \d+", document)
    assert names and listed == names, "run: make policy-differential"
    unexplained = re.findall(r"^\| \d+ \| [\d,]+ \|.* (\d+) \|$", document, re.MULTILINE)
    assert len(unexplained) >= 2 and set(unexplained) == {"0"}
