"""Documents and files are what they say."""

import os
import pathlib
import re
import subprocess
import urllib.request

import pytest

from harness import Server, binary

ROOT = pathlib.Path(__file__).parent.parent


def run(*arguments, **variables):
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]} | variables
    return subprocess.run([binary(), *arguments], capture_output=True, text=True, timeout=60, env=environment)


def test_the_generated_list_of_operations_is_current():
    assert (ROOT / "docs/operations.md").read_text() == run("operations", "--markdown").stdout, "run: make docs"


def test_the_documented_development_environment_starts(tmp_path):
    server = Server(tmp_path)
    server.config.write_text((ROOT / "config/dev.toml").read_text())
    (server.home / "dev-alice.json").write_text((ROOT / "config/dev-alice.json").read_text())
    server.start().stop()


ROOT_KEY = '[root_key]\nprovider = "file"\npath = "made-when-the-store-is"\n'


def test_config_check_says_what_is_wrong(tmp_path):
    file = tmp_path / "tresor.toml"
    for text, said in [
        ("regoin = 1", "regoin"),
        ('[[account]]\nid = "12"', "twelve digits"),
        ('[[kms.key]]\nid = "x"\naccount = "111122223333"', "not declared"),
        ('[root_key]\nprovider = "rot13"', "rot13"),
        ('[server]\ntls_key = "k"', "come together"),
        ("", "no root key provider"),
        (ROOT_KEY + '[server]\ntls_listen = "127.0.0.1:0"', "needs tls_certificate"),
        (ROOT_KEY + '[server]\ntls_listen = "127.0.0.1:0"\ntls_certificate = "none.pem"\ntls_key = "none.key"', "none.pem"),
        (ROOT_KEY + '[server]\nlisten = "nonsense"', "nonsense"),
        (ROOT_KEY + '[server]\nadmin_listen = "nonsense"', "nonsense"),
        (ROOT_KEY + '[server]\ntrusted_proxies = ["abc"]', "abc"),
        (ROOT_KEY + '[log]\nfilter = "a=b=c"', "filter"),
        (ROOT_KEY + '[[account]]\nid = "111122223333"\n' * 2, "111122223333"),
        (ROOT_KEY + '[[identity_provider]]\nurl = "https://x"\njwks = "none.json"', "none.json"),
    ]:
        file.write_text(text)
        file.chmod(0o600)
        done = run("config", "check", "--config", str(file))
        assert done.returncode != 0 and said in done.stderr, (text, done.stderr)
        # The server says the same, and has made nothing by then.
        done = run("serve", "--config", str(file), "--data-dir", str(tmp_path / "data"))
        assert done.returncode != 0 and said in done.stderr, (text, done.stderr)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["tresor.toml"], text
    file.write_text(ROOT_KEY + '[[account]]\nid = "111122223333"\naccess_key_id = "A"\nsecret_access_key = "S"\n')
    assert run("config", "check", "--config", str(file)).returncode == 0
    file.chmod(0o644)
    assert "make it 0600" in run("config", "check", "--config", str(file)).stderr


def test_the_same_access_key_with_two_secrets_does_not_start(tmp_path):
    environment = {"TRESOR_ROOT_ACCESS_KEY_ID": "AKIATESTMAIN00000000", "TRESOR_ROOT_SECRET_ACCESS_KEY": "another"}
    with pytest.raises(AssertionError, match="two secrets"):
        Server(tmp_path, environment=environment).start()


def test_half_a_root_access_key_is_refused():
    for variables in (
        {"TRESOR_ROOT_ACCESS_KEY_ID": "AKIATESTHALF00000000"},
        {"TRESOR_ROOT_SECRET_ACCESS_KEY": "only-the-secret-of-it"},
        {"TRESOR_ROOT_ACCESS_KEY_ID": "", "TRESOR_ROOT_SECRET_ACCESS_KEY": ""},
    ):
        done = run("config", "check", "--dev", **variables)
        assert done.returncode != 0 and "come together" in done.stderr, done.stderr
        assert "only-the-secret-of-it" not in done.stderr


def test_a_reader_that_goes_away_ends_a_command_quietly():
    for command in (["operations"], ["operations", "--json"], ["policy", "check", str(ROOT / "tests/cases/policy_cases.json")]):
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run([binary(), *command], stdout=write, stderr=subprocess.PIPE, text=True, timeout=60)
        os.close(write)
        assert (done.returncode, done.stderr) == (141, ""), command


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
