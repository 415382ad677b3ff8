#!/usr/bin/env python3
"""Measures what each type of weights and of cache entries costs in perplexity; see README.md."""

import argparse
import contextlib
import importlib
import json
import math
import pathlib

from command_line import CommandLine
from server_process import Server

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LICENCES = pathlib.Path("/usr/share/common-licenses")
# Prose that every Debian has: licences, and the language reference of Python.
SOURCES = ("GPL-3", "LGPL-2.1", "GFDL-1.3", "python")
WINDOW = 1024  # tokens; the first half is the prompt, the second is scored
TOKENIZE_BYTES = 60_000
BASE = ("f32", "f32")


def source_text(name):
    if name != "python":
        return (LICENCES / name).read_text()
    topics = importlib.import_module("pydoc_data.topics").topics
    return "\n".join(topics[key] for key in sorted(topics))


@contextlib.contextmanager
def server_with(build, weights, entries):
    """The command line of a server with the bundled model, for as long as the `with` block lasts."""
    with Server(build, ["--weights", weights, "--kv", entries]) as target:
        yield CommandLine(build / "client/concertina", target)


def windows_of(asked, name, count):
    """`count` pieces of a text, spread over it."""
    text = source_text(name)[:TOKENIZE_BYTES]
    ids = asked.call("tokenize", "--", text)["ids"]
    step = (len(ids) - WINDOW) // max(1, count - 1)
    for start in range(0, count * step, step):
        piece = ids[start:start + WINDOW]
        yield {"task": name, "i": start, "prompt": piece[:WINDOW // 2], "ans": piece[WINDOW // 2:]}


def nlls(asked, prompts):
    return [prompt["nll"] for prompt in asked.score(prompts)]


def measure(build, pairs, windows):
    """NLL of every window, by types."""
    with server_with(build, *BASE) as asked:
        prompts = [window for name in SOURCES for window in windows_of(asked, name, windows)]
        results = {BASE: nlls(asked, prompts)}
    for pair in pairs:
        if pair not in results:
            with server_with(build, *pair) as asked:
                results[pair] = nlls(asked, prompts)
    return prompts, results


def row(results, pair):
    base, own = results[BASE], results[pair]
    excess = [a - b for a, b in zip(own, base)]
    mean = sum(excess) / len(excess)
    deviation = math.sqrt(sum((x - mean) ** 2 for x in excess) / max(1, len(excess) - 1))
    return {
        "weights": pair[0],
        "entries": pair[1],
        "ppl": math.exp(sum(own) / len(own)),
        "cost": math.exp(mean) - 1,
        "cost_error": deviation / math.sqrt(len(excess)),
        "worst_window": math.exp(max(excess)) - 1,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--weights", nargs="+", default=["f32", "bf16", "int8", "stored"])
    parser.add_argument("--entries", nargs="+", default=["f32", "bf16", "int8"])
    parser.add_argument("--windows", type=int, default=6, help="of each of the texts")
    options = parser.parse_args()
    pairs = [(weights, entries) for weights in options.weights for entries in options.entries]
    prompts, results = measure(options.build, pairs, options.windows)
    scored = len(prompts) * (WINDOW // 2 - 1)
    print(json.dumps({"tokens": len(prompts) * WINDOW, "scored": scored}))
    for pair in pairs:
        print(json.dumps(row(results, pair)))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
