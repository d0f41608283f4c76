"""Requests that boto3 would not send: signed by botocore, sent as they are."""

import http.client
import urllib.parse
import xml.etree.ElementTree

from botocore.auth import HmacV1Auth, S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from harness import ACCOUNTS, REGION


class Answer:
    """Status, headers, body, and the fields of an error document."""

    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()
        self.error = {}
        if self.status >= 400 and self.body:
            root = xml.etree.ElementTree.fromstring(self.body)
            self.error = {child.tag: child.text for child in root}

    def __repr__(self):
        return f"{self.status} {self.error or self.body[:200]}"

    @property
    def told(self):
        """Status, code and text."""
        return self.status, self.error.get("Code"), self.error.get("Message")


def request(server, method, path, headers=None, body=b"", who="main", version=4, endpoint="http", change=None):
    """Signs and sends. `who=None` sends it unsigned; `change` alters the headers after they were signed."""
    base = server.endpoints[endpoint]
    signed = AWSRequest(method, base + path, headers=dict(headers or {}), data=body)
    if who is not None:
        credentials = Credentials(*ACCOUNTS[who][1:])
        if version == 4:
            signed.context["payload_signing_enabled"] = True
            S3SigV4Auth(credentials, "s3", REGION).add_auth(signed)
        else:
            signed.auth_path = urllib.parse.urlsplit(path).path
            HmacV1Auth(credentials).add_auth(signed)
    return send(base, method, path, dict(signed.headers.items()), body, change)


def send(base, method, path, headers, body=b"", change=None):
    address = urllib.parse.urlsplit(base)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    if change:
        change(headers)
    connection.request(method, path, body=body, headers=headers)
    answer = Answer(connection.getresponse())
    connection.close()
    return answer
