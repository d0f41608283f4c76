"""Why the simulator may answer otherwise than Tresor. A rule rewrites a case so that Tresor, asked about the rewritten one, must do what
the simulator does with the original one: a difference is explained when it then answers the same, and by nothing else. `docs/
policy-differences.md` is written from here."""

import copy
import ipaddress
import re
from dataclasses import dataclass
from typing import Callable

from generate import DATE, GLOBAL, HOME

VARIABLE = re.compile(r"\$\{([^}*?$]+)\}")
NEVER = "${tresor:absent}"


@dataclass(frozen=True)
class Rule:
    name: str
    title: str
    # What the simulator does, and why Tresor does not.
    why: str
    source: str
    # The rewritten case, or nothing where the rule has no say. With it: cases that Tresor must answer as said, so that the rule stays
    # narrow.
    rewrite: Callable
    # A small case on which the two differ, with the simulator's answer and Tresor's.
    example: dict
    # What the simulator makes of Tresor's answer to the rewritten case.
    answer: dict | None = None


# Reading and rewriting.


def lists(value):
    return value if isinstance(value, list) else [value]


def documents(case):
    """Each document with its side."""
    for side, value in case["policies"].items():
        for document in lists(value):
            yield side, document


def statements(case):
    """Each statement with its side."""
    for side, document in documents(case):
        for statement in lists(document["Statement"]):
            yield side, statement


def conditions(statement):
    """Each operator in small letters without what stands around it, its whole name, key, values and the block they stand in."""
    for operator, keys in statement.get("Condition", {}).items():
        base = operator.lower().split(":")[-1].removesuffix("ifexists")
        for key, values in keys.items():
            yield base, operator, key, lists(values), keys


def silence(statement):
    """Lets a statement speak of nothing."""
    statement.pop("NotAction", None)
    statement["Action"] = "none:None"


def brought(case, key):
    """What the request brought under a key written in any case; nothing when it did not."""
    context = case["request"]["context"]
    return next((value for known, value in context.items() if known.lower() == key.lower()), None)


def without_value(case, text):
    """Whether a text holds a variable that has neither a value nor a default."""
    for inner in VARIABLE.findall(text):
        key, comma, _ = inner.partition(",")
        value = brought(case, key.strip())
        if not comma and not isinstance(value, str):
            return True
    return False


def account_of(principal):
    return principal.split(":")[4] if principal.startswith("arn:") else None


def rewriting(change):
    """A rule that works on a copy; `change` tells whether it did anything."""

    def rewrite(case):
        case = copy.deepcopy(case)
        return (case, []) if change(case) else None

    return rewrite


def example(identity=None, resource=None, *, principal="user/alice", action="s3:GetObject", place=None, context=None, **more):
    """A case in few words."""
    allow = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    policies = {"identity": [policy(allow if identity is None else identity)] if identity != () else []}
    if resource:
        policies["resource"] = policy(resource)
    policies.update({side: policy(more.pop(side)) for side in ("boundary", "session") if side in more})
    service = "sts" if "assumed-role" in principal or "federated" in principal else "iam"
    account = more.pop("account", HOME)
    request = {
        "principal": f"arn:aws:{service}::{account}:{principal}",
        "action": action,
        "resource": place or "arn:aws:s3:::vault/home/x",
        "resource_account": HOME,
        "context": context or {},
    }
    answers = {"simulator": more.pop("simulator"), "tresor": more.pop("tresor")}
    return {"case": {"policies": policies, "request": request, **more}, **answers}


def policy(statement, version="2012-10-17"):
    if "Statement" in statement:
        return statement
    return {"Version": version, "Statement": [statement]}


def allow(condition=None, **more):
    return {"Effect": "Allow", "Action": "*", "Resource": "*", **({"Condition": condition} if condition else {}), **more}


def deny(condition=None, **more):
    return {**allow(condition, **more), "Effect": "Deny"}


# The rules.


@rewriting
def old_version(case):
    changed = False
    for _, document in documents(case):
        if document.get("Version") != "2012-10-17" and "${" in repr(document):
            document["Version"], changed = "2012-10-17", True
    return changed


@rewriting
def empty_default(case):
    changed = False

    def one(found):
        nonlocal changed
        key, comma, default = found[1].partition(",")
        if not comma or default.strip() != "''":
            return found[0]
        changed = True
        # An empty value leaves a text that nothing matches, none at all a mistake.
        return NEVER if brought(case, key.strip()) == "" else f"${{{key}}}"

    for _, statement in statements(case):
        for base, _, key, values, keys in conditions(statement):
            if base.startswith(("string", "arn")):
                keys[key] = [VARIABLE.sub(one, text) if isinstance(text, str) else text for text in values]
    return changed


@rewriting
def valueless_variable(case):
    changed = False
    for _, statement in statements(case):
        if any(without_value(case, text) for text in lists(statement.get("NotResource", []))):
            silence(statement)
            changed = True
        for base, _, key, values, _ in list(conditions(statement)):
            negated = base.startswith(("stringnot", "arnnot"))
            if negated and brought(case, key) is not None and any(without_value(case, str(value)) for value in values):
                silence(statement)
                changed = True
    return changed


@rewriting
def not_principal(case):
    who = case["request"]["principal"]
    account = account_of(who)
    mine = {"*", who, account, f"arn:aws:iam::{account}:root"}
    if ":assumed-role/" in who:
        mine.add(f"arn:aws:iam::{account}:role/{who.split('/')[1]}")
    if ":federated-user/" in who:
        mine.add(f"arn:aws:iam::{account}:user/{who.split('/')[1]}")
    changed = False
    for _, statement in statements(case):
        names = statement.get("NotPrincipal")
        if names is None:
            continue
        named = [names] if names == "*" else [name for values in names.values() for name in lists(values)]
        if mine.intersection(named):
            silence(statement)
            changed = True
    return changed


@rewriting
def many_values(case):
    changed = False
    for _, statement in statements(case):
        for base, operator, key, _, _ in list(conditions(statement)):
            if base != "null" and ":" not in operator and isinstance(brought(case, key), list) and statement["Effect"] == "Deny":
                silence(statement)
                changed = True
    return changed


@rewriting
def arn_variable(case):
    changed = False
    for _, statement in statements(case):
        for base, _, key, values, keys in conditions(statement):
            early = [value for value in values if "${" in ":".join(value.split(":")[:5])] if base.startswith("arn") else []
            if early:
                keys[key] = ["arn:none:none:none:none:none" if value in early else value for value in values]
                changed = True
    return changed


@rewriting
def epoch(case):
    of_dates = {key for key, (of, _) in GLOBAL.items() if of == DATE}
    milliseconds = lambda text: str(int(text) / 1000) if isinstance(text, str) and text.isdigit() else text
    before = copy.deepcopy(case)
    context = case["request"]["context"]
    for key in of_dates.intersection(context):
        context[key] = milliseconds(context[key])
    for _, statement in statements(case):
        for base, _, key, values, keys in conditions(statement):
            if base.startswith("date"):
                keys[key] = [milliseconds(value) for value in values]
    return case != before


@rewriting
def addresses(case):
    changed = False
    for _, statement in statements(case):
        for base, _, key, values, keys in list(conditions(statement)):
            came = brought(case, key)
            if not base.endswith("ipaddress") or came is None:
                continue
            came = ipaddress.ip_address(came)
            alone = [value for value in values if "/" not in value]
            if base == "notipaddress" and any(ipaddress.ip_address(value).version != came.version for value in alone):
                silence(statement)
                changed = True
            if came.version == 4 and "0.0.0.0/0" in values:
                keys[key] = values = ["0.0.0.0" if value == "0.0.0.0/0" else value for value in values]
                changed = True
            for value in alone:
                if ipaddress.ip_address(value) == came and value != str(came):
                    keys[key] = ["::dead" if value == other else other for other in values]
                    changed = True
    return changed


@rewriting
def tag_case(case):
    changed = False
    context = case["request"]["context"]
    for _, statement in statements(case):
        for _, _, key, values, keys in list(conditions(statement)):
            known = next((known for known in context if known.lower() == key.lower()), None)
            if key.lower().startswith("s3:") and "/" in key and known and key.split("/")[1] != known.split("/")[1]:
                keys[known] = keys.pop(key)
                changed = True
    return changed


@rewriting
def federated(case):
    who = case["request"]["principal"]
    if ":federated-user/" not in who:
        return False
    account, name = account_of(who), who.split("/")[1]
    session, role = f"arn:aws:sts::{account}:assumed-role/federation/{name}", f"arn:aws:iam::{account}:role/federation"
    case["request"]["principal"] = session
    for _, statement in statements(case):
        for element in ("Principal", "NotPrincipal"):
            if isinstance(statement.get(element), dict):
                swap = {who: session, f"arn:aws:iam::{account}:user/{name}": role}
                statement[element] = {kind: [swap.get(n, n) for n in lists(names)] for kind, names in statement[element].items()}
    return True


def is_root(case):
    return case["request"]["principal"].endswith(":root")


def as_a_user(case):
    case["request"]["principal"] = f"arn:aws:iam::{account_of(case['request']['principal'])}:user/of-the-root"


@rewriting
def root(case):
    if not is_root(case) or case["request"]["action"].startswith("sts:"):
        return False
    as_a_user(case)
    return True


@rewriting
def root_assumes(case):
    if not is_root(case) or not case["request"]["action"].startswith("sts:"):
        return False
    as_a_user(case)
    return True


FOREIGN = {"kms:PutKeyPolicy", "kms:DisableKey"}


@rewriting
def foreign_key(case):
    """The action's place is taken by one that another account may be allowed."""
    action = case["request"]["action"]
    if action not in FOREIGN or account_of(case["request"]["principal"]) == HOME:
        return False
    case["request"]["action"] = "kms:Decrypt"
    for _, statement in statements(case):
        for element in ("Action", "NotAction"):
            if element in statement:
                wild = lambda text: ".*".join("." .join(map(re.escape, part.split("?"))) for part in text.split("*"))
                spoken = any(re.fullmatch(wild(text), action, re.IGNORECASE) for text in lists(statement[element]))
                statement[element] = "kms:Decrypt" if spoken else "none:None"
    return True


def session_caps(case):
    """Holds where the session's policy alone does not allow: nothing but its own side can then speak for the caller."""
    if "session" not in case["policies"] or "resource" not in case["policies"]:
        return None
    alone = copy.deepcopy(case)
    # By itself, as if it were the policy of a user whom the resource leaves alone.
    alone["policies"] = {"identity": [case["policies"]["session"]]}
    request = alone["request"]
    if not request["action"].startswith("s3:"):
        neutral = {"Effect": "Allow", "Principal": {"AWS": HOME}, "Action": "*", "Resource": "*"}
        if request["action"].startswith("sts:"):
            del neutral["Resource"]
        alone["policies"]["resource"] = policy(neutral)
    probe = (alone, "implicit_deny")
    case = copy.deepcopy(case)
    for statement in lists(case["policies"]["resource"]["Statement"]):
        if statement["Effect"] == "Allow":
            silence(statement)
    return case, [probe]


@rewriting
def blocked(case):
    return case.pop("settings", {}).get("restrict_public_buckets", False)


IAM = "https://docs.aws.amazon.com/IAM/latest/UserGuide/"
VAULT = {"Principal": {"AWS": HOME}}
SESSION = "assumed-role/app/s1"

RULES = [
    Rule(
        "old-version",
        "Variables in documents of the version of 2008",
        "The simulator replaces `${…}` in every document. Without `\"Version\": \"2012-10-17\"` it is text.",
        IAM + "reference_policies_variables.html (\"Using variables\": the version must be 2012-10-17)",
        old_version,
        example(
            policy(allow(Resource="arn:aws:s3:::vault/home/${aws:username}"), "2008-10-17"),
            context={"aws:username": "x"}, simulator="allow", tresor="implicit_deny",
        ),
    ),
    Rule(
        "empty-default",
        "Variables with an empty default",
        "The simulator takes an empty default for none. An empty text is a default.",
        IAM + "reference_policies_variables.html#policy-vars-default-values",
        empty_default,
        example(
            allow({"StringLike": {"aws:PrincipalTag/site": "x${aws:PrincipalTag/team, ''}"}}),
            context={"aws:PrincipalTag/site": "x"}, simulator="implicit_deny", tresor="allow",
        ),
    ),
    Rule(
        "valueless-variable",
        "Negated operators, NotResource and variables without a value",
        "The simulator lets the statement fall. A variable without a value matches nothing, so a negated operator holds, and NotResource "
        "excepts nothing.",
        IAM + "reference_policies_variables.html#policy-vars-no-value",
        valueless_variable,
        example(
            resource=deny({"StringNotEquals": {"aws:PrincipalTag/team": "${aws:username}"}}, Principal="*"),
            context={"aws:PrincipalTag/team": "red"}, simulator="allow", tresor="explicit_deny",
        ),
    ),
    Rule(
        "arn-variable",
        "Variables in the front of an ARN",
        "The simulator splits an ARN at the colon of a variable's name, so that `arn:aws:iam::${aws:PrincipalAccount}:…` matches nothing. ARN "
        "operators take variables, and a segment is what stands between the ARN's own colons.",
        IAM + "reference_policies_variables.html#policy-vars-wheretouse (\"Condition element\")",
        arn_variable,
        example(
            allow({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::${aws:PrincipalAccount}:*"}}),
            context={"aws:PrincipalArn": f"arn:aws:iam::{HOME}:user/alice", "aws:PrincipalAccount": HOME},
            simulator="implicit_deny", tresor="allow",
        ),
    ),
    Rule(
        "not-principal",
        "Whom NotPrincipal spares",
        "The simulator spares a caller of whom any name is listed. AWS looks at the account and at the user or role, so both must be "
        "listed; a caller with a permissions boundary is never spared.",
        IAM + "reference_policies_elements_notprincipal.html (\"Key points\")",
        not_principal,
        example(
            resource={"Effect": "Deny", "NotPrincipal": {"AWS": f"arn:aws:iam::{HOME}:user/alice"}, "Action": "*", "Resource": "*"},
            simulator="allow", tresor="explicit_deny",
        ),
    ),
    Rule(
        "multivalued-deny",
        "Denies on multivalued keys without a set operator",
        "AWS requires `ForAllValues` or `ForAnyValue` and does not say what happens without. Neither engine lets such a condition allow. "
        "The simulator does not let it deny either; Tresor does, so that a forgotten prefix does not leave something open.",
        IAM + "reference_policies_condition-single-vs-multi-valued-context-keys.html",
        many_values,
        example(
            resource=deny({"StringEquals": {"aws:TagKeys": "team"}}, Principal="*"),
            context={"aws:TagKeys": ["team", "site"]}, simulator="allow", tresor="explicit_deny",
        ),
    ),
    Rule(
        "epoch",
        "Dates as numbers",
        "The simulator compares a number with milliseconds. AWS's numbers are seconds.",
        IAM + "reference_policies_condition-keys.html#condition-keys-epochtime, reference_policies_elements_condition_operators.html#Conditions_Date",
        epoch,
        example(
            allow({"DateEquals": {"aws:CurrentTime": "1717200000"}}),
            context={"aws:CurrentTime": "2024-06-01T00:00:00Z"}, simulator="implicit_deny", tresor="allow",
        ),
    ),
    Rule(
        "addresses",
        "Networks and single addresses",
        "The simulator compares an address without a prefix as text, lets `NotIpAddress` fail for one of the other family, and finds no "
        "address in `0.0.0.0/0`. An address without a prefix is a network of one, however it is written; a prefix of 0 holds all.",
        IAM + "reference_policies_elements_condition_operators.html#Conditions_IPAddress",
        addresses,
        example(
            allow({"IpAddress": {"aws:SourceIp": "2001:0db8::1"}}),
            context={"aws:SourceIp": "2001:db8::1"}, simulator="implicit_deny", tresor="allow",
        ),
    ),
    Rule(
        "tag-case",
        "The case of object tags in condition keys",
        "The simulator looks every key up without its case. The names of keys do not depend on case; what stands behind the slash of "
        "`s3:ExistingObjectTag/` and `s3:RequestObjectTag/` is an object's tag, and tags do. No text of AWS speaks of these two.",
        "https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html (\"The key and values are case sensitive\")",
        tag_case,
        example(
            allow({"StringEquals": {"s3:ExistingObjectTag/team": "red"}}),
            context={"s3:ExistingObjectTag/Team": "red"}, simulator="allow", tresor="implicit_deny",
        ),
    ),
    Rule(
        "federated-user",
        "Who stands behind a federated user",
        "The simulator takes `federated-user/NAME` for a session of `user/NAME`. The name is free; the server knows the user who called "
        "GetFederationToken, a file of cases does not.",
        "https://docs.aws.amazon.com/STS/latest/APIReference/API_GetFederationToken.html (Name)",
        federated,
        example(
            (), {**allow(), "Principal": {"AWS": f"arn:aws:iam::{HOME}:user/alice"}},
            principal="federated-user/alice", simulator="allow", tresor="implicit_deny",
        ),
    ),
    Rule(
        "root",
        "The root of an account",
        "The simulator has no rule for it. Root may do everything in its own account, and recover a bucket whose policy locks it out. "
        "KMS keys are no exception to their policy.",
        IAM + "id_root-user.html; https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketPolicy.html (root can always call it)",
        root,
        example((), principal="root", simulator="implicit_deny", tresor="allow"),
    ),
    Rule(
        "root-assumes",
        "Roles and root",
        "The simulator lets root assume a role whose trust policy names the account. AWS refuses it.",
        "https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html (\"You cannot use AWS account root user credentials\")",
        root_assumes,
        example(
            allow(), {"Effect": "Allow", "Principal": {"AWS": HOME}, "Action": "sts:AssumeRole"},
            principal="root", action="sts:AssumeRole", place=f"arn:aws:iam::{HOME}:role/app", simulator="allow", tresor="implicit_deny",
        ),
    ),
    Rule(
        "foreign-key",
        "What other accounts may do with a key",
        "The simulator lets a key policy allow every action to another account, and to nobody in particular. AWS has a list, on which managing a "
        "key is not.",
        "https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-modifying-external-accounts.html",
        foreign_key,
        example(
            allow(), {**allow(), "Principal": "*"}, account="444455556666", action="kms:DisableKey",
            place=f"arn:aws:kms:us-east-1:{HOME}:key/1234abcd-12ab-34cd-56ef-1234567890ab", simulator="allow", tresor="implicit_deny",
        ),
    ),
    Rule(
        "session-policy",
        "What a resource policy gives to a session itself",
        "The simulator caps everything by the session's policy. What a resource's policy gives to the session's own ARN is not capped, what "
        "it gives to the role is. `*` means the session itself too; for boundaries the simulator says so as well.",
        IAM + "access_policies_boundaries.html (\"Resource-based policies for IAM role sessions\"), access_policies.html#policies_session",
        session_caps,
        example(
            (), {**allow(), "Principal": {"AWS": f"arn:aws:sts::{HOME}:{SESSION}"}}, principal=SESSION,
            session=allow(Action="s3:PutObject"), simulator="implicit_deny", tresor="allow",
        ),
    ),
    Rule(
        "public-access",
        "The word for blocked public access",
        "Both refuse. The simulator calls it an explicit deny; no statement of any policy denied, so Tresor calls it implicit.",
        "https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html (RestrictPublicBuckets)",
        blocked,
        example(
            allow(), {**allow(), "Principal": "*"}, account="444455556666",
            settings={"restrict_public_buckets": True}, simulator="explicit_deny", tresor="implicit_deny",
        ),
        answer={"allow": "explicit_deny"},
    ),
]
