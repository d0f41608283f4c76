#!/usr/bin/env bash
# A development server that stays, and the commands to use it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

home=${TRESOR_RUN_DIR:-$TRESOR_CACHE/run}
mkdir -p "$home"
rm -f "$home/data/endpoints.json"
LISTEN=127.0.0.1:9000 TLS_LISTEN=127.0.0.1:9443 start_server "$home"
cat <<TEXT
Tresor answers on $HTTP and $HTTPS; its data lies in $home. Ctrl-C stops it. In another terminal:

  export AWS_SHARED_CREDENTIALS_FILE=$AWS_SHARED_CREDENTIALS_FILE
  export AWS_ENDPOINT_URL=$HTTP AWS_DEFAULT_REGION=us-east-1
  # for HTTPS: export AWS_ENDPOINT_URL=$HTTPS AWS_CA_BUNDLE=$CA

  aws s3 mb s3://first
  aws s3 cp README.md s3://first/
  aws s3 cp README.md s3://first/kms.md --sse aws:kms
  aws s3api head-object --bucket first --key kms.md
  $TRESOR_BIN keys list --data-dir $home/data
TEXT
trap 'kill "$SERVER_PID"' INT TERM
wait "$SERVER_PID"
