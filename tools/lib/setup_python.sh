# The private virtual environment with LibTorch and the pinned programs: sourced by tools/setup.
#
# CONCERTINA_TORCH_INDEX  a pip index to take torch from instead of the default
# CONCERTINA_TORCH_DIR    a LibTorch >= 2.6 of one's own (the folder with TorchConfig.cmake):
#                         none is installed then

VENV="$ROOT/.venv"

# Prints the lines of tools/requirements.txt that start with, or do not start with, torch.
requirements() {
  case $1 in
    torch) grep -E '^torch==' "$ROOT/tools/requirements.txt" ;;
    tools) grep -E '^[a-z]' "$ROOT/tools/requirements.txt" | grep -vE '^torch==' ;;
  esac
}

create_venv() {
  if [[ -x "$VENV/bin/pip" ]]; then
    return
  fi
  # Debian's interpreter: python3-venv belongs to it, and not to another python3 on the PATH.
  local python=/usr/bin/python3
  [[ -x $python ]] || python=python3
  run_logged "virtual environment" venv "$python" -m venv "$VENV"
}

# Prints the CUDA version a torch wheel was built for, or nothing.
torch_cuda_version() {
  sed -n "s/^cuda\(: [^=]*\)\{0,1\} = '\([^']*\)'.*/\2/p" \
    "$VENV"/lib/python3*/site-packages/torch/version.py 2>/dev/null
}

has_cuda_toolkit() {
  command -v nvcc >/dev/null || [[ -x "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" ]]
}

install_torch() {
  if [[ -n ${CONCERTINA_TORCH_DIR:-} ]]; then
    [[ -f "$CONCERTINA_TORCH_DIR/TorchConfig.cmake" ]] ||
      die "CONCERTINA_TORCH_DIR=$CONCERTINA_TORCH_DIR has no TorchConfig.cmake"
    return
  fi
  local index=()
  [[ -z ${CONCERTINA_TORCH_INDEX:-} ]] || index=(--index-url "$CONCERTINA_TORCH_INDEX")
  # Without its dependencies at first: a CUDA wheel has gigabytes of them.
  run_logged "LibTorch" pip-torch "$VENV/bin/pip" install --no-deps "${index[@]}" "$(requirements torch)"
  check_torch
  if [[ -n $(torch_cuda_version) ]]; then
    run_logged "CUDA libraries" pip-cuda "$VENV/bin/pip" install "${index[@]}" "$(requirements torch)"
  fi
}

check_torch() {
  local cuda
  cuda=$(torch_cuda_version)
  if [[ -n $cuda ]] && ! has_cuda_toolkit; then
    "$VENV/bin/pip" uninstall -q -y torch >/dev/null 2>&1 || true
    die "pip brought a torch built for CUDA $cuda, and there is no CUDA toolkit here: set" \
      "CONCERTINA_TORCH_INDEX to an index with the CPU build, or CONCERTINA_TORCH_DIR to your LibTorch"
  fi
}

install_python_tools() {
  local wanted
  mapfile -t wanted < <(requirements tools)
  run_logged "clang-format, clang-tidy, buf" pip-tools "$VENV/bin/pip" install --no-deps "${wanted[@]}"
}

# With their dependencies, but never another version of what is above: LibTorch must stay what it is.
install_test_requirements() {
  run_logged "Python packages of the tests" pip-tests "$VENV/bin/pip" install \
    -c "$ROOT/tools/requirements.txt" -r "$ROOT/tools/requirements-test.txt"
}
