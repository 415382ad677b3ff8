"""llama.cpp, as its own benchmark programs measure it."""

import glob
import json
import os

import process

ATTENTION = ("off", "on")  # flash attention: the better one counts


def _program(context, name):
    return os.path.join(context.peers, "peers", "llama.cpp-build", "bin", name)


def version(context):
    found = glob.glob(os.path.join(context.peers, "peers", "llama_cpp_python-*", "PKG-INFO"))
    return os.path.basename(os.path.dirname(found[0])) if found else "unknown"


def bench(context, tests, attention):
    """Rates of llama-bench by (prompt, generated, depth): its best repetition of each."""
    rates = {}
    for options in tests:
        command = [_program(context, "llama-bench"), "-m", context.model, "-t", context.threads,
                   "-fa", attention, "-o", "json", *options]
        for row in json.loads(process.run(command, 300, log=context.log)):
            rates[row["n_prompt"], row["n_gen"], row["n_depth"]] = max(row["samples_ts"])
    return rates


def _better(context, measure):
    """The better of both kinds of attention, number by number; `measure` gets one of them."""
    best, kind = {}, {}
    for attention in ATTENTION:
        for name, rate in measure(attention).items():
            if rate > best.get(name, 0):
                best[name], kind[name] = rate, attention
    context.info.setdefault("llama_flash_attention", {}).update(kind)
    return best


def prefill(context):
    sizes = context.length((600, 2000), (600,))

    def measure(attention):
        rates = bench(context, [["-p", size, "-n", 0, "-r", 1] for size in sizes], attention)
        return {f"llama.prefill_{size}": rates[size, 0, 0] for size in sizes}
    return _better(context, measure)


def decode(context):
    depths = context.length((0, 900, 4000), (0, 900))

    def measure(attention):
        tests = [["-p", 0, "-n", 64, "-r", 2, "-d", depth] for depth in depths]
        rates = bench(context, tests, attention)
        return {f"llama.decode_{depth}": rates[0, 64, depth] for depth in depths}
    return _better(context, measure)


def batch(context):
    """All sequences together. The prompt is computed once and copied into each sequence's own
    cache, which changes nothing about decoding and saves minutes."""
    tokens = 24

    def measure(attention):
        context_size = 16 * (900 + tokens + 8)
        command = [_program(context, "llama-batched-bench"), "-m", context.model,
                   "-t", context.threads, "-fa", attention, "-c", context_size,
                   "-npp", 900, "-ntg", tokens, "-npl", "8,16", "-pps", "--no-kv-unified",
                   "--output-format", "jsonl"]
        rows = process.json_lines(process.run(command, 300, log=context.log))
        return {f"llama.batch_{row['pl']}": row["speed_tg"] for row in rows}
    return _better(context, measure)
