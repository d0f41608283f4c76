"""Starting, stopping and killing the built server, and clients that talk to it."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import boto3
from botocore.config import Config

REGION = "us-east-1"
KEY_ID = "11111111-2222-3333-4444-555555555555"
ACCOUNTS = {
    "main": ("111122223333", "AKIATESTMAIN00000000", "secret-of-the-main-account-for-tests-000"),
    "other": ("444455556666", "AKIATESTOTHER0000000", "secret-of-the-other-account-for-tests-00"),
    "alice": ("111122223333", "AKIATESTALICE0000000", "secret-of-the-user-alice-for-tests-00000"),
    "bob": ("111122223333", "AKIATESTBOB000000000", "secret-of-the-user-bob-for-tests-0000000"),
    # Users without any policy, of the one account and of the other.
    "carol": ("111122223333", "AKIATESTCAROL0000000", "secret-of-the-user-carol-for-tests-00000"),
    "dave": ("444455556666", "AKIATESTDAVE00000000", "secret-of-the-user-dave-for-tests-000000"),
}
# What alice and bob may do: everything with S3, nothing with keys.
S3_POLICY = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}
KEY_ARN = f"arn:aws:kms:{REGION}:{ACCOUNTS['main'][0]}:key/{KEY_ID}"
CONFIG = f"""
region = "{REGION}"
[[account]]
id = "{ACCOUNTS['main'][0]}"
name = "main"
canonical_id = "{'1' * 64}"
access_key_id = "{ACCOUNTS['main'][1]}"
secret_access_key = "{ACCOUNTS['main'][2]}"
  [[account.user]]
  name = "alice"
  access_key_id = "{ACCOUNTS['alice'][1]}"
  secret_access_key = "{ACCOUNTS['alice'][2]}"
  policy = "s3-policy.json"
  [[account.user]]
  name = "bob"
  access_key_id = "{ACCOUNTS['bob'][1]}"
  secret_access_key = "{ACCOUNTS['bob'][2]}"
  policy = "s3-policy.json"
  [[account.user]]
  name = "carol"
  access_key_id = "{ACCOUNTS['carol'][1]}"
  secret_access_key = "{ACCOUNTS['carol'][2]}"
[[account]]
id = "{ACCOUNTS['other'][0]}"
name = "other"
access_key_id = "{ACCOUNTS['other'][1]}"
secret_access_key = "{ACCOUNTS['other'][2]}"
  [[account.user]]
  name = "dave"
  access_key_id = "{ACCOUNTS['dave'][1]}"
  secret_access_key = "{ACCOUNTS['dave'][2]}"
[[kms.key]]
id = "{KEY_ID}"
account = "{ACCOUNTS['main'][0]}"
alias = "alias/test"
"""


def binary():
    """The built server: TRESOR_BIN, or the debug build."""
    if "TRESOR_BIN" in os.environ:
        return os.environ["TRESOR_BIN"]
    target = os.environ.get("CARGO_TARGET_DIR", os.path.expanduser("~/.cache/tresor/target"))
    return str(pathlib.Path(target) / "debug" / "tresor")


def operations(*services):
    """Rows of the operation table, of all services when none is named."""
    rows = json.loads(subprocess.run([binary(), "operations", "--json"], capture_output=True, check=True).stdout)
    return [row for row in rows if not services or row["service"] in services]


class Server:
    """One server on one directory."""

    def __init__(self, home, extra_config="", dev=True, log="info", arguments=(), environment=None):
        self.home = pathlib.Path(home)
        self.data = self.home / "data"
        self.config = self.home / "tresor.toml"
        self.log = self.home / "server.log"
        self.config.write_text(CONFIG + extra_config)
        self.config.chmod(0o600)
        (self.home / "s3-policy.json").write_text(json.dumps(S3_POLICY))
        self.dev, self.level, self.arguments = dev, log, list(arguments)
        self.environment = environment or {}
        self.process = None
        self.endpoints = {}

    def start(self, timeout=60):
        (self.data / "endpoints.json").unlink(missing_ok=True)
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("TRESOR_", "AWS_"))}
        environment |= {"XDG_CONFIG_HOME": str(self.home / "config"), "TRESOR_LOG_FILTER": self.level} | self.environment
        command = [binary(), "serve", "--config", str(self.config), "--data-dir", str(self.data)]
        command += ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
        if self.dev:
            command += ["--dev", "--tls-listen", "127.0.0.1:0"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command + self.arguments, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + timeout
        while not (self.data / "endpoints.json").exists():
            assert self.process.poll() is None, f"the server ended: {self.log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, "the server did not become ready"
            time.sleep(0.01)
        self.endpoints = json.loads((self.data / "endpoints.json").read_text())
        return self

    def stop(self):
        """SIGTERM and the drain; the exit status must be 0."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.log.read_text()[-2000:]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def kms(self, who="main", **config):
        """A boto3 client for KMS that does not retry."""
        return self.client(who, service="kms", **config)

    def client(self, who="main", endpoint="http", service="s3", **config):
        """A boto3 client that does not retry."""
        _, key, secret = ACCOUNTS[who]
        settings = {"s3": {"addressing_style": "path"}, "retries": {"total_max_attempts": 1}, "max_pool_connections": 40}
        return boto3.client(
            service,
            endpoint_url=self.endpoints[endpoint],
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            region_name=REGION,
            verify=self.endpoints["ca"],
            config=Config(**(settings | config)),
        )

    def environment_of(self, who="main", endpoint="http"):
        """Variables for the aws CLI and other clients."""
        _, key, secret = ACCOUNTS[who]
        tools = pathlib.Path(sys.executable).parent
        return {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoints[endpoint],
            "AWS_CA_BUNDLE": self.endpoints["ca"],
            "AWS_PAGER": "",
        }

    def run(self, *command, who="main", endpoint="http"):
        """Runs a client to its end; its output. A failure shows what it said."""
        done = subprocess.run(command, env=self.environment_of(who, endpoint), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    def tresor(self, *arguments):
        """A command of the binary on this server's directory; its JSON."""
        command = [binary(), *arguments, "--data-dir", str(self.data), "--config", str(self.config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def blobs(self):
        return sorted(path for path in (self.data / "blobs").rglob("*") if path.is_file())
