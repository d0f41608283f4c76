"""Every operation of every API refuses who is not let in, as AWS refuses him, lets the account's root in, and leaves one audit event.

The rows are those of `tresor operations --json`; an operation that `minimal` has no request for fails."""

import collections
import datetime
import http.client
import json
import re
import time
import types
import urllib.parse
import xml.etree.ElementTree
from unittest import mock

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import test_post
from harness import ACCOUNTS, REGION, Server, operations
from identities import MAIN, OTHER, client_of, document, made_user
from minimal import S3_ABSENT, World

# Deprecated names of operations, whose requests are those of their successors.
TWINS = {"GetBucketLifecycle", "GetBucketNotification", "ListDirectoryBuckets", "PutBucketLifecycle", "PutBucketNotification"}
ROWS = [row for row in operations() if row["name"] not in TWINS]
ONES = [row for row in ROWS if row["implemented"]]
SIX = ("anonymous", "wrong", "expired", "disabled", "stranger", "foreigner")

# What a refusal says, by service and door: HTTP status and code.
IAM_REFUSES = {
    "anonymous": (403, "MissingAuthenticationToken"),
    "wrong": (403, "SignatureDoesNotMatch"),
    "expired": (403, "SignatureDoesNotMatch"),
    "disabled": (403, "InvalidClientTokenId"),
    "stranger": (403, "AccessDenied"),
    "foreigner": (403, "AccessDenied"),
}
JSON_REFUSES = {
    "anonymous": (400, "MissingAuthenticationTokenException"),
    "wrong": (400, "InvalidSignatureException"),
    "expired": (400, "InvalidSignatureException"),
    "disabled": (400, "UnrecognizedClientException"),
    "stranger": (400, "AccessDeniedException"),
    "foreigner": (400, "AccessDeniedException"),
    "foreign root": (400, "AccessDeniedException"),
}
REFUSES = {
    "s3": {
        "anonymous": (403, "AccessDenied"),
        "wrong": (403, "SignatureDoesNotMatch"),
        "expired": (403, "RequestTimeTooSkewed"),
        "disabled": (403, "InvalidAccessKeyId"),
        "stranger": (403, "AccessDenied"),
        "foreigner": (403, "AccessDenied"),
        "foreign root": (403, "AccessDenied"),
    },
    "kms": JSON_REFUSES,
    "cloudtrail": JSON_REFUSES,
    "iam": IAM_REFUSES,
    "sts": IAM_REFUSES,
}
# Doors that refuse in other words, or that AWS leaves open.
OPEN = {
    # It answers key by key: the refusals stand in the answer's body.
    ("s3", "DeleteObjects"): dict.fromkeys(("anonymous", "stranger", "foreigner", "foreign root"), (200, "AccessDenied")),
    # An alias is looked for in the caller's own account, and this one is not there.
    ("kms", "UpdateAlias"): {"foreigner": (400, "NotFoundException")},
    ("kms", "DeleteAlias"): {"foreigner": (400, "NotFoundException")},
    # "No permissions are required": it tells a caller who he is.
    ("sts", "GetCallerIdentity"): {"stranger": (200, None), "foreigner": (200, None)},
    # Needs no permission: it gives a user what he has.
    ("sts", "GetSessionToken"): {"stranger": (200, None), "foreigner": (200, None)},
    # "Does not require the use of AWS security credentials": the token is the proof, and this one is none.
    ("sts", "AssumeRoleWithWebIdentity"): dict.fromkeys(("anonymous", "stranger", "foreigner"), (400, "InvalidIdentityToken")),
}
# What the one who may everything is answered where it is no success.
ANSWERS = {("s3", name): code for name, code in S3_ABSENT.items()} | {
    ("sts", "AssumeRoleWithWebIdentity"): "InvalidIdentityToken",
}
# Roles may not be assumed by root accounts, and only a user can make a session for a guest.
BY_A_USER = {("sts", "AssumeRole"), ("sts", "GetFederationToken")}
# An operation that is not there says so by its name.
ABSENT = {
    "s3": (501, "NotImplemented"),
    "kms": (400, "UnsupportedOperationException"),
    "cloudtrail": (400, "UnsupportedOperationException"),
    "iam": (400, "InvalidAction"),
    "sts": (400, "InvalidAction"),
}


def send(server, request, credentials, at=None):
    """Signs a request, as if at another time, and sends it: status, code, request id."""
    base = urllib.parse.urlsplit(server.endpoints["http"])
    signed = AWSRequest(request.method, server.endpoints["http"] + request.path, headers=request.headers, data=request.body)
    if credentials is not None:
        signer = S3SigV4Auth if request.service == "s3" else SigV4Auth
        signed.context["payload_signing_enabled"] = True
        now = at or datetime.datetime.now(datetime.UTC)
        with mock.patch("botocore.auth.get_current_datetime", lambda: now):
            signer(credentials, request.service, REGION).add_auth(signed)
    connection = http.client.HTTPConnection(base.hostname, base.port, timeout=60)
    connection.request(request.method, request.path, body=request.body, headers=dict(signed.headers.items()))
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    said = code_of(body) if answer.status >= 300 or b"<Error>" in body else None
    return types.SimpleNamespace(status=answer.status, code=said, id=answer.headers["x-amz-request-id"], body=body)


def code_of(body):
    if not body:
        return None
    if body[:1] == b"{":
        return json.loads(body)["__type"]
    root = xml.etree.ElementTree.fromstring(body)
    return next(one.text for one in root.iter() if one.tag.rpartition("}")[2] == "Code")


class Doors:
    """All requests, sent once through every door, and the events that they left."""

    def __init__(self, server):
        self.server = server
        world, iam = World(server), server.client(service="iam")
        declared = {who: Credentials(*ACCOUNTS[who][1:]) for who in ("main", "carol", "dave", "other")}
        admin, gone = (made_user(iam, document("*")) for _ in range(2))
        late = iam.create_access_key(UserName=admin[0])["AccessKey"]
        iam.update_access_key(UserName=gone[0], AccessKeyId=gone[1]["AccessKeyId"], Status="Inactive")
        given = {who: Credentials(key["AccessKeyId"], key["SecretAccessKey"]) for who, key in (("admin", admin[1]), ("gone", gone[1]))}
        self.credentials = {
            "anonymous": None,
            "wrong": Credentials(given["admin"].access_key, "x" * 40),
            "expired": Credentials(late["AccessKeyId"], late["SecretAccessKey"]),
            "disabled": given["gone"],
            "stranger": declared["carol"],
            "foreigner": declared["dave"],
            "foreign root": declared["other"],
            "root": declared["main"],
            "admin": given["admin"],
        }
        self.arns = {
            "stranger": f"arn:aws:iam::{MAIN}:user/carol",
            "foreigner": f"arn:aws:iam::{OTHER}:user/dave",
            "foreign root": f"arn:aws:iam::{OTHER}:root",
            "root": f"arn:aws:iam::{MAIN}:root",
            "admin": f"arn:aws:iam::{MAIN}:user/{admin[0]}",
        }
        self.answers = {}
        for row in ROWS:
            place = (row["service"], row["name"])
            try:
                request = world.request(row)
            except Exception as error:  # The operation's own test tells it.
                self.answers[place] = error
                continue
            self.answers[place] = {door: self.through(door, request) for door in self.doors(row)}
        self.events = self.read()

    def doors(self, row):
        """In this order: the last one may change what the others are about."""
        if not row["implemented"]:
            return ("anonymous", "root")
        foreign = ("foreign root",) if names_a_resource(row) else ()
        return (*SIX, *foreign, "admin" if (row["service"], row["name"]) in BY_A_USER else "root")

    def through(self, door, request):
        hour = datetime.timedelta(hours=1)
        return send(self.server, request, self.credentials[door], datetime.datetime.now(datetime.UTC) - hour if door == "expired" else None)

    def read(self):
        """Events by request id, once those of the refused ones are there too: they come once a second."""
        wanted = {answer.id for answers in self.answers.values() if isinstance(answers, dict) for answer in answers.values()}
        deadline = time.monotonic() + 20
        while True:
            events = collections.defaultdict(list)
            for event in self.server.tresor("audit", "tail", "--lines", "10000"):
                events[event.get("requestID")].append(event)
            if wanted <= set(events) or time.monotonic() > deadline:
                return events
            time.sleep(0.2)

    def passed(self, row):
        """The answers to an operation's requests by door; fails if it has no request."""
        answers = self.answers[row["service"], row["name"]]
        if isinstance(answers, Exception):
            raise AssertionError(f"no minimal request can be made for {row['service']}:{row['name']}") from answers
        return answers

    def event(self, row, door):
        """The one event of a call; what S3 did with keys for it is told by events of KMS."""
        answer = self.passed(row)[door]
        source = f"{row['service']}.amazonaws.com"
        found = [event for event in self.events[answer.id] if event["eventSource"] == source]
        assert len(found) == 1, (row["name"], door, answer, found)
        return found[0]


def names_a_resource(row):
    """Whether a request names what it is about in a way that reaches into another account."""
    if row["service"] == "s3":
        return row["scope"] != "service" and row["name"] != "CreateBucket"
    own = ("CreateKey", "ListKeys", "ListAliases", "GenerateRandom", "ListRetirableGrants")
    # An alias is one of the caller's account.
    return row["service"] == "kms" and row["name"] not in (*own, "DeleteAlias", "UpdateAlias")


@pytest.fixture(scope="module")
def doors(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("doors"), extra_config='[audit]\ndata_events = "all"\n').start()
    yield Doors(server)
    server.stop()


def named(row):
    return f"{row['service']}-{row['name']}"


def expected(row, door):
    """Status and code that a door gives."""
    return OPEN.get((row["service"], row["name"]), {}).get(door) or REFUSES[row["service"]][door]


@pytest.mark.parametrize("row", ONES, ids=named)
def test_every_door_refuses_as_aws_does(doors, row):
    answers = doors.passed(row)
    refusals = [door for door in answers if door not in ("root", "admin")]
    assert set(SIX) <= set(refusals)
    told = {door: (answers[door].status, answers[door].code) for door in refusals}
    wanted = {door: expected(row, door) for door in refusals}
    if row["method"] == "HEAD":
        wanted = {door: (status, None) for door, (status, _) in wanted.items()}
    assert told == wanted


@pytest.mark.parametrize("row", ONES, ids=named)
def test_who_may_is_let_in_by_the_same_request(doors, row):
    answers = doors.passed(row)
    answer = answers.get("root") or answers["admin"]
    code = ANSWERS.get((row["service"], row["name"]))
    assert answer.code == code, answer.body
    assert (answer.status < 300) == (code is None), answer


@pytest.mark.parametrize("row", ONES, ids=named)
def test_every_call_leaves_one_event(doors, row):
    for door, answer in doors.passed(row).items():
        event = doors.event(row, door)
        assert event["eventName"] == row["name"], (door, event)
        assert event["sourceIPAddress"] == "127.0.0.1"
        if door in ("root", "admin"):
            wanted = ANSWERS.get((row["service"], row["name"]))
        else:
            wanted = expected(row, door)[1]
        # CloudTrail has one word for what the JSON services call AccessDeniedException.
        wanted = "AccessDenied" if wanted == "AccessDeniedException" else wanted
        assert event.get("errorCode") == wanted, (door, event)
        who, counted = event["userIdentity"], event.get("additionalEventData", {}).get("requestCount")
        if door in doors.arns:
            assert who["arn"] == doors.arns[door] and who["accessKeyId"] == doors.credentials[door].access_key
            assert event["recipientAccountId"] == who["accountId"] and counted is None
        elif door == "anonymous":
            assert who["type"] in ("AWSAccount", "Unknown") and "accessKeyId" not in who
            assert counted == 1, event
        else:
            # Whose key it was that was misused is told to its account.
            assert who == {"type": "Unknown", "accountId": MAIN, "accessKeyId": doors.credentials[door].access_key}
            assert counted == 1 and event["recipientAccountId"] == MAIN


@pytest.mark.parametrize("row", [row for row in ROWS if not row["implemented"]], ids=named)
def test_an_operation_that_is_not_there_says_so_to_who_is_known(doors, row):
    answers = doors.passed(row)
    stranger = REFUSES[row["service"]]["anonymous"]
    if (row["service"], row["name"]) == ("sts", "AssumeRoleWithSAML"):
        stranger = ABSENT["sts"]
    for door, (status, code) in (("anonymous", stranger), ("root", ABSENT[row["service"]])):
        answer, event = answers[door], doors.event(row, door)
        assert (answer.status, answer.code) == (status, None if row["method"] == "HEAD" else code), answer.body
        assert (event["eventName"], event["errorCode"]) == (row["name"], code)
    if row["method"] != "HEAD":
        assert row["name"].encode() in answers["root"].body


def test_no_event_holds_a_secret_and_a_signatures_time_is_told(doors):
    text = "".join(path.read_text() for path in (doors.server.data / "audit").glob("*.jsonl"))
    for credentials in doors.credentials.values():
        assert credentials is None or credentials.secret_key not in text
    assert "SecretAccessKey" not in text and "sessionToken" not in text
    signed = r"\d{8}T\d{6}Z"
    for service, name in (("iam", "ListUsers"), ("kms", "ListKeys"), ("cloudtrail", "LookupEvents")):
        said = doors.answers[service, name]["expired"].body.decode()
        assert re.search(rf"Signature expired: {signed} is now earlier than {signed} \({signed} - 15 min\.\)", said), said
    log = doors.server.log.read_text()
    assert "panicked" not in log


def test_a_form_refuses_by_its_own_signature(doors):
    """The policy in a form is signed instead of its request."""
    server, bucket = doors.server, "doors-forms"
    server.client().create_bucket(Bucket=bucket)

    def sent(door, expires=600, broken=False):
        signer = client_of(server, "s3", by_names(doors.credentials[door]), signature_version="s3v4")
        fields = test_post.presign(signer, bucket, f"by-{door}-{expires}-{broken}", expires=expires)
        if broken:
            fields = [(name, "0" * 64 if name.lower() == "x-amz-signature" else value) for name, value in fields]
        return test_post.send(server, bucket, test_post.form(fields))

    late = {"expires": -600}
    answers = {
        ("root", None): sent("root"),
        ("root", "SignatureDoesNotMatch"): sent("root", broken=True),
        ("expired", "AccessDenied"): sent("expired", **late),
        ("disabled", "InvalidAccessKeyId"): sent("disabled"),
        ("stranger", "AccessDenied"): sent("stranger"),
        ("foreigner", "AccessDenied"): sent("foreigner"),
    }
    for (door, code), answer in answers.items():
        assert (answer.status, answer.error.get("Code")) == ((204, None) if code is None else (403, code)), (door, answer)
    listed = server.client().list_objects_v2(Bucket=bucket)["Contents"]
    assert [one["Key"] for one in listed] == ["by-root-600-False"]
    ids = {answer.headers["x-amz-request-id"] for answer in answers.values()}
    deadline = time.monotonic() + 10
    while not ids <= {event["requestID"] for event in server.tresor("audit", "search", "--event", "PostObject", "--lines", "1000")}:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    events = {event["requestID"]: event for event in server.tresor("audit", "search", "--event", "PostObject", "--lines", "1000")}
    for (door, code), answer in answers.items():
        event = events[answer.headers["x-amz-request-id"]]
        assert event.get("errorCode") == code and event["requestParameters"]["key"].startswith(f"by-{door}")
        assert event["userIdentity"]["accessKeyId"] == doors.credentials[door].access_key
        known = code not in ("SignatureDoesNotMatch", "InvalidAccessKeyId")
        assert (event["userIdentity"]["type"] != "Unknown") == known, event


def by_names(credentials):
    return {"AccessKeyId": credentials.access_key, "SecretAccessKey": credentials.secret_key}


def test_refused_calls_are_counted_by_what_they_have_in_common(doors):
    server = doors.server
    request = World(server).request(next(row for row in ROWS if row["name"] == "ListUsers"))
    ids = {doors.through(door, request).id for door in ("anonymous", "wrong", "disabled") for _ in range(20)}
    deadline = time.monotonic() + 10
    while True:
        events = server.tresor("audit", "search", "--event", "ListUsers", "--lines", "1000")
        counted = collections.Counter()
        for event in events:
            if event["requestID"] in ids:
                counted[event["errorCode"], event["userIdentity"].get("accessKeyId")] += event["additionalEventData"]["requestCount"]
        wanted = {
            ("MissingAuthenticationToken", None): 20,
            ("SignatureDoesNotMatch", doors.credentials["wrong"].access_key): 20,
            ("InvalidClientTokenId", doors.credentials["disabled"].access_key): 20,
        }
        if counted == wanted:
            break
        assert time.monotonic() < deadline, counted
        time.sleep(0.2)
