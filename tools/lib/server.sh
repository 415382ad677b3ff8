# Starts and stops a server of our own on a loopback port: sourced by tools/run.

SERVER="$ROOT/build/release/server/app/concertina-server"
CLIENT="$ROOT/build/release/client/concertina"
SERVER_LOG="$LOGS/server.log"
SERVER_PID=

# Prints COUNT loopback ports that are free now.
free_ports() {
  /usr/bin/env python3 - "$1" <<'PY'
import socket, sys

sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(s.getsockname()[1] for s in sockets), sep="\n")
PY
}

stop_server() {
  [[ -n $SERVER_PID ]] || return 0
  local waited pid=$SERVER_PID
  SERVER_PID=
  kill -TERM "$pid" 2>/dev/null || return 0
  for ((waited = 0; waited < 100; ++waited)); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
}

# start_server HOST:PORT METRICS_HOST:PORT: returns when the server answers health checks. In a session
# of its own, so that Ctrl-C in the chat does not reach it; it ends with this script at the latest.
start_server() {
  local target=$1 metrics=$2 waited
  mkdir -p "$LOGS"
  setsid setpriv --pdeathsig TERM "$SERVER" --listen "$target" --metrics-listen "$metrics" \
    --model "$ROOT/models/bundled/smollm2-135m-vision" </dev/null >"$SERVER_LOG" 2>&1 &
  SERVER_PID=$!
  for ((waited = 0; waited < 1200; ++waited)); do
    if ! kill -0 "$SERVER_PID" 2>/dev/null; then
      tail -n 40 "$SERVER_LOG" >&2
      die "the server did not start; its log is in ${SERVER_LOG#"$ROOT"/}"
    fi
    "$CLIENT" health --target "$target" >/dev/null 2>&1 && return
    sleep 0.1
  done
  die "the server was not ready within two minutes; its log is in ${SERVER_LOG#"$ROOT"/}"
}
