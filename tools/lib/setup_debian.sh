# Debian packages: sourced by tools/setup.

# Prints the names in tools/debian-packages.txt.
wanted_packages() {
  grep -vE '^[[:space:]]*(#|$)' "$ROOT/tools/debian-packages.txt"
}

# Prints those that are not installed. Of "a | b" either will do; a is named if neither is there.
missing_packages() {
  local installed wanted
  installed=$(dpkg-query -W -f '${Status}\t${Package}\n' 2>/dev/null |
    sed -n 's/^install ok installed\t//p')
  while IFS= read -r wanted; do
    grep -qxF "$(tr -d ' ' <<<"$wanted" | tr '|' '\n')" <<<"$installed" || printf '%s\n' "${wanted%% *}"
  done < <(wanted_packages)
}

install_packages() {
  if [[ -n ${CONCERTINA_SKIP_PACKAGES:-} ]]; then
    return
  fi
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    die "this is not Debian: install the equivalents of tools/debian-packages.txt yourself, then set" \
      "CONCERTINA_SKIP_PACKAGES=1"
  fi
  local missing
  mapfile -t missing < <(missing_packages)
  if [[ ${#missing[@]} -eq 0 ]]; then
    return
  fi
  say "Debian packages missing: ${missing[*]}"
  # Ask for the password before the output goes to a log.
  [[ $EUID -eq 0 ]] || as_root true
  # One unreachable source of many is no reason to stop: installing tells what really lacks.
  run_logged "package lists" apt-update as_root apt-get update || say "going on with the lists at hand"
  run_logged "${#missing[@]} packages" apt-install as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${missing[@]}"
}
