"""llama.cpp, as its own benchmark programs measure it."""

import glob
import json
import os

import process

ATTENTION = ("off", "on")  # flash attention: the better one counts
CLEARLY = 1.15  # so many times slower, and it is not tried again


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


def _better(context, names, measure):
    """The better of both kinds of attention, number by number. `measure(attention, names)` gives the
    rates of at least these names. A kind that was clearly slower once is not measured again."""
    slower = context.info.setdefault("llama_slower_attention", {})
    kinds = context.info.setdefault("llama_flash_attention", {})
    rates = {name: {} for name in names}
    for attention in ATTENTION:
        wanted = [name for name in names if slower.get(name) != attention]
        if wanted:
            found = measure(attention, wanted)
            for name in wanted:
                rates[name][attention] = found[name]
    for name, by_kind in rates.items():
        kinds[name] = max(by_kind, key=by_kind.get)
        for attention, rate in by_kind.items():
            if rate * CLEARLY < by_kind[kinds[name]]:
                slower[name] = attention
    return {name: by_kind[kinds[name]] for name, by_kind in rates.items()}


def prefill(context):
    sizes = {f"llama.prefill_{size}": size for size in context.length((600, 2000), (600,))}

    def measure(attention, names):
        tests = [["-p", sizes[name], "-n", 0, "-r", 1] for name in names]
        rates = bench(context, tests, attention)
        return {name: rates[sizes[name], 0, 0] for name in names}
    return _better(context, list(sizes), measure)


def decode(context):
    depths = {f"llama.decode_{depth}": depth for depth in context.length((0, 900, 4000), (0, 900))}

    def measure(attention, names):
        tests = [["-p", 0, "-n", 64, "-r", 2, "-d", depths[name]] for name in names]
        rates = bench(context, tests, attention)
        return {name: rates[0, 64, depths[name]] for name in names}
    return _better(context, list(depths), measure)


def batch(context):
    """All sequences together. The prompt is computed once and copied into each sequence's own
    cache, which changes nothing about decoding and saves minutes."""
    tokens = 24
    names = ["llama.batch_8", "llama.batch_16"]

    def measure(attention, _):
        command = [_program(context, "llama-batched-bench"), "-m", context.model,
                   "-t", context.threads, "-fa", attention, "-c", 16 * 1024,
                   "-npp", 900, "-ntg", tokens, "-npl", "8,16", "-pps", "--no-kv-unified",
                   "--output-format", "jsonl"]
        rows = process.json_lines(process.run(command, 300, log=context.log))
        return {f"llama.batch_{row['pl']}": row["speed_tg"] for row in rows}
    return _better(context, names, measure)
