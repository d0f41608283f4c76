"""The audit trail: what is recorded, that it holds no secret, and that every change of it is found and named."""

import json
import os
import shutil
import subprocess
import time

import pytest
from botocore.exceptions import ClientError

from harness import ACCOUNTS, KEY_ARN, Server, binary
from identities import MAIN, client_of, document, made_user, trust

SETTINGS = """
[audit]
data_events = "all"
"""


@pytest.fixture
def server(tmp_path):
    (tmp_path / "s").mkdir()
    running = Server(tmp_path / "s", extra_config=SETTINGS)
    return running.start()


def events(server, **search):
    words = [word for name, value in search.items() for word in (f"--{name}", value)]
    return server.tresor("audit", "search", *words)


def test_every_kind_of_call_leaves_its_event(server):
    kms, s3 = server.kms(), server.client()
    secret = b"a plaintext that must never be in the trail"
    arn = kms.create_key(Description="audited")["KeyMetadata"]["Arn"]
    blob = kms.encrypt(KeyId=arn, Plaintext=secret, EncryptionContext={"app": "a"})["CiphertextBlob"]
    data_key = kms.generate_data_key(KeyId=arn, KeySpec="AES_256")
    with pytest.raises(ClientError):
        kms.decrypt(CiphertextBlob=blob)
    s3.create_bucket(Bucket="audited")
    under = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": arn}
    s3.put_object(Bucket="audited", Key="old", Body=b"x" * 5, **under)
    s3.put_object(Bucket="audited", Key="gone", Body=b"x" * 5, **under)
    kms.rotate_key_on_demand(KeyId=arn)
    s3.put_object(Bucket="audited", Key="new", Body=b"x" * 70_000, BucketKeyEnabled=True, **under)
    s3.delete_object(Bucket="audited", Key="gone")
    assert server.tresor("keys", "impact", arn) == {"KeyId": arn, "Objects": 2, "Bytes": 70_005}
    kms.schedule_key_deletion(KeyId=arn)
    s3.put_object(Bucket="audited", Key="k", Body=secret, ServerSideEncryption="aws:kms", SSEKMSKeyId=KEY_ARN)
    s3.get_object(Bucket="audited", Key="k")["Body"].read()
    for _ in range(3):
        s3.put_object(Bucket="audited", Key="b", Body=secret, ServerSideEncryption="aws:kms", SSEKMSKeyId=KEY_ARN, BucketKeyEnabled=True)
    with pytest.raises(ClientError):
        server.client("alice").get_object(Bucket="audited", Key="k")

    made = events(server, event="CreateKey")[-1]
    assert made["eventSource"] == "kms.amazonaws.com" and made["readOnly"] is False and made["managementEvent"] is True
    assert made["userIdentity"]["type"] == "Root" and made["userIdentity"]["accountId"] == ACCOUNTS["main"][0]
    assert made["resources"] == [{"accountId": ACCOUNTS["main"][0], "type": "AWS::KMS::Key", "ARN": arn}]
    assert made["requestParameters"] == {"description": "audited"} and made["sourceIPAddress"] == "127.0.0.1"
    sealed = events(server, event="Encrypt")[-1]
    assert sealed["requestParameters"] == {"keyId": arn, "encryptionContext": {"app": "a"}} and sealed["readOnly"] is True
    assert events(server, event="Decrypt", text="InvalidCiphertextException")[-1]["errorCode"] == "InvalidCiphertextException"
    planned = events(server, event="ScheduleKeyDeletion")[-1]
    assert planned["readOnly"] is False and planned["additionalEventData"] == {"dependentObjects": 2, "dependentBytes": 70_005}

    by_s3 = [event for event in events(server, event="GenerateDataKey") if event["userIdentity"].get("invokedBy") and KEY_ARN in str(event)]
    assert by_s3[0]["sourceIPAddress"] == "s3.amazonaws.com" and by_s3[0]["resources"][0]["ARN"] == KEY_ARN
    assert by_s3[0]["requestParameters"]["encryptionContext"] == {"aws:s3:arn": "arn:aws:s3:::audited/k"}
    # Three writes under a bucket key are one use of the KMS key.
    assert [event["requestParameters"]["encryptionContext"]["aws:s3:arn"] for event in by_s3] == ["arn:aws:s3:::audited/k", "arn:aws:s3:::audited"]
    refused = events(server, event="Decrypt", text="user/alice")[-1]
    assert refused["errorCode"] == "AccessDenied" and refused["userIdentity"]["userName"] == "alice"
    put = [event for event in events(server, event="PutObject") if event["requestParameters"]["key"] == "k"][0]
    assert put["eventCategory"] == "Data" and {"type": "AWS::S3::Object", "accountId": None, "ARN": "arn:aws:s3:::audited/k"} in put["resources"]
    assert server.tresor("audit", "verify")["last"] >= 15
    server.stop()
    for path in (server.data / "audit").iterdir():
        text = path.read_bytes()
        assert secret not in text and data_key["Plaintext"] not in text
        assert ACCOUNTS["main"][2].encode() not in text


def test_refused_strangers_are_counted_not_listed(server):
    import urllib.error
    import urllib.request

    for _ in range(50):
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(server.endpoints["http"] + "/nothing/here")
    deadline = time.monotonic() + 10
    while True:
        found = [event for event in events(server, event="GetObject") if "additionalEventData" in event]
        if sum(event["additionalEventData"]["requestCount"] for event in found) == 50:
            break
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    assert len(found) <= 5
    server.stop()


def verify(server):
    command = [binary(), "audit", "verify", "--data-dir", str(server.data), "--config", str(server.config), "--dev"]
    environment = {"XDG_CONFIG_HOME": str(server.home / "config"), "PATH": "/usr/bin:/bin", "HOME": str(server.home)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


def test_every_change_is_found_and_named(server, tmp_path):
    kms = server.kms()
    for _ in range(2):
        for n in range(20):
            kms.generate_random(NumberOfBytes=4)
        server.stop()
        server.start()
        kms = server.kms()
    server.stop()
    done = verify(server)
    # The configuration's key and its alias are the first two.
    assert done.returncode == 0 and json.loads(done.stdout)["last"] == 42, done.stderr
    honest = tmp_path / "honest"
    shutil.copytree(server.data, honest)
    (file,) = (server.data / "audit").glob("*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)

    def broken(changed, where):
        shutil.rmtree(server.data)
        shutil.copytree(honest, server.data)
        file.write_bytes(b"".join(changed))
        done = verify(server)
        assert done.returncode != 0 and "the audit trail is broken" in done.stderr, done
        assert where in done.stderr, done.stderr

    name = file.name
    broken([*lines[:6], lines[6].replace(b"GenerateRandom", b"GenerateRandon"), *lines[7:]], f"{name}, line 8:")
    broken([*lines[:6], lines[7], lines[6], *lines[8:]], f"{name}, line 7:")
    broken([*lines[:6], *lines[7:]], f"{name}, line 7:")
    broken([*lines[:20], lines[19], *lines[20:]], f"{name}, line 21:")
    # A cut tail: the digest and the store remember what is gone, also after the server went on.
    broken(lines[:-3], name)
    server.start()
    server.kms().generate_random(NumberOfBytes=4)
    server.stop()
    assert verify(server).returncode != 0


def test_figures_name_operations_encryption_and_keys(server):
    import urllib.request

    kms, s3 = server.kms(), server.client()
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    s3.create_bucket(Bucket="figures")
    s3.put_object(Bucket="figures", Key="k", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=arn)
    kms.schedule_key_deletion(KeyId=arn)
    with pytest.raises(ClientError):
        s3.get_object(Bucket="figures", Key="k")
    s3.put_object(Bucket="figures", Key="large", Body=b"x" * 100_000)
    s3.delete_object(Bucket="figures", Key="large")

    def collected():
        text = urllib.request.urlopen(server.endpoints["admin"] + "/metrics").read().decode()
        return "tresor_storage_blobs_removed_total 1" in text and "tresor_collector_rows_total 1" in text

    deadline = time.monotonic() + 30
    while not collected():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    text = urllib.request.urlopen(server.endpoints["admin"] + "/metrics").read().decode()
    assert 'tresor_requests_total{service="s3",operation="PutObject",status="200",sse="SSE-KMS"} 1' in text
    assert 'tresor_requests_total{service="s3",operation="GetObject",status="400",sse=""} 1' in text
    assert f'tresor_kms_calls_total{{key="{arn}",operation="GenerateDataKey",outcome="Success"}} 1' in text
    assert f'tresor_kms_calls_total{{key="{arn}",operation="Decrypt",outcome="PendingDeletion"}} 1' in text
    assert 'tresor_request_seconds_bucket{le="0.5",service="kms",operation="CreateKey"} 1' in text
    assert 'tresor_keys{state="PendingDeletion"} 1' in text and 'tresor_keys{state="Enabled"} 1' in text
    assert "tresor_storage_inline_writes_total 1" in text and "tresor_storage_blob_writes_total 1" in text
    assert "tresor_storage_blob_bytes_total 100032" in text
    assert "tresor_collector_waiting 0" in text and "tresor_collector_errors_total 0" in text
    assert 'tresor_secret_memory_bytes{locked="yes"} ' in text
    server.stop()


def test_an_acknowledged_change_has_its_record_after_a_kill(server):
    """Every change of a key and of S3 is in the trail exactly once, however soon after the answer the process dies."""

    def killed(kind, text=None):
        server.kill()
        server.start()
        found = events(server, event=kind, **({"text": text} if text else {}))
        assert len(found) == 1, (kind, found)
        assert "errorCode" not in found[0]
        return found[0]

    for n in range(3):
        arn = server.kms().create_key(Description=f"number {n}")["KeyMetadata"]["Arn"]
        made = killed("CreateKey", arn)
        assert made["resources"] == [{"accountId": ACCOUNTS["main"][0], "type": "AWS::KMS::Key", "ARN": arn}]
    server.kms().schedule_key_deletion(KeyId=arn)
    planned = killed("ScheduleKeyDeletion", arn)
    assert planned["additionalEventData"] == {"dependentObjects": 0, "dependentBytes": 0}

    server.client().create_bucket(Bucket="killed")
    killed("CreateBucket", "killed")
    for size in (10, 100_000):
        server.client().put_object(Bucket="killed", Key=f"of-{size}", Body=b"x" * size)
        assert killed("PutObject", f"of-{size}")["requestParameters"] == {"bucketName": "killed", "key": f"of-{size}"}
    server.client().put_object_tagging(Bucket="killed", Key="of-10", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    killed("PutObjectTagging")
    upload = server.client().create_multipart_upload(Bucket="killed", Key="parts")["UploadId"]
    killed("CreateMultipartUpload")
    part = server.client().upload_part(Bucket="killed", Key="parts", UploadId=upload, PartNumber=1, Body=b"p" * 10)
    killed("UploadPart")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    server.client().complete_multipart_upload(Bucket="killed", Key="parts", UploadId=upload, MultipartUpload=parts)
    killed("CompleteMultipartUpload")
    other = server.client().create_multipart_upload(Bucket="killed", Key="other")["UploadId"]
    server.client().abort_multipart_upload(Bucket="killed", Key="other", UploadId=other)
    killed("AbortMultipartUpload")
    for key in ("of-10", "of-100000"):
        server.client().delete_object(Bucket="killed", Key=key)
        killed("DeleteObject", key)
    server.client().delete_objects(Bucket="killed", Delete={"Objects": [{"Key": "parts"}, {"Key": "never"}]})
    killed("DeleteObjects")
    server.client().delete_bucket(Bucket="killed")
    killed("DeleteBucket", "killed")
    # A second kill in a row changes nothing, and the outbox is empty in the end.
    killed("DeleteBucket", "killed")
    deadline = time.monotonic() + 10
    while pending(server) != 0:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert server.tresor("audit", "verify")["last"] >= 15
    server.stop()
    assert verify(server).returncode == 0


def pending(server):
    import urllib.request

    text = urllib.request.urlopen(server.endpoints["admin"] + "/metrics").read().decode()
    assert "tresor_audit_failures_total 0" in text
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("tresor_audit_pending ")))


def test_an_event_about_data_tells_of_its_transfer(server):
    s3 = server.client()
    s3.create_bucket(Bucket="told")
    s3.put_object(Bucket="told", Key="plain", Body=b"x" * 1234)
    s3.put_object(Bucket="told", Key="kms", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=KEY_ARN)
    s3.get_object(Bucket="told", Key="plain", Range="bytes=0-99")["Body"].read()
    put = events(server, event="PutObject", text="plain")[0]
    told = put["additionalEventData"]
    assert told["SignatureVersion"] == "SigV4" and told["AuthenticationMethod"] == "AuthHeader"
    assert told["bytesTransferredIn"] == 1234 and told["bytesTransferredOut"] == 0
    assert told["SSEApplied"] == "Default_SSE_S3" and put["responseElements"] == {"x-amz-server-side-encryption": "AES256"}
    assert len(put["eventID"]) == 36 and "tlsDetails" not in put
    kms = events(server, event="PutObject", text=KEY_ARN)[0]
    assert kms["additionalEventData"]["SSEApplied"] == "SSE_KMS"
    assert kms["responseElements"]["x-amz-server-side-encryption-aws-kms-key-id"] == KEY_ARN
    got = events(server, event="GetObject")[0]
    assert got["additionalEventData"]["bytesTransferredOut"] == 100 and got["responseElements"] is None
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "told", "Key": "plain"})
    import urllib.request

    urllib.request.urlopen(url).read()
    assert events(server, event="GetObject")[-1]["additionalEventData"]["AuthenticationMethod"] == "QueryString"
    server.stop()


def looked_up(client, **search):
    pages = client.get_paginator("lookup_events").paginate(**search)
    return [event for page in pages for event in page["Events"]]


def by(key, value):
    return {"LookupAttributes": [{"AttributeKey": key, "AttributeValue": value}]}


def test_events_are_looked_up_over_cloudtrail(server):
    trail, kms, s3 = server.client(service="cloudtrail"), server.kms(), server.client()
    before = time.time()
    arn = kms.create_key(Description="looked up")["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName="alias/looked-up", TargetKeyId=arn)
    s3.create_bucket(Bucket="looked-up")
    s3.put_object(Bucket="looked-up", Key="data", Body=b"x")
    server.kms("other").create_key(Description="of another account")
    with pytest.raises(ClientError):
        server.kms("alice").disable_key(KeyId=arn)

    everything = looked_up(trail)
    assert [event["EventName"] for event in everything[:4]] == ["DisableKey", "CreateBucket", "CreateAlias", "CreateKey"]
    assert all(event["EventName"] not in ("PutObject", "LookupEvents") for event in everything)
    assert "of another account" not in str(everything)
    made = everything[3]
    whole = json.loads(made["CloudTrailEvent"])
    assert made["EventId"] == whole["eventID"] and whole["requestParameters"] == {"description": "looked up"}
    assert made["Username"] == "root" and made["ReadOnly"] == "false" and made["EventSource"] == "kms.amazonaws.com"
    assert made["AccessKeyId"] == ACCOUNTS["main"][1]
    assert made["Resources"] == [{"ResourceType": "AWS::KMS::Key", "ResourceName": arn}]
    assert abs(made["EventTime"].timestamp() - before) < 60

    def names(**search):
        return [event["EventName"] for event in looked_up(trail, **search)]

    assert names(**by("EventId", made["EventId"])) == ["CreateKey"]
    assert names(**by("EventName", "CreateBucket")) == ["CreateBucket"]
    assert names(**by("Username", "alice")) == ["DisableKey"]
    assert names(**by("AccessKeyId", ACCOUNTS["alice"][1])) == ["DisableKey"]
    assert names(**by("ResourceName", "looked-up")) == ["CreateBucket"]
    assert names(**by("ResourceName", arn)) == ["DisableKey", "CreateAlias", "CreateKey"]
    assert names(**by("ResourceType", "AWS::S3::Bucket")) == ["CreateBucket"]
    assert names(**by("EventSource", "s3.amazonaws.com")) == ["CreateBucket"]
    assert set(names(**by("ReadOnly", "true"))) == {"LookupEvents"}
    assert names(StartTime=before + 3600) == [] and names(EndTime=before - 3600) == []
    assert trail.lookup_events(EventCategory="insight")["Events"] == []

    # Pages stay where they are while new events come.
    pages, token = [], None
    while True:
        page = trail.lookup_events(MaxResults=1, **by("EventSource", "kms.amazonaws.com"), **({"NextToken": token} if token else {}))
        pages += [event["EventId"] for event in page["Events"]]
        kms.list_keys()
        if not (token := page.get("NextToken")):
            break
    assert len(pages) == len(set(pages)) and made["EventId"] in pages

    out = json.loads(server.run("aws", "cloudtrail", "lookup-events", "--lookup-attributes", "AttributeKey=EventName,AttributeValue=CreateKey", "--max-items", "1"))
    assert out["Events"][0]["EventId"] == made["EventId"]
    server.stop()


def test_lookups_that_are_refused(server):
    trail = server.client(service="cloudtrail", parameter_validation=False)

    def refused(client, code, operation="lookup_events", **request):
        with pytest.raises(ClientError) as error:
            getattr(client, operation)(**request)
        assert error.value.response["Error"]["Code"] == code, error.value
        return error.value.response["Error"]["Message"]

    refused(trail, "InvalidMaxResultsException", MaxResults=51)
    refused(trail, "InvalidTimeRangeException", StartTime=2_000_000_000, EndTime=1_000_000_000)
    refused(trail, "InvalidLookupAttributesException", **by("Color", "red"))
    refused(trail, "InvalidLookupAttributesException", LookupAttributes=by("EventName", "a")["LookupAttributes"] * 2)
    refused(trail, "InvalidNextTokenException", NextToken="AAAA")
    refused(trail, "InvalidEventCategoryException", EventCategory="data")
    assert refused(trail, "UnsupportedOperationException", "describe_trails") == "DescribeTrails is not supported."
    text = refused(server.client("alice", service="cloudtrail"), "AccessDeniedException")
    arn = f"arn:aws:iam::{ACCOUNTS['main'][0]}:user/alice"
    action = "cloudtrail:LookupEvents"
    assert text == f"User: {arn} is not authorized to perform: {action} because no identity-based policy allows the {action} action"
    server.stop()


def test_events_of_identities_tell_what_they_touch_and_what_they_gave(server):
    iam = server.client(service="iam")
    user, key = made_user(iam, document("sts:AssumeRole"))
    iam.tag_user(UserName=user, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    role = iam.create_role(RoleName="told", AssumeRolePolicyDocument=trust({"AWS": MAIN}))["Role"]["Arn"]
    policy = iam.create_policy(PolicyName="told", PolicyDocument=document())["Policy"]["Arn"]
    iam.attach_user_policy(UserName=user, PolicyArn=policy)
    given = client_of(server, "sts", key).assume_role(RoleArn=role, RoleSessionName="work", DurationSeconds=900, ExternalId="word")
    credentials, arn = given["Credentials"], f"arn:aws:iam::{MAIN}:user/{user}"
    about = lambda kind, arn: [{"type": f"AWS::IAM::{kind}", "accountId": MAIN, "ARN": arn}]

    def told(name):
        event = events(server, event=name)[-1]
        return event["requestParameters"], event["responseElements"], event["resources"]

    asked, gave, touched = told("CreateUser")
    assert asked == {"userName": user} and gave["user"]["arn"] == arn and gave["user"]["userId"].startswith("AIDA")
    assert touched == about("User", arn)
    shown = {"userName": user, "accessKeyId": key["AccessKeyId"], "status": "Active"}
    assert told("CreateAccessKey") == ({"userName": user}, {"accessKey": shown}, about("User", arn))
    assert told("TagUser") == ({"userName": user, "tags": [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]}, None, about("User", arn))
    assert told("PutUserPolicy")[0] == {"userName": user, "policyName": "p0", "policyDocument": document("sts:AssumeRole")}
    assert told("AttachUserPolicy")[0] == {"userName": user, "policyArn": policy}
    assert told("CreatePolicy")[1:] == ({"policy": {"policyName": "told", "policyId": told("CreatePolicy")[1]["policy"]["policyId"], "arn": policy, "path": "/"}}, about("Policy", policy))
    asked, gave, touched = told("AssumeRole")
    assert asked == {"roleArn": role, "roleSessionName": "work", "durationSeconds": 900, "externalId": "word"}
    assert set(gave["credentials"]) == {"accessKeyId", "expiration"} and gave["credentials"]["accessKeyId"] == credentials["AccessKeyId"]
    assert gave["assumedRoleUser"] == {"arn": given["AssumedRoleUser"]["Arn"], "assumedRoleId": given["AssumedRoleUser"]["AssumedRoleId"]}
    assert touched == about("Role", role)
    # LookupEvents finds them by what they touched, after a kill too: the record of a change names it.
    server.kill()
    server.start()
    found = looked_up(server.client(service="cloudtrail"), **by("ResourceName", arn))
    assert {"CreateUser", "CreateAccessKey", "TagUser", "AttachUserPolicy"} <= {event["EventName"] for event in found}
    server.stop()
    text = "".join(path.read_text() for path in (server.data / "audit").iterdir())
    for secret in (key["SecretAccessKey"], credentials["SecretAccessKey"], credentials["SessionToken"]):
        assert secret not in text


def test_users_of_the_command_line_leave_events(server, tmp_path):
    policy = tmp_path / "policy.json"
    policy.write_text(document("s3:*"))
    made = server.tresor("user", "add", "dora", "--policy", str(policy))
    again = [binary(), "user", "add", "dora", "--data-dir", str(server.data), "--config", str(server.config)]
    assert subprocess.run(again, capture_output=True, timeout=60).returncode != 0
    server.tresor("user", "disable", "dora")
    server.stop()
    # Without a server the command line changes the store itself; the trail has it at the next start.
    command = [binary(), "user", "remove", "dora", "--dev", "--data-dir", str(server.data), "--config", str(server.config)]
    environment = os.environ | {"XDG_CONFIG_HOME": str(server.home / "config")}
    subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60)
    server.start()
    found = [event for event in events(server, text="dora") if event["eventSource"] == "iam.amazonaws.com"]
    told = [(event["eventName"], event.get("errorCode")) for event in found]
    assert told == [
        ("CreateUser", None),
        ("PutUserPolicy", None),
        ("CreateAccessKey", None),
        ("CreateUser", "CommandFailed"),
        ("UpdateAccessKey", None),
        ("DeleteUser", None),
    ]
    arn = f"arn:aws:iam::{MAIN}:user/dora"
    for event in found:
        assert event["userIdentity"]["arn"] == f"arn:aws:iam::{MAIN}:root" and event["userAgent"] == "tresor"
        assert event["resources"] == [{"type": "AWS::IAM::User", "accountId": MAIN, "ARN": arn}]
    assert found[2]["responseElements"] == {"accessKey": {"userName": "dora", "accessKeyId": made["AccessKeyId"], "status": "Active"}}
    assert found[4]["requestParameters"] == {"userName": "dora", "accessKeyId": made["AccessKeyId"], "status": "Inactive"}
    assert found[5]["additionalEventData"]["accessKeyIds"] == [made["AccessKeyId"]]
    assert made["SecretAccessKey"] not in json.dumps(found)
    server.stop()
    assert verify(server).returncode == 0
