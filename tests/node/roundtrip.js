// The AWS Encryption SDK for JavaScript against our KMS: `roundtrip.js kms|own encrypt|decrypt`, hexadecimal in and out.
const { buildClient, CommitmentPolicy, KmsKeyringNode, RawAesKeyringNode, RawAesWrappingSuiteIdentifier, KMS } = require("@aws-crypto/client-node");
const fs = require("fs");

const { encrypt, decrypt } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT);
const [mode, step] = process.argv.slice(2);

function keyring() {
  if (mode === "kms") {
    const client = () => new KMS({ endpoint: process.env.AWS_ENDPOINT_URL, region: process.env.AWS_REGION });
    return new KmsKeyringNode({ generatorKeyId: process.env.KEY_ARN, clientProvider: client });
  }
  return new RawAesKeyringNode({
    keyName: "own",
    keyNamespace: "tests",
    unencryptedMasterKey: new Uint8Array(Array.from({ length: 32 }, (_, n) => n)),
    wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
  });
}

async function main() {
  if (step === "encrypt") {
    const { result } = await encrypt(keyring(), Buffer.from(process.env.BODY, "hex"), { encryptionContext: { purpose: "test" } });
    process.stdout.write(result.toString("hex"));
  } else {
    const { plaintext } = await decrypt(keyring(), Buffer.from(fs.readFileSync(0, "utf8"), "hex"));
    process.stdout.write(plaintext.toString("hex"));
  }
}

main().catch((error) => {
  process.stderr.write(String(error));
  process.exit(1);
});
