"""`tresor policy` judges files without a server."""

import json
import pathlib
import subprocess

from harness import binary

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
