# What tools/bench compares with, under build/bench: sourced by tools/bench.
#
# peers/   the source of llama.cpp from the llama-cpp-python package, and its programs, built natively
# venv/    transformers, kvpress and what they need, beside the torch of .venv
# model-hf/  the bundled model as a folder that transformers loads

PEERS="$ROOT/build/bench"
PEERS_VENV="$PEERS/venv"
LLAMA_PACKAGE=$(grep -E '^llama-cpp-python==' "$ROOT/tools/requirements-bench.txt")
LLAMA_NAME="llama_cpp_python-${LLAMA_PACKAGE#*==}"
LLAMA_SOURCE="$PEERS/peers/$LLAMA_NAME/vendor/llama.cpp"
LLAMA_BUILD="$PEERS/peers/llama.cpp-build"

fetch_llama() {
  mkdir -p "$PEERS/peers"
  "$PEERS_VENV/bin/pip" download --no-deps --no-binary llama-cpp-python -d "$PEERS/peers" \
    "$LLAMA_PACKAGE" &&
    rm -rf "$PEERS/peers/${LLAMA_NAME:?}" &&
    tar -xzf "$PEERS/peers/$LLAMA_NAME.tar.gz" -C "$PEERS/peers"
}

build_llama() {
  cmake -S "$LLAMA_SOURCE" -B "$LLAMA_BUILD" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
    -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
    -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_TOOLS=ON -DBUILD_SHARED_LIBS=OFF \
    -DLLAMA_BUILD_NUMBER=0 -DLLAMA_BUILD_COMMIT="$LLAMA_NAME" &&
    ninja -C "$LLAMA_BUILD" llama-bench llama-batched-bench
}

# The torch of .venv is used as it is: transformers is compared on the LibTorch that we use.
install_python_peers() {
  local site wanted
  rm -rf "$PEERS_VENV"
  "$VENV/bin/python" -m venv "$PEERS_VENV" || return
  site=$("$PEERS_VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  "$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
    >"$site/concertina-torch.pth"
  mapfile -t wanted < <(grep -E '^[a-z]' "$ROOT/tools/requirements-bench.txt" | grep -v '^llama-cpp')
  "$PEERS_VENV/bin/pip" install -c "$ROOT/tools/requirements.txt" "${wanted[@]}"
}

convert_model() {
  HF_HUB_OFFLINE=1 TQDM_DISABLE=1 "$PEERS_VENV/bin/python" "$ROOT/bench/peers/convert_model.py" "$MODEL" \
    "$PEERS/model-hf"
}

# Changes with everything that decides what is installed.
peers_key() {
  { cat "$ROOT/tools/requirements-bench.txt" "$ROOT/tools/lib/setup_peers.sh"
    printf '%s\n' "$VENV"
  } | sha256sum
}

install_peers() {
  local stamp="$PEERS/peers-setup"
  if [[ -f $stamp && $(<"$stamp") == "$(peers_key)" ]]; then
    return
  fi
  mkdir -p "$PEERS"
  rm -f "$stamp"
  run_logged "transformers and kvpress" pip-peers install_python_peers
  [[ -d $LLAMA_SOURCE ]] || run_logged "source of llama.cpp" pip-llama fetch_llama
  run_logged "building llama.cpp" build-llama build_llama
  run_logged "the model for transformers" convert-model convert_model
  peers_key >"$stamp"
}
