"""STS: sessions of roles, users and web identities, and what S3 and KMS make of them."""

import base64
import json
import os
import subprocess
import time
import urllib.parse

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from harness import ACCOUNTS, KEY_ARN, Server
from identities import MAIN, OTHER, client_of, document, fetch, made_user, name, refused, trust


@pytest.fixture(scope="module")
def iam(server):
    return server.client(service="iam")


def made_role(iam, principal, *policies, **more):
    role = name("role")
    made = iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust(principal), **more)["Role"]
    for n, text in enumerate(policies):
        iam.put_role_policy(RoleName=role, PolicyName=f"p{n}", PolicyDocument=text)
    return made


def assumed(sts, role, session="session", **more):
    return sts.assume_role(RoleArn=role["Arn"], RoleSessionName=session, **more)["Credentials"]


def caller(iam, server, *policies):
    """A user that may assume any role that lets him; his STS client and ARN."""
    user, key = made_user(iam, document("sts:*"), *policies)
    return client_of(server, "sts", key), f"arn:aws:iam::{MAIN}:user/{user}"


def test_a_session_reaches_s3_and_kms(server, iam, bucket):
    sts, _ = caller(iam, server)
    role = made_role(iam, {"AWS": MAIN}, document("*"))
    answer = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="work")
    credentials = answer["Credentials"]
    assert credentials["AccessKeyId"].startswith("ASIA")
    assert answer["AssumedRoleUser"] == {
        "AssumedRoleId": f"{role['RoleId']}:work",
        "Arn": f"arn:aws:sts::{MAIN}:assumed-role/{role['RoleName']}/work",
    }
    me = client_of(server, "sts", credentials).get_caller_identity()
    assert (me["Arn"], me["UserId"]) == (answer["AssumedRoleUser"]["Arn"], answer["AssumedRoleUser"]["AssumedRoleId"])
    s3 = client_of(server, "s3", credentials)
    s3.put_object(Bucket=bucket, Key="k", Body=b"body", ServerSideEncryption="aws:kms", SSEKMSKeyId=KEY_ARN)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"body"
    kms = client_of(server, "kms", credentials)
    blob = kms.encrypt(KeyId=KEY_ARN, Plaintext=b"x")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    # KMS keys want Signature Version 4.
    signer = client_of(server, "s3", credentials, signature_version="s3v4")
    url = signer.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    assert "oken" in url and fetch("GET", url).text == "body"
    assert fetch("GET", url.replace("oken=", "oken=A")).status in (400, 403)


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_presigned_urls_carry_the_token(server, iam, bucket, version):
    sts, _ = caller(iam, server)
    credentials = assumed(sts, made_role(iam, {"AWS": MAIN}, document("*")))
    s3 = client_of(server, "s3", credentials)
    s3.put_object(Bucket=bucket, Key="k", Body=b"body")
    signer = client_of(server, "s3", credentials, signature_version=version)
    url = signer.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    assert fetch("GET", url).text == "body"
    put = signer.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "l", "ContentType": "text/plain"})
    assert fetch("PUT", put, b"more", {"Content-Type": "text/plain"}).status == 200


def test_tokens_that_are_missing_foreign_or_changed_are_refused(server, iam):
    sts, _ = caller(iam, server)
    role = made_role(iam, {"AWS": MAIN}, document("*"))
    one, two = assumed(sts, role), assumed(sts, role)
    for token, codes in (
        (None, ("InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException")),
        (two["SessionToken"], ("InvalidToken", "InvalidClientTokenId", "UnrecognizedClientException")),
        (one["SessionToken"][:-8] + "AAAAAAA=", ("InvalidToken", "InvalidClientTokenId", "UnrecognizedClientException")),
        ("x", ("InvalidToken", "InvalidClientTokenId", "UnrecognizedClientException")),
    ):
        broken = one | {"SessionToken": token}
        refused(codes[0], client_of(server, "s3", broken).list_buckets)
        refused(codes[1], client_of(server, "sts", broken).get_caller_identity)
        refused(codes[2], client_of(server, "kms", broken).list_keys)
    # A token where none belongs.
    _, key, secret = ACCOUNTS["main"]
    long_term = {"AccessKeyId": key, "SecretAccessKey": secret, "SessionToken": one["SessionToken"]}
    refused("InvalidToken", client_of(server, "s3", long_term).list_buckets)


def test_a_session_dies_with_its_role(server, iam):
    sts, _ = caller(iam, server)
    role = made_role(iam, {"AWS": MAIN}, document("s3:*"))
    credentials = assumed(sts, role)
    s3 = client_of(server, "s3", credentials)
    s3.list_buckets()
    iam.delete_role_policy(RoleName=role["RoleName"], PolicyName="p0")
    iam.delete_role(RoleName=role["RoleName"])
    refused("InvalidToken", s3.list_buckets)
    iam.create_role(RoleName=role["RoleName"], AssumeRolePolicyDocument=trust({"AWS": MAIN}))
    refused("InvalidToken", s3.list_buckets)


def test_trust_decides_who_may_assume(server, iam):
    sts, arn = caller(iam, server)
    plain_user, plain_key = made_user(iam)
    plain = client_of(server, "sts", plain_key)
    by_account = made_role(iam, {"AWS": MAIN})
    text = refused("AccessDenied", plain.assume_role, RoleArn=by_account["Arn"], RoleSessionName="s1")
    assert text.startswith(f"User: arn:aws:iam::{MAIN}:user/{plain_user} is not authorized to perform: sts:AssumeRole on resource: {by_account['Arn']}")
    assumed(sts, by_account)
    by_name = made_role(iam, {"AWS": f"arn:aws:iam::{MAIN}:user/{plain_user}"})
    assumed(plain, by_name)
    refused("AccessDenied", sts.assume_role, RoleArn=by_name["Arn"], RoleSessionName="s1")
    assert refused("AccessDenied", server.client(service="sts").assume_role, RoleArn=by_account["Arn"], RoleSessionName="s1") == "Roles may not be assumed by root accounts."
    missing = by_account["Arn"] + "-missing"
    refused("AccessDenied", sts.assume_role, RoleArn=missing, RoleSessionName="s1")
    refused("ValidationError", sts.assume_role, RoleArn=by_account["Arn"], RoleSessionName="a b")
    refused("ValidationError", sts.assume_role, RoleArn=by_account["Arn"], RoleSessionName="s1", DurationSeconds=7200)


def test_another_account_needs_both_sides(server, iam):
    other_iam = server.client("other", service="iam")
    user, key = made_user(other_iam)
    sts = client_of(server, "sts", key)
    role = made_role(iam, {"AWS": OTHER}, document("iam:ListUsers"))
    refused("AccessDenied", sts.assume_role, RoleArn=role["Arn"], RoleSessionName="s1")
    other_iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=document("sts:AssumeRole", role["Arn"]))
    credentials = assumed(sts, role)
    assert client_of(server, "sts", credentials).get_caller_identity()["Account"] == MAIN
    client_of(server, "iam", credentials).list_users()
    external = made_role(iam, {"AWS": OTHER})
    iam.update_assume_role_policy(
        RoleName=external["RoleName"],
        PolicyDocument=trust({"AWS": OTHER}, Condition={"StringEquals": {"sts:ExternalId": "secret-word"}}),
    )
    other_iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=document("sts:AssumeRole"))
    refused("AccessDenied", sts.assume_role, RoleArn=external["Arn"], RoleSessionName="s1")
    assumed(sts, external, ExternalId="secret-word")


def test_session_policies_and_tags_bind_the_session(server, iam):
    sts, _ = caller(iam, server)
    role = made_role(iam, {"AWS": MAIN}, document("iam:*"))
    capped = client_of(server, "iam", assumed(sts, role, Policy=document("iam:ListRoles")))
    capped.list_roles()
    assert "session policy" in refused("AccessDenied", capped.list_users)
    managed = iam.create_policy(PolicyName=name("policy"), PolicyDocument=document("iam:ListUsers"))["Policy"]["Arn"]
    client_of(server, "iam", assumed(sts, role, PolicyArns=[{"arn": managed}])).list_users()
    refused("MalformedPolicyDocument", sts.assume_role, RoleArn=role["Arn"], RoleSessionName="s1", Policy="{}")
    refused("MalformedPolicyDocument", sts.assume_role, RoleArn=role["Arn"], RoleSessionName="s1", PolicyArns=[{"arn": managed + "-missing"}])
    red = [{"Key": "team", "Value": "red"}]
    refused("AccessDenied", sts.assume_role, RoleArn=role["Arn"], RoleSessionName="s1", Tags=red)
    iam.update_assume_role_policy(RoleName=role["RoleName"], PolicyDocument=trust({"AWS": MAIN}, ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]))
    by_tag = {"StringEquals": {"aws:PrincipalTag/team": "red"}}
    iam.put_role_policy(RoleName=role["RoleName"], PolicyName="p0", PolicyDocument=document("iam:ListUsers", Condition=by_tag))
    refused("AccessDenied", client_of(server, "iam", assumed(sts, role)).list_users)
    client_of(server, "iam", assumed(sts, role, Tags=red)).list_users()
    answer = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="s1", SourceIdentity="Alice")
    assert answer["SourceIdentity"] == "Alice"


def test_a_chain_of_roles_keeps_transitive_tags(server, iam):
    sts, _ = caller(iam, server)
    actions = ["sts:AssumeRole", "sts:TagSession"]
    first = made_role(iam, {"AWS": MAIN}, document("sts:*"))
    second = made_role(iam, {"AWS": MAIN}, document("iam:ListUsers", Condition={"StringEquals": {"aws:PrincipalTag/team": "red"}}), MaxSessionDuration=7200)
    for role in (first, second):
        iam.update_assume_role_policy(RoleName=role["RoleName"], PolicyDocument=trust({"AWS": MAIN}, actions))
    credentials = assumed(sts, first, Tags=[{"Key": "team", "Value": "red"}], TransitiveTagKeys=["team"])
    chained = client_of(server, "sts", credentials)
    client_of(server, "iam", assumed(chained, second)).list_users()
    refused("InvalidParameterValue", chained.assume_role, RoleArn=second["Arn"], RoleSessionName="s1", Tags=[{"Key": "team", "Value": "blue"}])
    refused("ValidationError", chained.assume_role, RoleArn=second["Arn"], RoleSessionName="s1", DurationSeconds=7200)


def test_a_users_session_is_the_user_until_his_key_is_disabled(server, iam):
    user, key = made_user(iam, document("s3:*"), document("iam:*"))
    credentials = client_of(server, "sts", key).get_session_token()["Credentials"]
    mine = client_of(server, "sts", credentials)
    assert mine.get_caller_identity()["Arn"] == f"arn:aws:iam::{MAIN}:user/{user}"
    s3 = client_of(server, "s3", credentials)
    s3.list_buckets()
    refused("InvalidClientTokenId", client_of(server, "iam", credentials).list_users)
    refused("AccessDenied", mine.get_session_token)
    iam.update_access_key(UserName=user, AccessKeyId=key["AccessKeyId"], Status="Inactive")
    refused("InvalidToken", s3.list_buckets)
    root = server.client(service="sts").get_session_token(DurationSeconds=129600)["Credentials"]
    assert (root["Expiration"].timestamp() - time.time()) < 3700
    assert client_of(server, "sts", root).get_caller_identity()["Arn"] == f"arn:aws:iam::{MAIN}:root"


def test_a_federated_user_has_what_the_policy_leaves(server, iam):
    user, key = made_user(iam, document("sts:GetFederationToken"), document("kms:*"))
    sts = client_of(server, "sts", key)
    answer = sts.get_federation_token(Name="guest", Policy=document("kms:ListKeys"))
    assert answer["FederatedUser"]["Arn"] == f"arn:aws:sts::{MAIN}:federated-user/guest"
    kms = client_of(server, "kms", answer["Credentials"])
    kms.list_keys()
    refused("AccessDeniedException", kms.list_aliases)
    nothing = sts.get_federation_token(Name="guest")["Credentials"]
    refused("AccessDeniedException", client_of(server, "kms", nothing).list_keys)


def test_access_keys_tell_their_account(server, iam):
    _, key = made_user(iam)
    sts = server.client(service="sts")
    assert sts.get_access_key_info(AccessKeyId=key["AccessKeyId"])["Account"] == MAIN
    refused("ValidationError", sts.get_access_key_info, AccessKeyId="AKIANOBODYNOBODYNOBO")


def test_sessions_expire(tmp_path, tmp_path_factory):
    source = os.path.join(os.path.dirname(__file__), "clock", "clock.c")
    built = tmp_path_factory.mktemp("clock") / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(built), source, "-ldl"], check=True)
    server = Server(tmp_path).start()
    iam = server.client(service="iam")
    sts, _ = caller(iam, server)
    credentials = assumed(sts, made_role(iam, {"AWS": MAIN}, document("*")), DurationSeconds=900)
    s3 = client_of(server, "s3", credentials)
    s3.list_buckets()
    server.stop()
    # Sessions outlive a restart, and end by the server's clock; signatures may be 15 minutes off.
    server.start()
    client_of(server, "s3", credentials).list_buckets()
    server.stop()
    server.environment = {"LD_PRELOAD": str(built), "CLOCK_AHEAD": "899"}
    server.start()
    time.sleep(1.2)
    assert "provided token has expired" in refused("ExpiredToken", client_of(server, "s3", credentials).list_buckets)
    refused("ExpiredToken", client_of(server, "sts", credentials).get_caller_identity)
    refused("ExpiredTokenException", client_of(server, "kms", credentials).list_keys)
    server.stop()


def url64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Provider:
    """An OpenID Connect provider with a key of RSA and one of P-256."""

    url = "https://id.example.com/realm"

    def __init__(self):
        self.rsa = rsa.generate_private_key(65537, 2048)
        self.p256 = ec.generate_private_key(ec.SECP256R1())

    def jwks(self):
        number = lambda value: url64(value.to_bytes((value.bit_length() + 7) // 8, "big"))
        r, e = self.rsa.public_key().public_numbers(), self.p256.public_key().public_numbers()
        coordinate = lambda value: url64(value.to_bytes(32, "big"))
        return {
            "keys": [
                {"kty": "RSA", "kid": "r1", "alg": "RS256", "n": number(r.n), "e": number(r.e)},
                {"kty": "EC", "kid": "e1", "crv": "P-256", "x": coordinate(e.x), "y": coordinate(e.y)},
            ]
        }

    def token(self, algorithm="RS256", **claims):
        now = int(time.time())
        claims = {"iss": self.url, "sub": "carol", "aud": "app", "iat": now, "exp": now + 600} | claims
        kid = {"RS256": "r1", "ES256": "e1"}.get(algorithm, "r1")
        head = url64(json.dumps({"alg": algorithm, "kid": kid}).encode())
        signed = f"{head}.{url64(json.dumps(claims).encode())}".encode()
        if algorithm == "RS256":
            signature = self.rsa.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        elif algorithm == "ES256":
            r, s = decode_dss_signature(self.p256.sign(signed, ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        else:
            signature = b""
        return f"{signed.decode()}.{url64(signature)}"


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    """A server that knows a provider's keys; the provider, and a role that trusts carol."""
    home, provider = tmp_path_factory.mktemp("web"), Provider()
    (home / "jwks.json").write_text(json.dumps(provider.jwks()))
    server = Server(home, extra_config=f'[[identity_provider]]\nurl = "{provider.url}"\njwks = "jwks.json"\n').start()
    iam = server.client(service="iam")
    arn = iam.create_open_id_connect_provider(Url=provider.url, ClientIDList=["app"])["OpenIDConnectProviderArn"]
    condition = {"StringEquals": {"id.example.com/realm:sub": "carol", "id.example.com/realm:aud": "app"}}
    text = trust({"Federated": arn}, "sts:AssumeRoleWithWebIdentity", Condition=condition)
    role = iam.create_role(RoleName="web", AssumeRolePolicyDocument=text)["Role"]
    iam.put_role_policy(RoleName="web", PolicyName="p", PolicyDocument=document("kms:*"))
    yield server, provider, role
    server.stop()


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_web_identity_gets_a_session(web, algorithm):
    server, provider, role = web
    sts = server.client(service="sts")
    answer = sts.assume_role_with_web_identity(RoleArn=role["Arn"], RoleSessionName="carol", WebIdentityToken=provider.token(algorithm))
    assert (answer["SubjectFromWebIdentityToken"], answer["Audience"]) == ("carol", "app")
    assert answer["Provider"].endswith("oidc-provider/id.example.com/realm")
    client_of(server, "kms", answer["Credentials"]).list_keys()
    assert client_of(server, "sts", answer["Credentials"]).get_caller_identity()["Arn"].endswith("assumed-role/web/carol")


def test_web_identities_are_proved(web):
    server, provider, role = web
    sts = server.client(service="sts")
    ask = lambda token: dict(RoleArn=role["Arn"], RoleSessionName="carol", WebIdentityToken=token)
    stranger = Provider()
    for token, code in (
        ("no token", "InvalidIdentityToken"),
        (stranger.token(), "InvalidIdentityToken"),
        (provider.token("none"), "InvalidIdentityToken"),
        (provider.token(iss="https://elsewhere.example.com"), "InvalidIdentityToken"),
        (provider.token(aud="another"), "InvalidIdentityToken"),
        (provider.token(exp=int(time.time()) - 3600), "ExpiredTokenException"),
        (provider.token(nbf=int(time.time()) + 3600), "InvalidIdentityToken"),
        (provider.token(sub="mallory"), "AccessDenied"),
    ):
        refused(code, sts.assume_role_with_web_identity, **ask(token))
    head, body, signature = provider.token().split(".")
    refused("InvalidIdentityToken", sts.assume_role_with_web_identity, **ask(f"{head}.{body}.{signature[:-4]}AAAA"))
    # Any other call of STS without a signature is nobody's.
    answer = fetch("POST", server.endpoints["http"] + "/", b"Action=GetCallerIdentity&Version=2011-06-15")
    assert answer.status == 403 and "MissingAuthenticationToken" in answer.text
    query = {"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15"} | ask(provider.token())
    answer = fetch("GET", server.endpoints["http"] + "/?" + urllib.parse.urlencode(query))
    assert answer.status == 200 and "<SessionToken>" in answer.text


def test_the_trail_tells_of_sessions_and_holds_none(web):
    server, provider, role = web
    token = provider.token()
    answer = server.client(service="sts").assume_role_with_web_identity(RoleArn=role["Arn"], RoleSessionName="carol", WebIdentityToken=token)
    client_of(server, "kms", answer["Credentials"]).list_keys()
    events = server.tresor("audit", "tail", "--lines", "50")
    assert "AssumeRoleWithWebIdentity" in [event["eventName"] for event in events if event["eventSource"] == "sts.amazonaws.com"]
    used = [event for event in events if event["eventName"] == "ListKeys"][-1]["userIdentity"]
    assert used["type"] == "AssumedRole" and used["sessionContext"]["sessionIssuer"]["arn"] == role["Arn"]
    text = json.dumps(events) + server.log.read_text()
    for secret in (token, answer["Credentials"]["SecretAccessKey"], answer["Credentials"]["SessionToken"]):
        assert secret not in text


def test_the_aws_cli_assumes_roles(server, iam):
    sts, _ = caller(iam, server)
    role = made_role(iam, {"AWS": MAIN}, document("s3:*"))
    credentials = assumed(sts, role)
    environment = server.environment_of() | {
        "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
        "AWS_SESSION_TOKEN": credentials["SessionToken"],
    }
    done = subprocess.run(["aws", "s3", "ls"], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
