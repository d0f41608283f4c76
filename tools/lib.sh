# What demo.sh and run.sh share: a development server on a directory, and the aws CLI pointed at it.

export PATH="$VENV/bin:$PATH"

# Starts a server in the background: start_server DIRECTORY. Sets SERVER_PID, HTTP, HTTPS, CA.
start_server() {
    local home=$1
    XDG_CONFIG_HOME="$home/config" "$TRESOR_BIN" serve --dev --data-dir "$home/data" \
        --listen "${LISTEN:-127.0.0.1:0}" --tls-listen "${TLS_LISTEN:-127.0.0.1:0}" --admin-listen 127.0.0.1:0 \
        >"$home/server.log" 2>&1 &
    SERVER_PID=$!
    for _ in $(seq 200); do
        [ -f "$home/data/endpoints.json" ] && break
        kill -0 "$SERVER_PID" 2>/dev/null || { cat "$home/server.log" >&2; return 1; }
        sleep 0.05
    done
    field() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$home/data/endpoints.json" "$1"; }
    HTTP=$(field http) HTTPS=$(field https) CA=$(field ca)
    export AWS_SHARED_CREDENTIALS_FILE="$home/data/credentials" AWS_CONFIG_FILE=/dev/null AWS_DEFAULT_REGION=us-east-1
    export AWS_CA_BUNDLE="$CA" AWS_ENDPOINT_URL="$HTTPS" AWS_PAGER=""
    unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE
}
