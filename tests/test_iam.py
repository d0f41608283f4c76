"""IAM through boto3 and the aws CLI: users, keys, groups, roles, policies, boundaries, tags, simulation, refusals, restarts."""

import json
import os
import subprocess
import urllib.parse

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from harness import ACCOUNTS, REGION, Server, binary, operations
from identities import ADMIN, MAIN, OTHER, client_of, document, fetch, made_user, name, refused, trust


@pytest.fixture(scope="module")
def iam(server):
    return server.client(service="iam")


def test_users_live_and_die_as_on_aws(server, iam):
    user = name("user")
    made = iam.create_user(UserName=user, Path="/team/", Tags=[{"Key": "a", "Value": "b"}])["User"]
    assert made["Arn"] == f"arn:aws:iam::{MAIN}:user/team/{user}" and made["UserId"].startswith("AIDA") and len(made["UserId"]) == 21
    assert iam.get_user(UserName=user)["User"]["Tags"] == [{"Key": "a", "Value": "b"}]
    assert refused("EntityAlreadyExists", iam.create_user, UserName=user.upper()) == f"User with name {user.upper()} already exists."
    assert refused("NoSuchEntity", iam.get_user, UserName="nobody") == "The user with name nobody cannot be found."
    iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=document())
    assert refused("DeleteConflict", iam.delete_user, UserName=user) == "Cannot delete entity, must delete policies first."
    assert iam.get_user_policy(UserName=user, PolicyName="p")["PolicyDocument"] == json.loads(document())
    iam.update_user(UserName=user, NewUserName=user + "-new", NewPath="/")
    assert refused("NoSuchEntity", iam.get_user, UserName=user)
    iam.delete_user_policy(UserName=user + "-new", PolicyName="p")
    iam.delete_user(UserName=user + "-new")
    assert refused("NoSuchEntity", iam.delete_user, UserName=user + "-new")
    root = iam.get_user()["User"]
    assert root["Arn"] == f"arn:aws:iam::{MAIN}:root" and root["UserId"] == MAIN


def test_names_documents_and_numbers_are_held_to_limits(iam):
    assert "alphanumeric" in refused("ValidationError", iam.create_user, UserName="a b")
    assert "length less than or equal to 64" in refused("ValidationError", iam.create_user, UserName="a" * 65)
    assert "path" in refused("ValidationError", iam.create_user, UserName=name(), Path="x")
    user, _ = made_user(iam)
    assert refused("MalformedPolicyDocument", iam.put_user_policy, UserName=user, PolicyName="p", PolicyDocument="{}")
    principal = document(Principal="*")
    assert refused("MalformedPolicyDocument", iam.put_user_policy, UserName=user, PolicyName="p", PolicyDocument=principal)
    long = document(resource=["arn:aws:s3:::" + "b" * 50 + str(n) for n in range(40)])
    message = refused("LimitExceeded", iam.put_user_policy, UserName=user, PolicyName="p", PolicyDocument=long)
    assert message == f"Maximum policy size of 2048 bytes exceeded for user {user}"
    iam.create_access_key(UserName=user)
    assert refused("LimitExceeded", iam.create_access_key, UserName=user) == "Cannot exceed quota for AccessKeysPerUser: 2"
    twice = [{"Key": "k", "Value": "1"}, {"Key": "K", "Value": "2"}]
    assert "Duplicate tag keys" in refused("InvalidInput", iam.tag_user, UserName=user, Tags=twice)
    for _ in range(10):
        iam.attach_user_policy(UserName=user, PolicyArn=iam.create_policy(PolicyName=name("p"), PolicyDocument=document())["Policy"]["Arn"])
    assert refused("LimitExceeded", iam.attach_user_policy, UserName=user, PolicyArn=ADMIN) == "Cannot exceed quota for PoliciesPerUser: 10"


def test_lists_come_in_pages(iam):
    users = sorted(name("paged") for _ in range(7))
    for user in users:
        iam.create_user(UserName=user, Path="/paged/")
    first = iam.list_users(PathPrefix="/paged/", MaxItems=3)
    assert first["IsTruncated"] and [user["UserName"] for user in first["Users"]] == users[:3]
    pages = iam.get_paginator("list_users").paginate(PathPrefix="/paged/", PaginationConfig={"PageSize": 2})
    assert [user["UserName"] for page in pages for user in page["Users"]] == users
    assert refused("ValidationError", iam.list_users, Marker="!!")


def test_keys_sign_until_they_are_disabled(server, iam):
    user, key = made_user(iam, document("*"))
    arn = f"arn:aws:iam::{MAIN}:user/{user}"
    sts = client_of(server, "sts", key)
    assert sts.get_caller_identity()["Arn"] == arn
    s3, kms = client_of(server, "s3", key), client_of(server, "kms", key)
    s3.list_buckets()
    kms.list_keys()
    listed = iam.list_access_keys(UserName=user)["AccessKeyMetadata"]
    assert [(one["AccessKeyId"], one["Status"]) for one in listed] == [(key["AccessKeyId"], "Active")]
    iam.update_access_key(UserName=user, AccessKeyId=key["AccessKeyId"], Status="Inactive")
    refused("InvalidClientTokenId", sts.get_caller_identity)
    refused("InvalidAccessKeyId", s3.list_buckets)
    refused("UnrecognizedClientException", kms.list_keys)
    iam.update_access_key(UserName=user, AccessKeyId=key["AccessKeyId"], Status="Active")
    s3.list_buckets()
    iam.delete_access_key(UserName=user, AccessKeyId=key["AccessKeyId"])
    refused("InvalidAccessKeyId", s3.list_buckets)
    message = refused("NoSuchEntity", iam.delete_access_key, UserName=user, AccessKeyId=key["AccessKeyId"])
    assert message == f"The Access Key with id {key['AccessKeyId']} cannot be found."


def test_policies_of_groups_and_managed_policies_count_from_the_next_call(server, iam):
    user, key = made_user(iam)
    mine = client_of(server, "iam", key)
    denied = f"User: arn:aws:iam::{MAIN}:user/{user} is not authorized to perform: iam:ListUsers on resource: arn:aws:iam::{MAIN}:user/ because no identity-based policy allows the iam:ListUsers action"
    assert refused("AccessDenied", mine.list_users) == denied
    group = name("group")
    iam.create_group(GroupName=group)
    iam.put_group_policy(GroupName=group, PolicyName="list", PolicyDocument=document("iam:ListUsers"))
    refused("AccessDenied", mine.list_users)
    iam.add_user_to_group(GroupName=group, UserName=user)
    mine.list_users()
    assert [one["GroupName"] for one in iam.list_groups_for_user(UserName=user)["Groups"]] == [group]
    assert [one["UserName"] for one in iam.get_group(GroupName=group)["Users"]] == [user]
    assert refused("DeleteConflict", iam.delete_group, GroupName=group) == "Cannot delete entity, must remove users from group first."
    iam.update_group(GroupName=group, NewGroupName=group + "-new")
    mine.list_users()
    iam.remove_user_from_group(GroupName=group + "-new", UserName=user)
    refused("AccessDenied", mine.list_users)
    policy = iam.create_policy(PolicyName=name("policy"), PolicyDocument=document("iam:ListRoles"))["Policy"]
    iam.attach_user_policy(UserName=user, PolicyArn=policy["Arn"])
    refused("AccessDenied", mine.list_users)
    version = iam.create_policy_version(PolicyArn=policy["Arn"], PolicyDocument=document("iam:ListUsers"), SetAsDefault=True)
    assert version["PolicyVersion"]["VersionId"] == "v2"
    mine.list_users()
    iam.set_default_policy_version(PolicyArn=policy["Arn"], VersionId="v1")
    refused("AccessDenied", mine.list_users)
    iam.put_user_policy(UserName=user, PolicyName="no", PolicyDocument=document("iam:*", effect="Deny"))
    iam.attach_user_policy(UserName=user, PolicyArn=ADMIN)
    assert refused("AccessDenied", mine.list_roles).endswith("with an explicit deny in an identity-based policy")


def test_managed_policies_have_five_versions_and_die_alone(iam):
    arn = iam.create_policy(PolicyName=name("policy"), PolicyDocument=document(), Description="d")["Policy"]["Arn"]
    for _ in range(4):
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=document())
    assert "up to 5 versions" in refused("LimitExceeded", iam.create_policy_version, PolicyArn=arn, PolicyDocument=document())
    assert [one["VersionId"] for one in iam.list_policy_versions(PolicyArn=arn)["Versions"]] == ["v5", "v4", "v3", "v2", "v1"]
    assert iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]["Document"] == json.loads(document())
    refused("DeleteConflict", iam.delete_policy_version, PolicyArn=arn, VersionId="v1")
    refused("DeleteConflict", iam.delete_policy, PolicyArn=arn)
    for number in range(2, 6):
        iam.delete_policy_version(PolicyArn=arn, VersionId=f"v{number}")
    user, _ = made_user(iam)
    iam.attach_user_policy(UserName=user, PolicyArn=arn)
    assert refused("DeleteConflict", iam.delete_policy, PolicyArn=arn) == "Cannot delete a policy attached to entities."
    assert iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 1
    assert [one["UserName"] for one in iam.list_entities_for_policy(PolicyArn=arn)["PolicyUsers"]] == [user]
    assert iam.list_attached_user_policies(UserName=user)["AttachedPolicies"][0]["PolicyArn"] == arn
    iam.detach_user_policy(UserName=user, PolicyArn=arn)
    iam.delete_policy(PolicyArn=arn)
    refused("NoSuchEntity", iam.get_policy, PolicyArn=arn)
    assert ADMIN in [one["Arn"] for one in iam.list_policies(Scope="AWS")["Policies"]]
    refused("UnmodifiableEntity", iam.delete_policy, PolicyArn=ADMIN)


def test_a_boundary_caps_what_policies_give(server, iam):
    user, key = made_user(iam, document("iam:*"))
    mine = client_of(server, "iam", key)
    mine.list_users()
    bound = iam.create_policy(PolicyName=name("bound"), PolicyDocument=document("iam:ListRoles"))["Policy"]["Arn"]
    iam.put_user_permissions_boundary(UserName=user, PermissionsBoundary=bound)
    assert iam.get_user(UserName=user)["User"]["PermissionsBoundary"]["PermissionsBoundaryArn"] == bound
    assert "permissions boundary" in refused("AccessDenied", mine.list_users)
    mine.list_roles()
    refused("DeleteConflict", iam.delete_policy, PolicyArn=bound)
    iam.delete_user_permissions_boundary(UserName=user)
    mine.list_users()
    refused("NoSuchEntity", iam.delete_user_permissions_boundary, UserName=user)


def test_who_may_make_users_can_be_held_to_a_boundary(server, iam):
    bound = iam.create_policy(PolicyName=name("bound"), PolicyDocument=document("s3:*"))["Policy"]["Arn"]
    condition = {"StringEquals": {"iam:PermissionsBoundary": bound}}
    _, key = made_user(iam, document("iam:CreateUser", Condition=condition))
    mine = client_of(server, "iam", key)
    refused("AccessDenied", mine.create_user, UserName=name("user"))
    mine.create_user(UserName=name("user"), PermissionsBoundary=bound)


def test_tags_of_request_and_resource_are_condition_keys(server, iam):
    condition = {"StringEquals": {"aws:RequestTag/team": "red"}, "ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}}
    of_red = {"StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}}
    user, key = made_user(iam, document("iam:CreateUser", Condition=condition), document("iam:DeleteUser", Condition=of_red))
    iam.tag_user(UserName=user, Tags=[{"Key": "team", "Value": "red"}])
    mine = client_of(server, "iam", key)
    one, two = name("user"), name("user")
    refused("AccessDenied", mine.create_user, UserName=one)
    mine.create_user(UserName=one, Tags=[{"Key": "team", "Value": "red"}])
    iam.create_user(UserName=two, Tags=[{"Key": "team", "Value": "blue"}])
    refused("AccessDenied", mine.delete_user, UserName=two)
    mine.delete_user(UserName=one)
    iam.untag_user(UserName=user, TagKeys=["TEAM"])
    assert iam.list_user_tags(UserName=user)["Tags"] == []


def test_roles_are_kept_with_their_trust(iam):
    role = name("role")
    made = iam.create_role(RoleName=role, Path="/app/", AssumeRolePolicyDocument=trust({"AWS": MAIN}), Description="d")["Role"]
    assert made["Arn"] == f"arn:aws:iam::{MAIN}:role/app/{role}" and made["MaxSessionDuration"] == 3600
    assert iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"] == json.loads(trust({"AWS": MAIN}))
    refused("MalformedPolicyDocument", iam.update_assume_role_policy, RoleName=role, PolicyDocument=document())
    unknown = trust({"AWS": f"arn:aws:iam::{MAIN}:user/nobody"})
    assert "Invalid principal in policy" in refused("MalformedPolicyDocument", iam.create_role, RoleName=name(), AssumeRolePolicyDocument=unknown)
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=trust({"AWS": OTHER}))
    iam.update_role(RoleName=role, Description="e", MaxSessionDuration=7200)
    iam.put_role_policy(RoleName=role, PolicyName="p", PolicyDocument=document())
    iam.attach_role_policy(RoleName=role, PolicyArn=ADMIN)
    iam.tag_role(RoleName=role, Tags=[{"Key": "k", "Value": "v"}])
    shown = iam.get_role(RoleName=role)["Role"]
    assert (shown["Description"], shown["MaxSessionDuration"], shown["Tags"]) == ("e", 7200, [{"Key": "k", "Value": "v"}])
    assert iam.list_role_policies(RoleName=role)["PolicyNames"] == ["p"]
    details = iam.get_account_authorization_details(Filter=["Role"])["RoleDetailList"]
    assert role in [one["RoleName"] for one in details]
    refused("DeleteConflict", iam.delete_role, RoleName=role)
    iam.detach_role_policy(RoleName=role, PolicyArn=ADMIN)
    iam.delete_role_policy(RoleName=role, PolicyName="p")
    iam.delete_role(RoleName=role)


def test_declared_users_are_shown_and_stay(server, iam):
    assert "alice" in [user["UserName"] for user in iam.list_users()["Users"]]
    assert "configuration" in refused("UnmodifiableEntity", iam.delete_user, UserName="alice")
    assert "configuration" in refused("UnmodifiableEntity", iam.create_access_key, UserName="alice")
    assert "configuration" in refused("UnmodifiableEntity", iam.create_access_key)
    assert iam.list_access_keys(UserName="alice")["AccessKeyMetadata"][0]["AccessKeyId"] == ACCOUNTS["alice"][1]


def test_the_simulator_names_the_statement(iam):
    text = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"},
                {"Effect": "Deny", "Action": "s3:*", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
            ],
        },
        indent=1,
    )
    ask = lambda **more: iam.simulate_custom_policy(
        PolicyInputList=[text], ActionNames=["s3:GetObject", "s3:PutObject"], ResourceArns=["arn:aws:s3:::b/k"], **more
    )["EvaluationResults"]
    results = ask()
    assert [one["EvalDecision"] for one in results] == ["allowed", "implicitDeny"]
    assert results[0]["MissingContextValues"] == ["aws:SecureTransport"]
    matched = results[0]["MatchedStatements"][0]
    assert matched["SourcePolicyId"] == "PolicyInputList.1" and matched["StartPosition"] == {"Line": 4, "Column": 3}
    plain = [{"ContextKeyName": "aws:SecureTransport", "ContextKeyValues": ["false"], "ContextKeyType": "boolean"}]
    assert [one["EvalDecision"] for one in ask(ContextEntries=plain)] == ["explicitDeny"] * 2
    capped = ask(PermissionsBoundaryPolicyInputList=[document("s3:PutObject")])
    assert capped[0]["EvalDecision"] == "implicitDeny" and not capped[0]["PermissionsBoundaryDecisionDetail"]["AllowedByPermissionsBoundary"]
    assert iam.get_context_keys_for_custom_policy(PolicyInputList=[text])["ContextKeyNames"] == ["aws:SecureTransport"]


def test_the_simulator_knows_a_users_policies(iam):
    user, _ = made_user(iam, document("s3:GetObject", "arn:aws:s3:::home/${aws:username}/*"))
    group = name("group")
    iam.create_group(GroupName=group)
    iam.attach_group_policy(GroupName=group, PolicyArn="arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")
    arn = f"arn:aws:iam::{MAIN}:user/{user}"
    ask = lambda action, resource, **more: iam.simulate_principal_policy(
        PolicySourceArn=arn, ActionNames=[action], ResourceArns=[resource], **more
    )["EvaluationResults"][0]
    assert ask("s3:GetObject", f"arn:aws:s3:::home/{user}/k")["EvalDecision"] == "allowed"
    assert ask("s3:GetObject", "arn:aws:s3:::home/other/k")["EvalDecision"] == "implicitDeny"
    iam.add_user_to_group(GroupName=group, UserName=user)
    found = ask("s3:GetObject", "arn:aws:s3:::home/other/k")
    assert found["EvalDecision"] == "allowed" and found["MatchedStatements"][0]["SourcePolicyType"] == "aws-managed"
    bucket_policy = json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Principal": {"AWS": arn}, "Action": "s3:*", "Resource": "*"}})
    assert ask("s3:GetObject", f"arn:aws:s3:::home/{user}/k", ResourcePolicy=bucket_policy)["EvalDecision"] == "explicitDeny"


def test_the_summary_counts(iam):
    summary = iam.get_account_summary()["SummaryMap"]
    assert summary["Users"] >= 2 and summary["UsersQuota"] == 5000 and summary["AccessKeysPerUserQuota"] == 2
    assert iam.list_account_aliases()["AccountAliases"] == []


def test_providers_are_kept(iam):
    url = f"https://id.example.com/{name()}"
    arn = iam.create_open_id_connect_provider(Url=url, ClientIDList=["app"], ThumbprintList=["a" * 40])["OpenIDConnectProviderArn"]
    assert arn == f"arn:aws:iam::{MAIN}:oidc-provider/{url[8:]}"
    refused("EntityAlreadyExists", iam.create_open_id_connect_provider, Url=url)
    iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID="web")
    iam.remove_client_id_from_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID="app")
    iam.update_open_id_connect_provider_thumbprint(OpenIDConnectProviderArn=arn, ThumbprintList=["b" * 40])
    shown = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    assert (shown["Url"], shown["ClientIDList"], shown["ThumbprintList"]) == (url[8:], ["web"], ["b" * 40])
    assert arn in [one["Arn"] for one in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]]
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    refused("NoSuchEntity", iam.get_open_id_connect_provider, OpenIDConnectProviderArn=arn)


def test_accounts_do_not_see_each_other(server, iam):
    user, _ = made_user(iam)
    other = server.client("other", service="iam")
    refused("NoSuchEntity", other.get_user, UserName=user)
    assert user not in [one["UserName"] for one in other.list_users()["Users"]]
    policy = iam.create_policy(PolicyName=name("policy"), PolicyDocument=document())["Policy"]["Arn"]
    refused("NoSuchEntity", other.get_policy, PolicyArn=policy)
    refused("NoSuchEntity", other.delete_policy, PolicyArn=policy)


def test_the_tables_name_every_operation_of_the_models(server):
    for service in ("iam", "sts"):
        known = server.client(service=service).meta.service_model.operation_names
        assert sorted(row["name"] for row in operations(service)) == sorted(known)


def form(server, service, **parameters):
    """A signed form, sent as it is."""
    _, key, secret = ACCOUNTS["main"]
    body = urllib.parse.urlencode(parameters)
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    request = AWSRequest("POST", server.endpoints["http"] + "/", headers=headers, data=body)
    SigV4Auth(Credentials(key, secret), service, REGION).add_auth(request)
    return fetch("POST", request.url, body.encode(), dict(request.headers))


def test_unknown_actions_and_parameters_are_named(server):
    answer = form(server, "iam", Action="DanceUser", Version="2010-05-08")
    assert answer.status == 400 and "Could not find operation DanceUser for version 2010-05-08" in answer.text
    assert "InvalidAction" in form(server, "iam", Action="GetUser", Version="2011-06-15").text
    answer = form(server, "iam", Action="ListUsers", Version="2010-05-08", Odd="1")
    assert "ValidationError" in answer.text and "Odd" in answer.text
    assert "userName" in form(server, "iam", Action="CreateUser", Version="2010-05-08").text
    assert "InvalidAction" in form(server, "sts", Action="AssumeRoot", Version="2011-06-15").text
    answer = form(server, "iam", Action="GetUser", Version="2010-05-08")
    assert answer.headers["content-type"] == "text/xml" and "<GetUserResult>" in answer.text


def test_everything_outlives_a_restart_and_no_secret_lies_in_clear(tmp_path):
    server = Server(tmp_path).start()
    iam = server.client(service="iam")
    user, key = made_user(iam, document("s3:*"))
    role = name("role")
    iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust({"AWS": MAIN}))
    server.stop()
    for path in server.home.rglob("*"):
        if path.is_file():
            assert key["SecretAccessKey"].encode() not in path.read_bytes(), path
    server.start()
    assert client_of(server, "sts", key).get_caller_identity()["Arn"].endswith(f"user/{user}")
    assert server.client(service="iam").get_role(RoleName=role)["Role"]["RoleName"] == role
    server.kill()
    server.start()
    client_of(server, "s3", key).list_buckets()
    log = (server.data / "audit").glob("*.jsonl")
    text = "".join(path.read_text() for path in log)
    assert '"eventSource":"iam.amazonaws.com"' in text and '"eventName":"CreateAccessKey"' in text
    assert key["SecretAccessKey"] not in text and key["SecretAccessKey"] not in server.log.read_text()
    server.stop()


def test_the_command_line_makes_users_that_sign(tmp_path):
    server = Server(tmp_path).start()
    policy = tmp_path / "policy.json"
    policy.write_text(document("s3:*"))
    made = server.tresor("user", "add", "dora", "--policy", str(policy))
    s3 = client_of(server, "s3", made)
    s3.list_buckets()
    listed = {user["UserName"]: user for user in server.tresor("user", "list")}
    assert listed["dora"]["Policies"] == ["tresor-user"] and listed["alice"]["Declared"]
    assert "SecretAccessKey" not in json.dumps(listed)
    assert server.tresor("user", "disable", "dora")["DisabledAccessKeys"] == 1
    refused("InvalidAccessKeyId", s3.list_buckets)
    server.tresor("user", "remove", "dora")
    server.stop()
    # Without a server the command line does it itself.
    command = [binary(), "user", "list", "--dev", "--config", str(server.config), "--data-dir", str(server.data)]
    environment = os.environ | {"XDG_CONFIG_HOME": str(server.home / "config")}
    listed = json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    assert "dora" not in [user["UserName"] for user in listed] and "alice" in [user["UserName"] for user in listed]


def test_the_aws_cli_speaks_to_it(server, iam):
    user = name("cli")
    made = json.loads(server.run("aws", "iam", "create-user", "--user-name", user))
    assert made["User"]["UserName"] == user
    server.run("aws", "iam", "attach-user-policy", "--user-name", user, "--policy-arn", ADMIN)
    listed = json.loads(server.run("aws", "iam", "list-attached-user-policies", "--user-name", user))
    assert listed["AttachedPolicies"][0]["PolicyName"] == "AdministratorAccess"
    assert json.loads(server.run("aws", "sts", "get-caller-identity"))["Account"] == MAIN
    assert urllib.parse.unquote(made["User"]["Arn"]).endswith(user)
