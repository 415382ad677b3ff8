# Starts and stops a server of our own on a loopback port: sourced by tools/run.

SERVER="$ROOT/build/release/server/app/concertina-server"
SERVER_LOG="$LOGS/server.log"
SERVER_PID=
SERVER_PORT=

# Also ends a server that is still loading. Only ever ends the one that start_server started.
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

# start_server PORT ARGUMENT...: starts the server with the bundled model on a loopback port, 0 for a
# free one, and returns when it answers calls, with SERVER_PORT set.
#
# It has a session of its own, so that Ctrl-C in the chat does not reach it, and gets a SIGTERM should
# this script be killed. Metrics and the admin service are off unless CONCERTINA_METRICS_LISTEN and
# CONCERTINA_ADMIN_LISTEN ask for them: their usual ports may be another server's.
start_server() {
  local port_file="$LOGS/server.$$.port" waited
  mkdir -p "$LOGS"
  rm -f "$port_file"
  setsid setpriv --pdeathsig TERM "$SERVER" --listen "127.0.0.1:$1" --port-file "$port_file" \
    --metrics-listen "${CONCERTINA_METRICS_LISTEN:-none}" \
    --admin-listen "${CONCERTINA_ADMIN_LISTEN:-none}" "${@:2}" </dev/null >"$SERVER_LOG" 2>&1 &
  SERVER_PID=$!
  for ((waited = 0; waited < 2400; ++waited)); do
    if [[ -s $port_file ]]; then
      SERVER_PORT=$(<"$port_file")
      rm -f "$port_file"
      return
    fi
    if ! kill -0 "$SERVER_PID" 2>/dev/null; then
      tail -n 40 "$SERVER_LOG" >&2
      die "the server did not start; its log is in ${SERVER_LOG#"$ROOT"/}"
    fi
    sleep 0.05
  done
  die "the server was not ready within two minutes; its log is in ${SERVER_LOG#"$ROOT"/}"
}
