#!/usr/bin/env bash
# Start the resource service on 9001 and Sidegate on 8085 (issuer) and 8091 (gate); Ctrl-C stops both.
set -euo pipefail

cd "$(dirname "$0")"
if [ -x ../../.venv/bin/sidegate ]; then
    PATH="$(cd ../../.venv/bin && pwd):$PATH"
fi

python -m gateway.demo.country_service --port 9001 &
service=$!
trap 'kill "$service" 2>/dev/null || true' EXIT
trap 'kill -TERM "$gateway" 2>/dev/null || true' INT TERM

sidegate run -c gateway.yaml &
gateway=$!
status=0
wait "$gateway" || status=$?
# A signal interrupts the first wait while Sidegate drains: wait for its real end.
while kill -0 "$gateway" 2>/dev/null; do
    status=0
    wait "$gateway" || status=$?
done
exit "$status"
