// The simulator as a process of its own: one case a line on stdin, one answer a line on stdout.
// {"kind": "allow" | "explicit_deny" | "implicit_deny" | "error", "ignored": [context keys it dropped], "error": ...}

import { anonymousPrincipal, runSimulation } from "@cloud-copilot/iam-simulate";
import { createInterface } from "node:readline";

const KIND = { Allowed: "allow", ExplicitlyDenied: "explicit_deny", ImplicitlyDenied: "implicit_deny" };
const named = (policies) => policies.map((policy, index) => ({ name: `policy ${index + 1}`, policy }));

async function answer({ request, policies, settings }) {
  const { principal, action, resource, resource_account: accountId, context } = request;
  const done = await runSimulation(
    {
      request: {
        principal: principal === "anonymous" ? anonymousPrincipal : principal,
        action,
        resource: { resource, accountId },
        contextVariables: context,
      },
      identityPolicies: named(policies.identity ?? []),
      permissionBoundaryPolicies: policies.boundary && named([policies.boundary]),
      sessionPolicy: policies.session,
      resourcePolicy: policies.resource,
      serviceControlPolicies: [],
      resourceControlPolicies: [],
      additionalSettings: { s3: { blockPublicAccess: settings?.restrict_public_buckets ?? false } },
    },
    {},
  );
  if (done.resultType !== "single") return { kind: "error", error: done.errors ?? done.resultType };
  return { kind: KIND[done.overallResult] ?? "error", ignored: done.result.ignoredContextKeys };
}

for await (const line of createInterface({ input: process.stdin })) {
  let said;
  try {
    said = await answer(JSON.parse(line));
  } catch (error) {
    said = { kind: "error", error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(said)}\n`);
}
