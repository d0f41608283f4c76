"""A minimal well-formed request for every operation of every API, about things that exist. What the operation table and the service
models do not say stands here by the operation's name; an operation that is not here has no request, and its test fails."""

import base64
import dataclasses
import functools
import hashlib
import itertools
import json

from botocore.serialize import create_serializer
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from harness import REGION
from identities import MAIN, document, trust
from test_kms import wrapped

ROOT = f"arn:aws:iam::{MAIN}:root"


@dataclasses.dataclass
class Request:
    """A request before it is signed."""

    service: str
    method: str
    path: str
    headers: dict
    body: bytes = b""


class World:
    """What requests are about, made afresh for each of them by the root of the main account."""

    def __init__(self, server):
        self.server = server
        self.s3, self.kms, self.iam = (server.client(service=service) for service in ("s3", "kms", "iam"))
        self._numbers = itertools.count()

    def name(self, kind):
        return f"doors-{kind}-{next(self._numbers)}"

    def request(self, row):
        """The request for a row of the operation table."""
        if row["service"] == "s3":
            return s3_request(self, row)
        if row["implemented"]:
            parameters = DOCUMENTS[row["service"]](self, row["name"])
        else:
            parameters = {}
        return serialized(self.server, row, parameters)


def serialized(server, row, parameters):
    """By the protocol of the service's model; the table must say the same of the request as the model."""
    model = server.client(service=row["service"]).meta.service_model
    made = create_serializer(model.resolved_protocol, include_validation=row["implemented"]).serialize_to_request(parameters, model.operation_model(row["name"]))
    body = made["body"]
    if isinstance(body, dict):
        assert (body["Action"], body["Version"]) == (row["name"], row["version"])
        body = "&".join(f"{quoted(name)}={quoted(str(value))}" for name, value in body.items()).encode()
    else:
        assert made["headers"]["X-Amz-Target"].endswith(row["target"].rsplit(".", 1)[-1])
    return Request(row["service"], row["method"], "/", dict(made["headers"]), body)


def quoted(text):
    return "".join(chr(b) if chr(b).isalnum() and b < 128 else f"%{b:02X}" for b in text.encode())


# S3: the table says method, address, query and kind of body.

S3_BODIES = {
    "PutObject": lambda b: b"x",
    "UploadPart": lambda b: b"x",
    "PostObject": lambda b: b'--b\r\nContent-Disposition: form-data; name="key"\r\n\r\nkey\r\n--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n',
    "CreateBucket": lambda b: b"",
    "DeleteObjects": lambda b: b"<Delete><Object><Key>key</Key></Object></Delete>",
    "PutBucketAcl": lambda b: b"",
    "PutObjectAcl": lambda b: b"",
    "PutBucketEncryption": lambda b: b"<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>",
    "PutBucketOwnershipControls": lambda b: b"<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>",
    "PutBucketPolicy": lambda b: bucket_policy(b.bucket).encode(),
    "PutObjectTagging": lambda b: b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
    "PutPublicAccessBlock": lambda b: b"<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>",
    "CompleteMultipartUpload": lambda b: f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{b.etag}</ETag></Part></CompleteMultipartUpload>".encode(),
}
S3_HEADERS = {
    "PostObject": {"Content-Type": "multipart/form-data; boundary=b"},
    "GetObjectAttributes": {"x-amz-object-attributes": "ETag"},
    "PutBucketAcl": {"x-amz-acl": "bucket-owner-full-control"},
    "PutObjectAcl": {"x-amz-acl": "bucket-owner-full-control"},
}
# What the owner is answered for what was never set.
S3_ABSENT = {
    "GetBucketTagging": "NoSuchTagSet",
    "GetBucketLifecycleConfiguration": "NoSuchLifecycleConfiguration",
    "GetBucketCors": "NoSuchCORSConfiguration",
    "GetBucketWebsite": "NoSuchWebsiteConfiguration",
    "GetBucketReplication": "ReplicationConfigurationNotFoundError",
    "GetObjectLockConfiguration": "ObjectLockConfigurationNotFoundError",
    "GetObjectLegalHold": "InvalidRequest",
    "GetObjectRetention": "InvalidRequest",
}


def bucket_policy(bucket):
    statement = {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@dataclasses.dataclass
class Bucket:
    """A bucket with a policy, two objects and an upload of one part."""

    bucket: str
    upload: str = ""
    etag: str = ""


def made_bucket(world, name):
    made = Bucket(world.name("bucket"))
    if name == "CreateBucket":
        return made
    s3, at = world.s3, {"Bucket": made.bucket}
    s3.create_bucket(**at)
    s3.put_bucket_policy(Policy=bucket_policy(made.bucket), **at)
    if name == "DeleteBucket":
        return made
    for key in ("key", "source"):
        s3.put_object(Key=key, Body=b"x", **at)
    made.upload = s3.create_multipart_upload(Key="key", **at)["UploadId"]
    made.etag = s3.upload_part(Key="key", UploadId=made.upload, PartNumber=1, Body=b"x", **at)["ETag"]
    return made


def s3_request(world, row):
    name = row["name"]
    made = made_bucket(world, name) if row["implemented"] else Bucket(world.name("bucket"))
    path = {"service": "/", "bucket": f"/{made.bucket}", "object": f"/{made.bucket}/key"}[row["scope"]]
    values = {"partNumber": "1", "uploadId": made.upload or "1", "id": "1"}
    query = [one if "=" in one or one not in values else f"{one}={values[one]}" for one in row["query"]]
    headers = dict(S3_HEADERS.get(name, {}))
    if row["header"]:
        headers[row["header"]] = {"x-amz-copy-source": f"/{made.bucket}/source"}.get(row["header"], "1")
    body = S3_BODIES[name](made) if row["body"] not in (None, "none") else b""
    if row["body"] == "document":
        headers["Content-MD5"] = base64.b64encode(hashlib.md5(body).digest()).decode()
    return Request("s3", row["method"], path + ("?" + "&".join(query) if query else ""), headers, body)


# KMS: each request has a key of its own.


class Keys:
    """Keys of the kinds that operations ask for, and what was made with them."""

    def __init__(self, world):
        self.world, self.kms = world, world.kms

    def made(self, spec="SYMMETRIC_DEFAULT", usage="ENCRYPT_DECRYPT", **more):
        return self.kms.create_key(KeySpec=spec, KeyUsage=usage, **more)["KeyMetadata"]["Arn"]

    @functools.cached_property
    def key(self):
        return self.made()

    @property
    def alias(self):
        name = "alias/" + self.world.name("alias")
        self.kms.create_alias(AliasName=name, TargetKeyId=self.key)
        return name

    @property
    def blob(self):
        return self.kms.encrypt(KeyId=self.key, Plaintext=b"x")["CiphertextBlob"]

    @property
    def grant(self):
        return self.kms.create_grant(KeyId=self.key, GranteePrincipal=ROOT, Operations=["Decrypt"])["GrantId"]

    def disabled(self):
        self.kms.disable_key(KeyId=self.key)
        return self.key

    def dying(self):
        self.kms.schedule_key_deletion(KeyId=self.key)
        return self.key

    @functools.cached_property
    def signing(self):
        return {"KeyId": self.made("ECC_NIST_P256", "SIGN_VERIFY"), "Message": b"m", "SigningAlgorithm": "ECDSA_SHA_256"}

    @functools.cached_property
    def mac(self):
        return {"KeyId": self.made("HMAC_256", "GENERATE_VERIFY_MAC"), "Message": b"m", "MacAlgorithm": "HMAC_SHA_256"}

    @functools.cached_property
    def kem(self):
        return {"KeyId": self.made("ML_KEM_768", "ENCAPSULATE_DECAPSULATE"), "EncapsulationAlgorithm": "ML_KEM"}

    @functools.cached_property
    def external(self):
        return self.made(Origin="EXTERNAL")

    def brought(self):
        """What ImportKeyMaterial asks for."""
        algorithm = "RSAES_OAEP_SHA_256"
        given = self.kms.get_parameters_for_import(KeyId=self.external, WrappingAlgorithm=algorithm, WrappingKeySpec="RSA_2048")
        material = wrapped(algorithm, given, bytes(range(32)))
        return {"KeyId": self.external, "ImportToken": given["ImportToken"], "EncryptedKeyMaterial": material, "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}

    def imported(self):
        self.kms.import_key_material(**self.brought())
        return self.external


def public_key():
    return ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


KMS = {
    "CreateKey": lambda k: {},
    "ListKeys": lambda k: {},
    "ListAliases": lambda k: {},
    "GenerateRandom": lambda k: {"NumberOfBytes": 8},
    "ListRetirableGrants": lambda k: {"RetiringPrincipal": ROOT},
    "DescribeKey": lambda k: {"KeyId": k.key},
    "EnableKey": lambda k: {"KeyId": k.disabled()},
    "DisableKey": lambda k: {"KeyId": k.key},
    "UpdateKeyDescription": lambda k: {"KeyId": k.key, "Description": "d"},
    "ScheduleKeyDeletion": lambda k: {"KeyId": k.key},
    "CancelKeyDeletion": lambda k: {"KeyId": k.dying()},
    "GetKeyLastUsage": lambda k: {"KeyId": k.key},
    "TagResource": lambda k: {"KeyId": k.key, "Tags": [{"TagKey": "a", "TagValue": "b"}]},
    "UntagResource": lambda k: {"KeyId": k.key, "TagKeys": ["a"]},
    "ListResourceTags": lambda k: {"KeyId": k.key},
    "GetKeyPolicy": lambda k: {"KeyId": k.key},
    "PutKeyPolicy": lambda k: {"KeyId": k.key, "Policy": k.kms.get_key_policy(KeyId=k.key)["Policy"]},
    "ListKeyPolicies": lambda k: {"KeyId": k.key},
    "Encrypt": lambda k: {"KeyId": k.key, "Plaintext": b"x"},
    "Decrypt": lambda k: {"CiphertextBlob": k.blob},
    "ReEncrypt": lambda k: {"CiphertextBlob": k.blob, "DestinationKeyId": k.key},
    "GenerateDataKey": lambda k: {"KeyId": k.key, "KeySpec": "AES_256"},
    "GenerateDataKeyWithoutPlaintext": lambda k: {"KeyId": k.key, "KeySpec": "AES_256"},
    "GenerateDataKeyPair": lambda k: {"KeyId": k.key, "KeyPairSpec": "ECC_NIST_P256"},
    "GenerateDataKeyPairWithoutPlaintext": lambda k: {"KeyId": k.key, "KeyPairSpec": "ECC_NIST_P256"},
    "GetPublicKey": lambda k: {"KeyId": k.signing["KeyId"]},
    "Sign": lambda k: k.signing,
    "Verify": lambda k: k.signing | {"Signature": k.kms.sign(**k.signing)["Signature"]},
    "GenerateMac": lambda k: k.mac,
    "VerifyMac": lambda k: k.mac | {"Mac": k.kms.generate_mac(**k.mac)["Mac"]},
    "DeriveSharedSecret": lambda k: {"KeyId": k.made("ECC_NIST_P256", "KEY_AGREEMENT"), "KeyAgreementAlgorithm": "ECDH", "PublicKey": public_key()},
    "Encapsulate": lambda k: k.kem,
    "Decapsulate": lambda k: k.kem | {"SharedSecretCiphertextBlob": k.kms.encapsulate(**k.kem)["SharedSecretCiphertextBlob"]},
    "EnableKeyRotation": lambda k: {"KeyId": k.key},
    "DisableKeyRotation": lambda k: {"KeyId": k.key},
    "GetKeyRotationStatus": lambda k: {"KeyId": k.key},
    "RotateKeyOnDemand": lambda k: {"KeyId": k.key},
    "ListKeyRotations": lambda k: {"KeyId": k.key},
    "CreateAlias": lambda k: {"AliasName": "alias/" + k.world.name("alias"), "TargetKeyId": k.key},
    "UpdateAlias": lambda k: {"AliasName": k.alias, "TargetKeyId": k.made()},
    "DeleteAlias": lambda k: {"AliasName": k.alias},
    "CreateGrant": lambda k: {"KeyId": k.key, "GranteePrincipal": ROOT, "Operations": ["Decrypt"]},
    "ListGrants": lambda k: {"KeyId": k.key},
    "RetireGrant": lambda k: {"KeyId": k.key, "GrantId": k.grant},
    "RevokeGrant": lambda k: {"KeyId": k.key, "GrantId": k.grant},
    "GetParametersForImport": lambda k: {"KeyId": k.external, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"},
    "ImportKeyMaterial": lambda k: k.brought(),
    "DeleteImportedKeyMaterial": lambda k: {"KeyId": k.imported()},
}


# IAM: each request has a user, a group, a role, policies and a provider of its own, all bound to each other.

TAGS = [{"Key": "a", "Value": "b"}]


class Members:
    """Names of what a request of IAM is about; each is made when it is asked for."""

    def __init__(self, world):
        self.world, self.iam = world, world.iam

    @functools.cached_property
    def new(self):
        return self.world.name("new")

    @functools.cached_property
    def policy(self):
        arn = self.iam.create_policy(PolicyName=self.world.name("policy"), PolicyDocument=document(), Tags=TAGS)["Policy"]["Arn"]
        self.iam.create_policy_version(PolicyArn=arn, PolicyDocument=document())
        return arn

    @functools.cached_property
    def bare_policy(self):
        return self.iam.create_policy(PolicyName=self.world.name("policy"), PolicyDocument=document())["Policy"]["Arn"]

    @functools.cached_property
    def group(self):
        name = self.world.name("group")
        self.iam.create_group(GroupName=name)
        self.iam.put_group_policy(GroupName=name, PolicyName="inline", PolicyDocument=document())
        self.iam.attach_group_policy(GroupName=name, PolicyArn=self.policy)
        return name

    @functools.cached_property
    def bare_group(self):
        name = self.world.name("group")
        self.iam.create_group(GroupName=name)
        return name

    @functools.cached_property
    def user(self):
        name = self.world.name("user")
        self.iam.create_user(UserName=name, Tags=TAGS, PermissionsBoundary=self.policy)
        self.iam.put_user_policy(UserName=name, PolicyName="inline", PolicyDocument=document())
        self.iam.attach_user_policy(UserName=name, PolicyArn=self.policy)
        self.iam.add_user_to_group(UserName=name, GroupName=self.group)
        return name

    @functools.cached_property
    def access_key(self):
        return self.iam.create_access_key(UserName=self.user)["AccessKey"]["AccessKeyId"]

    @functools.cached_property
    def bare_user(self):
        name = self.world.name("user")
        self.iam.create_user(UserName=name)
        return name

    @functools.cached_property
    def role(self):
        name = self.world.name("role")
        self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust({"AWS": MAIN}), Tags=TAGS, PermissionsBoundary=self.policy)
        self.iam.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument=document())
        self.iam.attach_role_policy(RoleName=name, PolicyArn=self.policy)
        return name

    @functools.cached_property
    def bare_role(self):
        name = self.world.name("role")
        self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust({"AWS": MAIN}))
        return name

    @functools.cached_property
    def provider(self):
        url = "https://id.example.com/" + self.world.name("provider")
        return self.iam.create_open_id_connect_provider(Url=url, ClientIDList=["app"], Tags=TAGS)["OpenIDConnectProviderArn"]


# Members of requests by their name in the model; a set of names says for which operations another one is meant.
IAM_MEMBERS = {
    "UserName": lambda m, name: {"CreateUser": "new", "DeleteUser": "bare_user", "AddUserToGroup": "bare_user"}.get(name, "user"),
    "GroupName": lambda m, name: {"CreateGroup": "new", "DeleteGroup": "bare_group"}.get(name, "group"),
    "RoleName": lambda m, name: {"CreateRole": "new", "DeleteRole": "bare_role"}.get(name, "role"),
    "PolicyArn": lambda m, name: "bare_policy" if name.startswith("Attach") or name == "DeletePolicy" else "policy",
    "AccessKeyId": lambda m, name: "access_key",
    "OpenIDConnectProviderArn": lambda m, name: "provider",
    "PermissionsBoundary": lambda m, name: "bare_policy",
}
IAM_VALUES = {
    "PolicyName": "inline",
    "PolicyDocument": document(),
    "AssumeRolePolicyDocument": trust({"AWS": MAIN}),
    "VersionId": "v2",
    "Status": "Inactive",
    "Description": "d",
    "Tags": TAGS,
    "TagKeys": ["a"],
    "ClientID": "app",
    "ThumbprintList": ["a" * 40],
    "ActionNames": ["s3:GetObject"],
    "PolicyInputList": [document()],
}
# Members that the model does not require: without them the call is about its caller.
IAM_OPTIONAL = {"GetUser", "ListAccessKeys", "CreateAccessKey", "UpdateAccessKey", "DeleteAccessKey"}
IAM_OWN = {
    "CreatePolicy": lambda m: {"PolicyName": m.new},
    "UpdateAssumeRolePolicy": lambda m: {"PolicyDocument": trust({"AWS": MAIN})},
    "CreateOpenIDConnectProvider": lambda m: {"Url": f"https://id.example.com/{m.new}"},
    "SimulatePrincipalPolicy": lambda m: {"PolicySourceArn": f"arn:aws:iam::{MAIN}:user/{m.user}"},
    "GetContextKeysForPrincipalPolicy": lambda m: {"PolicySourceArn": f"arn:aws:iam::{MAIN}:user/{m.user}"},
}


def iam_parameters(world, name):
    shape = world.iam.meta.service_model.operation_model(name).input_shape
    members, made = Members(world), {}
    made.update(IAM_OWN.get(name, lambda m: {})(members))
    wanted = set(shape.required_members) if shape else set()
    wanted |= {"UserName"} if name in IAM_OPTIONAL else set()
    for member in wanted - set(made):
        made[member] = getattr(members, IAM_MEMBERS[member](members, name)) if member in IAM_MEMBERS else IAM_VALUES[member]
    return made


STS = {
    "GetCallerIdentity": lambda m: {},
    "GetSessionToken": lambda m: {},
    "GetFederationToken": lambda m: {"Name": "guest"},
    "GetAccessKeyInfo": lambda m: {"AccessKeyId": m.access_key},
    "AssumeRole": lambda m: {"RoleArn": f"arn:aws:iam::{MAIN}:role/{m.bare_role}", "RoleSessionName": "doors"},
    "AssumeRoleWithWebIdentity": lambda m: {"RoleArn": f"arn:aws:iam::{MAIN}:role/{m.bare_role}", "RoleSessionName": "doors", "WebIdentityToken": "none"},
}
CLOUDTRAIL = {"LookupEvents": {}}
DOCUMENTS = {
    "kms": lambda world, name: KMS[name](Keys(world)),
    "iam": iam_parameters,
    "sts": lambda world, name: STS[name](Members(world)),
    "cloudtrail": lambda world, name: CLOUDTRAIL[name],
}
