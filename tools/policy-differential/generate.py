"""Random pairs of policies and a request, the same for the same seed. What is drawn is skewed towards what the request is about, so
that allows and both kinds of denies are frequent; what the simulator cannot be asked stands in `docs/policy-differences.md`."""

import base64
import random

HOME, OTHER = "111122223333", "444455556666"
BUCKET = "vault"
KEY = f"arn:aws:kms:us-east-1:{HOME}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
ROLE = f"arn:aws:iam::{HOME}:role/app"
NAMES = ["red", "blue", "Red", "team-7", "r*d", "a b", ""]
BINARY = base64.b64encode(b"tresor").decode()

# Weight, principal, its kind.
PRINCIPALS = [
    (30, f"arn:aws:iam::{HOME}:user/alice", "user"),
    (18, f"arn:aws:sts::{HOME}:assumed-role/app/s1", "session"),
    (16, f"arn:aws:iam::{OTHER}:user/bob", "user"),
    (8, f"arn:aws:sts::{OTHER}:assumed-role/partner/s9", "session"),
    (5, f"arn:aws:iam::{HOME}:root", "root"),
    (2, f"arn:aws:iam::{OTHER}:root", "root"),
    (4, f"arn:aws:sts::{HOME}:federated-user/alice", "federated"),
    (12, "anonymous", "anonymous"),
    (3, "logging.s3.amazonaws.com", "service"),
]

OBJECT = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:GetObjectTagging", "s3:PutObjectAcl", "s3:GetObjectVersion"]
OF_BUCKET = ["s3:ListBucket", "s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy", "s3:ListBucketVersions"]
OF_KEY = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:DescribeKey", "kms:CreateGrant", "kms:PutKeyPolicy", "kms:DisableKey"]
OBJECTS = ["reports/q1.csv", "home/alice/notes.txt", "home/bob/notes.txt", "home/red/x", "a:b/c", "logs/2024/01/x y.gz", "ü/é"]

# Keys every action may bring: the type, and what they may hold.
TEXT, ARN, BOOL, NUMBER, DATE, ADDRESS, MANY, BYTES = "text", "arn", "bool", "number", "date", "address", "many", "bytes"
GLOBAL = {
    "aws:username": (TEXT, ["alice", "bob"]),
    "aws:PrincipalTag/team": (TEXT, NAMES),
    "aws:PrincipalTag/site": (TEXT, ["x", "y"]),
    "aws:UserAgent": (TEXT, ["aws-cli/2.17 Python/3.12", "curl/8.0"]),
    "aws:Referer": (BYTES, [BINARY, base64.b64encode(b"other").decode(), "https://example.com/a?b=c"]),
    "aws:PrincipalOrgID": (TEXT, ["o-a1b2c3d4e5", "o-zzzzzzzzzz"]),
    "aws:PrincipalAccount": (TEXT, [HOME, OTHER]),
    "aws:PrincipalArn": (ARN, [f"arn:aws:iam::{HOME}:user/alice", ROLE, f"arn:aws:iam::{OTHER}:user/bob"]),
    "aws:SourceArn": (ARN, ["arn:aws:sns:us-east-1:111122223333:topic", "arn:aws:s3:::vault", "arn:aws:lambda:eu-west-1:444455556666:function:f:1"]),
    "aws:SecureTransport": (BOOL, ["true", "false"]),
    "aws:MultiFactorAuthPresent": (BOOL, ["true", "false"]),
    "aws:MultiFactorAuthAge": (NUMBER, ["0", "59", "60", "3600", "-1"]),
    "aws:CurrentTime": (DATE, ["2024-06-01T00:00:00Z", "2024-05-31T23:59:59Z", "2025-01-01T12:00:00.5Z"]),
    "aws:TokenIssueTime": (DATE, ["2024-06-01T00:00:00Z", "2023-01-01T00:00:00Z"]),
    "aws:EpochTime": (DATE, ["1717200000", "1717199999", "1735732800"]),
    "aws:SourceIp": (ADDRESS, ["203.0.113.7", "10.1.2.3", "192.168.0.1", "2001:db8::1", "2001:db8:1::7"]),
    "aws:TagKeys": (MANY, ["team", "Team", "site", "cost"]),
    "aws:PrincipalOrgPaths": (MANY, ["o-a1b2c3d4e5/r-ab12/ou-x/", "o-a1b2c3d4e5/r-ab12/", "o-zzzzzzzzzz/r-1/"]),
}
OWN = {
    "s3:PutObject": {
        "s3:x-amz-server-side-encryption": (TEXT, ["AES256", "aws:kms", "aws:kms:dsse"]),
        "s3:x-amz-acl": (TEXT, ["private", "public-read", "bucket-owner-full-control"]),
        "s3:RequestObjectTag/Team": (TEXT, NAMES),
        "s3:RequestObjectTagKeys": (MANY, ["Team", "team", "Site"]),
        "s3:x-amz-server-side-encryption-aws-kms-key-id": (ARN, [KEY, KEY.replace("1234abcd", "ffffffff")]),
    },
    "s3:GetObject": {"s3:ExistingObjectTag/Team": (TEXT, NAMES)},
    "s3:PutObjectAcl": {"s3:x-amz-acl": (TEXT, ["private", "public-read"])},
    "s3:GetObjectVersion": {"s3:VersionId": (TEXT, ["v1", "v2"])},
    "s3:ListBucket": {
        "s3:prefix": (TEXT, ["home/alice/", "home/", "", "home/red/"]),
        "s3:delimiter": (TEXT, ["/"]),
        "s3:max-keys": (NUMBER, ["1", "10", "1000"]),
    },
    "kms:Decrypt": {"kms:EncryptionContextKeys": (MANY, ["aws:s3:arn", "AppName", "appname"])},
    "kms:CreateGrant": {
        "kms:GrantOperations": (MANY, ["Decrypt", "Encrypt", "CreateGrant"]),
        "kms:GrantIsForAWSResource": (BOOL, ["true", "false"]),
    },
}
OF_EVERY_KMS = {
    "kms:ViaService": (TEXT, ["s3.us-east-1.amazonaws.com", "ebs.us-east-1.amazonaws.com"]),
    "kms:CallerAccount": (TEXT, [HOME, OTHER]),
}
OF_EVERY_S3 = {"s3:authType": (TEXT, ["REST-HEADER", "REST-QUERY-STRING"]), "s3:signatureAge": (NUMBER, ["0", "600000"])}

STRING = ["StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike", "StringNotLike"]
COMPARE = ["Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"]
OPERATORS = {
    TEXT: STRING,
    MANY: STRING,
    BYTES: ["BinaryEquals"],
    BOOL: ["Bool"],
    ARN: ["ArnEquals", "ArnNotEquals", "ArnLike", "ArnNotLike", "StringLike", "StringNotEquals"],
    ADDRESS: ["IpAddress", "NotIpAddress"],
    NUMBER: [f"Numeric{name}" for name in COMPARE],
    DATE: [f"Date{name}" for name in COMPARE],
}
NETWORKS = ["203.0.113.0/24", "10.0.0.0/8", "203.0.113.7", "192.168.0.0/16", "0.0.0.0/0", "2001:db8::/32", "2001:0db8::1", "::/0"]
DATES = ["2024-06-01T00:00:00Z", "2024-06-01", "1717200000", "2030-01-01T00:00:00Z", "2024-06-01T02:00:00+02:00", "2024-06-01T00:00Z", "2024-06"]


class Draw:
    """One case."""

    def __init__(self, seed, index):
        self.random = random.Random(f"{seed}:{index}")
        self.pick, self.chance = self.random.choice, lambda share: self.random.random() < share

    def case(self, name):
        self.principal, self.kind = self.weighted([(weight, (who, kind)) for weight, who, kind in PRINCIPALS])
        self.service = self.weighted([(62, "s3"), (28, "kms"), (10, "sts")])
        if self.service == "sts" and self.kind in ("anonymous", "service", "federated"):
            self.service = "s3"
        self.action, self.resource = self.target()
        self.keys = self.known_keys()
        self.context = {}
        for key, (of, values) in self.keys.items():
            if self.chance(0.55):
                self.context[key] = self.random.sample(values, self.random.randint(1, 2)) if of == MANY else self.pick(values)
        own = self.kind not in ("anonymous", "service")
        wildcard = self.resource == "*"
        policies = {}
        if own:
            count = self.weighted([(25, 0), (55, 1), (20, 2)])
            policies["identity"] = [self.document(False) for _ in range(count)]
            if self.kind in ("user", "session") and self.chance(0.22):
                policies["boundary"] = self.document(False, generous=True)
            if self.kind in ("session", "federated") and self.chance(0.4):
                policies["session"] = self.document(False, generous=True)
        if self.service != "s3" or self.chance(0.75):
            if not wildcard:
                policies["resource"] = self.document(True)
        request = {
            "principal": self.principal,
            "action": self.action,
            "resource": self.resource,
            # What concerns no resource concerns the caller's own account.
            "resource_account": self.principal.split(":")[4] if wildcard else HOME,
            "context": self.context,
        }
        case = {"id": name, "policies": policies, "request": request}
        if self.service == "s3" and self.chance(0.08):
            case["settings"] = {"restrict_public_buckets": True}
        return case

    def weighted(self, choices):
        return self.random.choices([value for _, value in choices], [weight for weight, _ in choices])[0]

    def target(self):
        if self.service == "kms":
            return self.pick(OF_KEY), KEY
        if self.service == "sts":
            return "sts:AssumeRole", ROLE
        drawn = self.weighted([(70, "object"), (25, "bucket"), (5, "all")])
        if drawn == "all" and self.kind not in ("anonymous", "service"):
            return "s3:ListAllMyBuckets", "*"
        if drawn == "bucket":
            return self.pick(OF_BUCKET), f"arn:aws:s3:::{BUCKET}"
        return self.pick(OBJECT), f"arn:aws:s3:::{BUCKET}/{self.pick(OBJECTS)}"

    def known_keys(self):
        of_service = {"kms": OF_EVERY_KMS, "s3": OF_EVERY_S3, "sts": {}}[self.service]
        every = {**GLOBAL, **of_service}
        some = dict(self.random.sample(sorted(every.items()), 5))
        return {**some, **OWN.get(self.action, {})}

    # Documents.

    def document(self, of_resource, generous=False):
        count = self.weighted([(50, 1), (35, 2), (15, 3)])
        statements = [self.statement(of_resource, generous) for _ in range(count)]
        version = self.weighted([(88, "2012-10-17"), (9, "2008-10-17"), (3, None)])
        document = {} if version is None else {"Version": version}
        # One statement may stand without its list.
        document["Statement"] = statements[0] if count == 1 and self.chance(0.3) else statements
        return document

    def statement(self, of_resource, generous):
        allow = self.chance(0.85 if generous else 0.7)
        statement = {"Effect": "Allow" if allow else "Deny"}
        if of_resource:
            negated = not allow and self.service != "sts" and self.chance(0.2)
            statement["NotPrincipal" if negated else "Principal"] = self.principals(negated)
        negated = self.chance(0.12)
        statement["NotAction" if negated else "Action"] = self.some(lambda: self.action_pattern(negated), allow)
        if not (of_resource and self.service == "sts"):
            negated = self.chance(0.12)
            statement["NotResource" if negated else "Resource"] = self.some(lambda: self.resource_pattern(negated), allow)
        conditions = self.weighted([(45, 0), (36, 1), (14, 2), (5, 3)])
        block = {}
        for _ in range(conditions):
            operator, key, values = self.condition()
            block.setdefault(operator, {})[key] = values
        if block:
            statement["Condition"] = block
        return statement

    def some(self, one, _allow):
        count = self.weighted([(70, 1), (22, 2), (8, 3)])
        values = [one() for _ in range(count)]
        return values[0] if count == 1 and self.chance(0.6) else values

    def principals(self, negated):
        if self.chance(0.22):
            return self.pick(["*", {"AWS": "*"}])
        account = self.principal.split(":")[4] if self.principal.startswith("arn:") else HOME
        own = [account, f"arn:aws:iam::{account}:root"]
        if self.kind in ("user", "session", "federated"):
            own += [self.principal] * 3
        if self.kind == "session":
            own += [f"arn:aws:iam::{account}:role/{self.principal.split('/')[1]}"] * 3
        if self.kind == "federated":
            own += [f"arn:aws:iam::{account}:user/alice"] * 2
        others = [f"arn:aws:iam::{OTHER}:user/bob", f"arn:aws:iam::{HOME}:user/carol", "777788889999", ROLE]
        if self.kind == "service" and self.chance(0.8):
            return {"Service": self.principal}
        named = [self.pick(own) if self.chance(0.7) else self.pick(others) for _ in range(self.random.randint(1, 4 if negated else 2))]
        return {"AWS": named[0] if len(named) == 1 else named}

    def action_pattern(self, negated):
        service, name = self.action.split(":")
        hit = [self.action, f"{service}:*", "*", f"{service}:{name[:4]}*", f"{service}:{name.lower()}", f"{service.upper()}:{name}", f"{service}:?{name[1:]}", f"{service}:*{name[-4:]}"]
        miss = [f"{service}:List*", f"{service}:Delete*", "ec2:*", f"{service}:{name}Nothing", f"{service}:Get*", f"{service}:{name}?"]
        return self.pick(hit) if self.chance(0.35 if negated else 0.82) else self.pick(miss)

    def resource_pattern(self, negated):
        hit, miss = [self.resource, "*"], ["arn:aws:s3:::other/*", "arn:aws:kms:us-east-1:*:alias/*"]
        if self.service == "kms":
            hit += [f"arn:aws:kms:*:{HOME}:key/*", "arn:*:kms:us-east-1:*:*", "arn:aws:kms:us-*-1:1111????3333:key/1234*"]
            miss += ["arn:aws:kms:*::*", "arn:aws:kms:us-east-1:*:key/ffff*", f"arn:aws:kms:*:{OTHER}:key/*"]
        elif self.service == "sts":
            hit += [f"arn:aws:iam::{HOME}:role/*", "arn:aws:iam::*:role/a?p"]
            miss += [f"arn:aws:iam::{HOME}:user/*"]
        elif self.resource != "*":
            path = self.resource.removeprefix("arn:aws:s3:::")
            name = path.partition("/")[2]
            hit += ["arn:aws:s3:::*", f"arn:aws:s3:::{path[:8]}*", f"arn:aws:s3:::{path[:-1]}?", "arn:aws:s3:::v*", "arn:*:s3:*:*:vault*"]
            miss += ["arn:aws:s3:::Vault/*", "arn:aws:s3:::vault/home/?", "arn:aws:s3:us-east-1::vault/*", "arn:aws:s3:::vault/*/none"]
            if name:
                folder = name.split("/")[1] if name.startswith("home/") else "x"
                hit += [f"arn:aws:s3:::{BUCKET}/*", f"arn:aws:s3:::{BUCKET}/*/*"]
                miss += [f"arn:aws:s3:::{BUCKET}"]
                hit += [f"arn:aws:s3:::{BUCKET}/home/${{aws:PrincipalTag/team}}/*", f"arn:aws:s3:::{BUCKET}/home/${{aws:username}}/*"]
                hit += [f"arn:aws:s3:::{BUCKET}/home/${{aws:username, '{folder}'}}/*", f"arn:aws:s3:::*/${{aws:PrincipalTag/team, 'red'}}/?"]
                miss += [f"arn:aws:s3:::{BUCKET}/home/${{*}}/*", f"arn:aws:s3:::{BUCKET}/${{aws:TagKeys}}/*"]
        return self.pick(hit) if self.chance(0.4 if negated else 0.85) else self.pick(miss)

    # Conditions.

    def condition(self):
        key = self.pick(sorted(self.keys))
        of, values = self.keys[key]
        if self.chance(0.08):
            return "Null", self.written(key), self.pick(["true", "false", True, False])
        operator = self.pick(OPERATORS[of])
        operator += "IfExists" if self.chance(0.2) else ""
        if self.chance(0.85 if of == MANY else 0.06):
            operator = self.pick(["ForAllValues:", "ForAnyValue:"]) + operator
        if self.chance(0.04):
            operator = operator.lower() if ":" not in operator else operator
        count = self.weighted([(65, 1), (28, 2), (7, 3)])
        wanted = [self.value(key, of, values, operator) for _ in range(count)]
        return operator, self.written(key), wanted[0] if count == 1 and self.chance(0.6) else wanted

    def written(self, key):
        return key.lower() if self.chance(0.1) else key

    def value(self, key, of, values, operator):
        brought = self.context.get(key)
        brought = [brought] if isinstance(brought, str) else brought or []
        value = self.pick(brought) if brought and self.chance(0.6) else self.pick(values)
        if of == DATE:
            return self.pick(DATES) if self.chance(0.6) else value
        if of == ADDRESS:
            return self.pick(NETWORKS) if self.chance(0.7) else value
        if of == NUMBER:
            number = self.pick([value, str(int(value) + 1), f"{value}.0", f"{value}.5"])
            return int(number) if number.lstrip("-").isdigit() and self.chance(0.2) else number
        if of == BOOL:
            return self.pick([value, value.upper(), value == "true"])
        if of == BYTES:
            return value if value.endswith("=") or value.isalnum() else BINARY
        lower = operator.lower()
        if of == ARN and "arn" in lower:
            parts = value.split(":", 5)
            return self.pick([value, ":".join(parts[:4] + ["*", "*"]), ":".join([*parts[:5], parts[5][:-1] + "?"]), "arn:aws:*:*:*:*", "arn:aws:iam::${aws:PrincipalAccount}:*"])
        if "like" in lower:
            return self.pick([value, value[:2] + "*", "*" + value[-3:], value[:-1] + "?", "*", "${aws:username}*", "x${aws:PrincipalTag/team, ''}", "a${*}b", value.upper()])
        return self.pick([value, value, value.upper(), value.lower(), "${aws:username}", "${aws:PrincipalTag/team, 'red'}", value[:2] + "*", "${$}"])


def cases(seed, count, start=0):
    for index in range(start, start + count):
        yield Draw(seed, index).case(f"{seed}:{index}")
