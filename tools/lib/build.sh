# Configures and builds a preset: sourced by tools/run and tools/test.

# Changes with everything that a configured build folder does not notice by itself.
configure_key() {
  { cat "$ROOT/CMakePresets.json"; printf '%s\n' "$ROOT" "${CONCERTINA_TORCH_DIR:-}"; } | sha256sum
}

# build PRESET [TARGET...]: configures if needed, then builds. Silent when nothing is to be done.
build() {
  local preset=$1 folder="$ROOT/build/$1" key torch=() targets=()
  shift
  [[ -z ${CONCERTINA_TORCH_DIR:-} ]] || torch=(-D "Torch_DIR=$CONCERTINA_TORCH_DIR")
  key=$(configure_key)
  if [[ ! -f $folder/build.ninja || $(cat "$folder/configured" 2>/dev/null) != "$key" ]]; then
    run_logged "configuring $preset" "configure-$preset" \
      cmake --preset "$preset" -S "$ROOT" "${torch[@]}"
    printf '%s\n' "$key" >"$folder/configured"
  fi
  targets=("$@")
  if [[ $(ninja -C "$folder" -n "${targets[@]}" 2>/dev/null | tail -n 1) == "ninja: no work to do." ]]; then
    return
  fi
  run_logged "building $preset" "build-$preset" ninja -C "$folder" "${targets[@]}"
}
