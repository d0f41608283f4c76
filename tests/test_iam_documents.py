"""Policies as IAM and STS take them: what is refused, in AWS's words, by every call that brings a document; and how long it may be."""

import json

import pytest

from harness import ACCOUNTS
from test_iam import client_of, document, made_user, name, refused, trust

MAIN = ACCOUNTS["main"][0]
VENDOR = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
SYNTAX = "Syntax errors in policy."


def policy(*statements, version="2012-10-17"):
    return json.dumps({"Version": version, "Statement": list(statements)})


def allow(action="s3:*", resource="*", **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource} | more


# A document and why it is none: the texts of AWS.
REFUSED = [
    ("nothing", SYNTAX),
    ("{}", SYNTAX),
    (policy(), SYNTAX),
    (policy(allow(Extra=1)), SYNTAX),
    (policy(allow(Effect="allow")), SYNTAX),
    (policy(allow(Condition={"StringSame": {"aws:username": "x"}})), SYNTAX),
    (policy(allow())[:-1] + ',"Version":"2012-10-17"}', SYNTAX),
    (policy(allow(), version="2008-10-17"), "Policy document must be version 2012-10-17 or greater."),
    (json.dumps({"Statement": [allow()]}), "Policy document must be version 2012-10-17 or greater."),
    (policy(allow(resource="arn:aws:s3")), "The policy failed legacy parsing"),
    (policy(allow(Sid="a"), allow(Sid="a")), "Statement IDs (SID) in a single policy must be unique."),
    (policy(allow(action=[])), "Policy statement must contain actions."),
    (policy({"Effect": "Allow", "Action": "s3:*"}), "Policy statement must contain resources."),
    (policy(allow(Principal="*")), "Policy document should not specify a principal."),
    (policy(allow(action="s3")), VENDOR),
    (policy(allow(Condition={"StringEquals": {"username": "x"}})), VENDOR),
    (policy(allow(action="s3:a:b")), "Actions/Condition can contain only one colon."),
    (policy(allow(action="a a:x")), "Vendor a a is not valid"),
    (policy(allow(resource="bucket/key")), 'Resource bucket/key must be in ARN format or "*".'),
    (policy(allow(resource="arn:b:c:d:e:f:g:h")), 'Partition "b" is not valid for resource "arn:b:c:d:e:f:g:h".'),
    (policy(allow(resource="arn:aws:s*:::x")), "Resource vendor must be fully qualified and cannot contain regexes."),
    (
        policy(allow(resource="arn:aws:s3:us-east-1::example_bucket")),
        "Resource arn:aws:s3:us-east-1::example_bucket can not contain region information.",
    ),
]
TRUST_REFUSED = [
    ("nothing", "This policy contains invalid Json"),
    ("{}", SYNTAX),
    (document("sts:AssumeRole", Principal={"AWS": MAIN}), "Has prohibited field Resource."),
    (policy({"Effect": "Allow", "Action": "sts:AssumeRole"}), "Missing required field Principal"),
    (trust({"AWS": MAIN}, "s3:GetObject"), "AssumeRole policy may only specify STS AssumeRole actions."),
    (trust({"AWS": MAIN}, []), "Policy statement must contain actions."),
    (trust({"AWS": f"arn:aws:iam::{MAIN}:user/nobody"}), f'Invalid principal in policy: "AWS":"arn:aws:iam::{MAIN}:user/nobody"'),
]


@pytest.fixture(scope="module")
def iam(server):
    return server.client(service="iam")


@pytest.fixture(scope="module")
def callers(server, iam):
    """Every call that brings an identity or session policy, as functions of the document; and what each answers to one it takes."""
    user, key = made_user(iam, document("sts:*"))
    group, role = name("group"), name("role")
    iam.create_group(GroupName=group)
    arn = iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust({"AWS": MAIN}))["Role"]["Arn"]
    managed = iam.create_policy(PolicyName=name("policy"), PolicyDocument=document())["Policy"]["Arn"]
    sts = client_of(server, "sts", key)
    return {
        "CreatePolicy": lambda text: iam.create_policy(PolicyName=name("policy"), PolicyDocument=text),
        "CreatePolicyVersion": lambda text: iam.create_policy_version(PolicyArn=managed, PolicyDocument=text),
        "PutUserPolicy": lambda text: iam.put_user_policy(UserName=user, PolicyName="q", PolicyDocument=text),
        "PutGroupPolicy": lambda text: iam.put_group_policy(GroupName=group, PolicyName="q", PolicyDocument=text),
        "PutRolePolicy": lambda text: iam.put_role_policy(RoleName=role, PolicyName="q", PolicyDocument=text),
        "AssumeRole": lambda text: sts.assume_role(RoleArn=arn, RoleSessionName="work", Policy=text),
        "GetFederationToken": lambda text: sts.get_federation_token(Name="work", Policy=text),
    }


@pytest.mark.parametrize(("text", "why"), REFUSED)
def test_every_call_refuses_what_is_no_policy_in_aws_words(iam, callers, text, why):
    for call in callers.values():
        assert refused("MalformedPolicyDocument", call, text) == why
    for more in ({}, {"PermissionsBoundaryPolicyInputList": [document()]}):
        assert refused("InvalidInput", iam.simulate_custom_policy, PolicyInputList=[text], ActionNames=["s3:GetObject"], **more) == why


def test_nothing_of_a_refused_document_is_kept_and_good_ones_are_taken(iam, callers):
    good = document(["s3:Get*", "kms:Decrypt"], ["arn:aws:s3:::b/*", "*"], Sid="One1", Condition={"Bool": {"aws:SecureTransport": True}})
    for call in callers.values():
        call(good)
    user, _ = made_user(iam, document())
    refused("MalformedPolicyDocument", iam.put_user_policy, UserName=user, PolicyName="p0", PolicyDocument=policy(allow(action="s3")))
    assert iam.get_user_policy(UserName=user, PolicyName="p0")["PolicyDocument"] == json.loads(document())
    taken = name("policy")
    refused("MalformedPolicyDocument", iam.create_policy, PolicyName=taken, PolicyDocument=policy(allow(action="s3")))
    iam.create_policy(PolicyName=taken, PolicyDocument=good)


@pytest.mark.parametrize(("text", "why"), TRUST_REFUSED)
def test_trust_policies_are_refused_in_aws_words(iam, text, why):
    role = name("role")
    assert refused("MalformedPolicyDocument", iam.create_role, RoleName=role, AssumeRolePolicyDocument=text) == why
    iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust({"AWS": MAIN}))
    assert refused("MalformedPolicyDocument", iam.update_assume_role_policy, RoleName=role, PolicyDocument=text) == why
    assert iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"] == json.loads(trust({"AWS": MAIN}))


def sized(characters, make=document, spaces=0):
    """A document of so many characters that count, and so many spaces that do not."""
    fill = characters - len(make(Sid="").replace(" ", ""))
    text = make(Sid="x" * fill)
    assert len(text.replace(" ", "")) == characters
    return text + " " * spaces


@pytest.mark.parametrize(("call", "most", "why"), [
    ("CreatePolicy", 6144, "Cannot exceed quota for PolicySize: 6144"),
    ("CreatePolicyVersion", 6144, "Cannot exceed quota for PolicySize: 6144"),
    ("PutGroupPolicy", 5120, "Maximum policy size of 5120 bytes exceeded for group "),
    ("PutRolePolicy", 10240, "Maximum policy size of 10240 bytes exceeded for role "),
])
def test_documents_are_as_long_as_quotas_let_white_space_not_counted(callers, call, most, why):
    callers[call](sized(most, spaces=500))
    assert refused("LimitExceeded", callers[call], sized(most + 1)).startswith(why)


def test_trust_and_session_policies_have_their_own_sizes(server, iam):
    role = name("role")
    iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust({"AWS": MAIN}))
    by = lambda **more: trust({"AWS": MAIN}, ["sts:AssumeRole", "sts:TagSession"], **more)
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=sized(2048, by, spaces=500))
    message = refused("LimitExceeded", iam.update_assume_role_policy, RoleName=role, PolicyDocument=sized(2049, by))
    assert message == "Cannot exceed quota for ACLSizePerRole: 2048"
    assert refused("LimitExceeded", iam.create_role, RoleName=name("role"), AssumeRolePolicyDocument=sized(2049, by)) == message
    arn = iam.get_role(RoleName=role)["Role"]["Arn"]
    _, key = made_user(iam, document("sts:*"))
    sts = client_of(server, "sts", key)

    def assume(text, **more):
        return sts.assume_role(RoleArn=arn, RoleSessionName="work", Policy=text, **more)

    # Spaces count here: it is the length of a parameter.
    text = sized(1900)
    text += " " * (2048 - len(text))
    assert 0 < assume(text)["PackedPolicySize"] <= 100
    assert "Member must have length less than or equal to 2048" in refused("ValidationError", assume, text + " ")
    tags = [{"Key": f"key-{n}", "Value": "v" * 250} for n in range(12)]
    assert refused("PackedPolicyTooLarge", assume, text, Tags=tags) == "Packed size of session tags consumes 124% of allotted space."
