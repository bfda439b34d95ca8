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

sidegate run -c gateway.yaml &
gateway=$!
# Ctrl-C reaches Sidegate from the terminal as well: passing it on would be the second signal, which
# ends the drain. SIGTERM comes to this script alone.
trap : INT
trap 'kill -TERM "$gateway" 2>/dev/null || true' TERM

# A signal interrupts the wait while Sidegate drains, so wait until it is gone.
status=0
wait "$gateway" || status=$?
while kill -0 "$gateway" 2>/dev/null; do
    status=0
    wait "$gateway" || status=$?
done
exit "$status"
