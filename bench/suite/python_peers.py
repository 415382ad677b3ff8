"""Hugging Face transformers, and kvpress on top of it, in the virtual environment of the peers."""

import os

import process

PRESSES = ("snapkv", "knorm")


def _run(context, arguments, timeout_s=300):
    script = os.path.join(os.path.dirname(__file__), "..", "peers", "transformers_bench.py")
    command = [os.path.join(context.peers, "venv", "bin", "python"), os.path.abspath(script),
               os.path.join(context.peers, "model-hf"), "--threads", context.threads, *arguments]
    quiet = {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    output = process.run(command, timeout_s, env=quiet, log=context.log)
    return {row["name"]: row["value"] for row in process.json_lines(output)}


def prefill(context):
    sizes = context.length((600, 2000), (600,))
    found = _run(context, ["--prefill", ",".join(map(str, sizes))])
    return {f"transformers.prefill_{size}": found[f"prefill_{size}"] for size in sizes}


def decode(context):
    """The faster of the dynamic and the static cache."""
    found = _run(context, ["--depth", 900, "--decode", context.length(16, 8)])
    return {"transformers.decode_900": max(found["decode_900_dynamic"],
                                           found["decode_900_static"])}


def kvpress(context):
    found = _run(context, ["--depth", 900, "--decode", context.length(16, 8),
                           "--press", ",".join(PRESSES), "--compression", 0.8])
    return {f"kvpress.{press}_{what}": found[f"{press}_{what}_900"]
            for press in PRESSES for what in ("prefill", "decode")}
