"""Users, roles and policies for tests, and clients that sign as them."""

import itertools
import json
import types
import urllib.error
import urllib.request

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from harness import ACCOUNTS, REGION

MAIN, OTHER = ACCOUNTS["main"][0], ACCOUNTS["other"][0]
ADMIN = "arn:aws:iam::aws:policy/AdministratorAccess"
_names = itertools.count()


def name(kind="x"):
    return f"{kind}-{next(_names)}"


def document(action="s3:*", resource="*", effect="Allow", **more):
    statement = {"Effect": effect, "Action": action, "Resource": resource} | more
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def trust(principal, action="sts:AssumeRole", **more):
    statement = {"Effect": "Allow", "Principal": principal, "Action": action} | more
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def client_of(server, service, credentials, endpoint="http", **config):
    """A client that signs with what IAM or STS gave."""
    return boto3.client(
        service,
        endpoint_url=server.endpoints[endpoint],
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials.get("SessionToken"),
        region_name=REGION,
        verify=server.endpoints["ca"],
        config=Config(**({"s3": {"addressing_style": "path"}, "retries": {"total_max_attempts": 1}} | config)),
    )


def refused(code, call, /, *arguments, **parameters):
    """The call fails with this code; its message."""
    with pytest.raises(ClientError) as caught:
        call(*arguments, **parameters)
    error = caught.value.response["Error"]
    assert error["Code"] == code, error
    return error["Message"]


def made_user(iam, *policies):
    """A fresh user with inline policies; its name and a key."""
    user = name("user")
    iam.create_user(UserName=user)
    for n, text in enumerate(policies):
        iam.put_user_policy(UserName=user, PolicyName=f"p{n}", PolicyDocument=text)
    return user, iam.create_access_key(UserName=user)["AccessKey"]


def fetch(method, url, body=None, headers=None):
    """One request as it is: status, text and headers."""
    request = urllib.request.Request(url, data=body, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return types.SimpleNamespace(status=answer.status, text=answer.read().decode(), headers=answer.headers)
    except urllib.error.HTTPError as answer:
        return types.SimpleNamespace(status=answer.code, text=answer.read().decode(), headers=answer.headers)
