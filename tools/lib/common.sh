# Sourced by every script in tools/. Messages go to standard error, so that what a script prints on
# standard output is its result alone.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
LOGS="$ROOT/build/logs"

say() { printf '%s\n' "$*" >&2; }

die() {
  say "error: $*"
  exit 1
}

# Runs a command as root: directly, or through sudo.
as_root() {
  if [[ $EUID -eq 0 ]]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "root is needed for: $* (run it as root, or install sudo)"
  fi
}

# Shows the last line of a log with the seconds passed, until killed or left alone: in place on a
# terminal, else one line every 15 seconds.
show_progress() {
  local label=$1 log=$2 started=$SECONDS interval=15 last never
  [[ -t 2 ]] && interval=1
  # A pipe nobody writes to: waiting on it needs no sleep process that would outlive this one.
  exec {never}<> <(:)
  while true; do
    read -rt "$interval" -u "$never" || true
    kill -0 $$ 2>/dev/null || exit
    last=$(tail -c 400 "$log" 2>/dev/null | tr '\r' '\n' | grep -av '^[[:space:]]*$' | tail -n 1)
    if [[ -t 2 ]]; then
      printf '\r\033[K  %s %ds  %s' "$label" $((SECONDS - started)) "${last:0:70}" >&2
    else
      say "  $label $((SECONDS - started))s  ${last:0:100}"
    fi
  done
}

# run_logged LABEL LOGNAME COMMAND...: runs the command with its output in build/logs, shows progress,
# and prints the end of the log if it fails.
run_logged() {
  local label=$1 log="$LOGS/$2.log" started=$SECONDS watcher status=0
  shift 2
  mkdir -p "$LOGS"
  : >"$log"
  show_progress "$label" "$log" &
  watcher=$!
  "$@" >"$log" 2>&1 || status=$?
  { kill "$watcher" && wait "$watcher"; } 2>/dev/null || true
  [[ -t 2 ]] && printf '\r\033[K' >&2
  if [[ $status -ne 0 ]]; then
    tail -n 60 "$log" >&2
    say "error: $label failed; the whole log is in ${log#"$ROOT"/}"
    return "$status"
  fi
  say "  $label: $((SECONDS - started))s"
}
