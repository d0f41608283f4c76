"""`tresor policy` judges files without a server, and explains by what a server has stored."""

import json
import pathlib
import subprocess

import pytest
from botocore.exceptions import ClientError

from harness import ACCOUNTS, KEY_ARN, KEY_ID, Server, binary

ROOT = pathlib.Path(__file__).parent.parent
CASES = ROOT / "tests/cases/policy_cases.json"


def policy(*arguments):
    return subprocess.run([binary(), "policy", *map(str, arguments)], capture_output=True, text=True, timeout=60)


def test_check_runs_every_case_and_says_so_last(tmp_path):
    cases = json.loads(CASES.read_text())
    done = policy("check", CASES)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"{len(cases['cases'])} passed, 0 failed"), done.stdout
    cases["cases"][0]["expect"] = "explicit_deny"
    cases["cases"].append({"id": "NEW-1", "kind": "ticket", "policy": {}, "expect": "reject"})
    file = tmp_path / "cases.json"
    file.write_text(json.dumps(cases))
    done = policy("check", file)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, f"{len(cases['cases']) - 2} passed, 2 failed")
    assert [line.split(":")[0] for line in done.stdout.splitlines()[:2]] == [cases["cases"][0]["id"], "NEW-1"]


def test_an_unreadable_file_exits_with_2(tmp_path):
    (tmp_path / "cases.json").write_text("{")
    for file in (tmp_path / "cases.json", tmp_path / "missing.json", tmp_path):
        assert policy("check", file).returncode == 2, file


def test_explain_names_the_statement_and_what_it_saw(tmp_path):
    case = next(case for case in json.loads(CASES.read_text())["cases"] if case["id"] == "ENC-02")
    file = tmp_path / "case.json"
    file.write_text(json.dumps(case))
    told = json.loads(policy("explain", file).stdout)
    assert (told["decision"], told["decided_by"]["statement"]["sid"]) == ("explicit_deny", "WrongHeader")
    assert told["decided_by"]["statement"]["conditions"][0]["saw"] == ["aws:kms"]


def test_lint_shows_what_passes(tmp_path):
    told = policy("lint", ROOT / "config/policies/require-sse-kms.json").stdout
    assert "warning: statement 1 (DenyOtherEncryption): requests without the header are refused" in told
    assert [line.split()[-4:] for line in told.splitlines() if line.startswith("  aws:kms, this key")] == [["passes"] * 4] * 2
    assert [line.split()[-4:] for line in told.splitlines() if line.startswith("  AES256")] == [["refused"] * 4] * 2
    bad = tmp_path / "bad.json"
    bad.write_text('{"Statement":[]}')
    done = policy("lint", bad)
    assert done.returncode == 2 and "Statement is empty" in done.stderr


def explain(server, *arguments):
    return server.tresor("policy", "explain", *arguments)


def test_explain_asks_what_a_running_server_has_stored(server, tmp_path):
    """The aws CLI puts a bucket policy; the statement that decides is named by its Sid, with the values it saw."""
    account = ACCOUNTS["main"][0]
    s3 = server.client()
    s3.create_bucket(Bucket="explained")
    # aws/s3 is made with its first use, and before that there is no key to ask.
    s3.put_object(Bucket="explained", Key="first", Body=b"x", ServerSideEncryption="aws:kms")
    s3.put_object(Bucket="explained", Key="k", Body=b"x", Tagging="team=red")
    document = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "OnlyKms",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:PutObject",
                "Resource": "arn:aws:s3:::explained/*",
                "Condition": {"StringNotEquals": {"s3:x-amz-server-side-encryption": "aws:kms"}},
            },
            {
                "Sid": "CarolReadsRed",
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{account}:user/carol"},
                "Action": "s3:GetObject",
                "Resource": "arn:aws:s3:::explained/*",
                "Condition": {"StringEquals": {"s3:ExistingObjectTag/team": "red"}},
            },
        ],
    }
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(document))
    server.run("aws", "s3api", "put-bucket-policy", "--bucket", "explained", "--policy", f"file://{file}")

    put = ["--action", "s3:PutObject", "--resource", "arn:aws:s3:::explained/k"]
    told = explain(server, "--principal", "alice", *put, "--header", "x-amz-server-side-encryption=AES256")
    assert (told["decision"], told["decided_by"]["statement"]["sid"]) == ("explicit_deny", "OnlyKms")
    assert told["decided_by"]["statement"]["conditions"][0]["saw"] == ["AES256"]
    assert told["request"]["principal"] == f"arn:aws:iam::{account}:user/alice"
    told = explain(server, "--principal", "alice", *put, "--header", "x-amz-server-side-encryption=aws:kms")
    assert (told["decision"], told["decided_by"]["policy"]) == ("allow", "identity-based policy")

    # S3 asks the key too, on her behalf: its policy hands over to the account, and alice's own policy is about S3 alone.
    mine = server.client("alice", endpoint="https")
    for headers, asked, bound_to in [
        (["x-amz-server-side-encryption=aws:kms"], {"ServerSideEncryption": "aws:kms"}, "arn:aws:s3:::explained/k"),
        (
            ["x-amz-server-side-encryption=aws:kms", "x-amz-server-side-encryption-aws-kms-key-id=alias/test"],
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/test"},
            "arn:aws:s3:::explained/k",
        ),
        (
            [f"x-amz-server-side-encryption-aws-kms-key-id={KEY_ID}", "x-amz-server-side-encryption=aws:kms", "x-amz-server-side-encryption-bucket-key-enabled=true"],
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KEY_ID, "BucketKeyEnabled": True},
            "arn:aws:s3:::explained",
        ),
    ]:
        told = explain(server, "--principal", "alice", *put, *(word for header in headers for word in ("--header", header)))
        key = told["also_needed"]
        assert key["request"]["action"] == "kms:GenerateDataKey" and told["decision"] == "allow"
        assert key["request"]["context"]["kms:viaservice"] == ["s3.us-east-1.amazonaws.com"]
        assert key["request"]["context"]["kms:encryptioncontext:aws:s3:arn"] == [bound_to]
        # The key of aws/s3 is for everyone in the account who comes by S3.
        managed = "SSEKMSKeyId" not in asked
        assert key["decision"] == ("allow" if managed else "implicit_deny"), key
        if managed:
            mine.put_object(Bucket="explained", Key="k", Body=b"x", Tagging="team=red", **asked)
        else:
            with pytest.raises(ClientError, match="kms:GenerateDataKey"):
                mine.put_object(Bucket="explained", Key="k", Body=b"x", **asked)
    told = explain(server, "--principal", "alice", "--action", "s3:GetObject", "--resource", "arn:aws:s3:::explained/k")
    assert (told["also_needed"]["request"]["action"], told["also_needed"]["decision"]) == ("kms:Decrypt", "allow")

    # The first two uploads, by alice herself.
    with pytest.raises(ClientError, match="explicit deny in a resource-based policy"):
        mine.put_object(Bucket="explained", Key="k", Body=b"y", ServerSideEncryption="AES256")

    # Tags of the stored object, a caller without policies, somebody of another account, nobody.
    get = ["--action", "s3:GetObject", "--resource", "arn:aws:s3:::explained/k"]
    told = explain(server, "--principal", f"arn:aws:iam::{account}:user/carol", *get)
    assert (told["decision"], told["decided_by"]["statement"]["sid"]) == ("allow", "CarolReadsRed")
    assert told["decided_by"]["statement"]["conditions"][0]["saw"] == ["red"]
    for who in (f"arn:aws:iam::{ACCOUNTS['other'][0]}:user/dave", "anonymous"):
        assert explain(server, "--principal", who, *get)["decision"] == "implicit_deny", who
    assert explain(server, "--principal", account, *get)["because"] == "the account's root may"
    # A policy that has changed counts at once.
    s3.delete_bucket_policy(Bucket="explained")
    assert explain(server, "--principal", "carol", *get)["decided_by"] is None

    # A key: carol has no policy, and the key's hands over to the account.
    told = explain(server, "--principal", "carol", "--action", "kms:Decrypt", "--resource", "alias/test")
    assert (told["decision"], told["request"]["resource"]) == ("implicit_deny", KEY_ARN)
    grant = server.kms().create_grant(KeyId=KEY_ID, GranteePrincipal=f"arn:aws:iam::{account}:user/carol", Operations=["Decrypt"])
    told = explain(server, "--principal", "carol", "--action", "kms:Decrypt", "--resource", "alias/test")
    assert (told["decision"], told["because"]) == ("allow", "a grant or an access control list allows it")
    server.kms().revoke_grant(KeyId=KEY_ID, GrantId=grant["GrantId"])

    for arguments, said in [
        (["--principal", "nobody", *get], "there is no"),
        (["--principal", "carol", "--action", "s3:GetObject", "--resource", "arn:aws:s3:::not-there/k"], "there is no bucket"),
        (["--principal", "carol", "--action", "kms:Nothing", "--resource", "alias/test"], "has no action"),
    ]:
        done = policy("explain", *arguments, "--config", server.config, "--data-dir", server.data)
        assert done.returncode == 1 and said in done.stderr, (arguments, done.stderr)


def test_explain_opens_the_directory_of_a_stopped_server(tmp_path):
    server = Server(tmp_path).start()
    server.client().create_bucket(Bucket="quiet")
    server.stop()
    (key,) = (server.home / "config/tresor").glob("*.root-key")
    question = ["--principal", "alice", "--action", "s3:ListBucket", "--resource", "arn:aws:s3:::quiet"]
    told = explain(server, *question, "--dev", "--root-key-file", str(key))
    assert (told["decision"], told["decided_by"]["policy"]) == ("allow", "identity-based policy")
