#!/usr/bin/env python3
"""Measures Hugging Face transformers on the CPU, in bf16 with PyTorch's own attention, and kvpress on
top of it. Prints one JSON object a line: {"name": ..., "value": ..., ...}; rates are tokens per second.

usage: transformers_bench.py MODEL-FOLDER [--threads 2] [--prefill 600,2000] [--depth 900]
         [--decode 16] [--press snapkv,knorm] [--compression 0.8]

Everything is run once before it is counted. Decoding with the dynamic and with the static cache: both
are printed. Presses fold the cache of a prompt of --depth tokens; then --decode tokens follow.
"""

import argparse
import contextlib
import json
import time

import torch
import transformers

PRESSES = {"snapkv": "SnapKVPress", "knorm": "KnormPress", "expected": "ExpectedAttentionPress"}


def prompt_of(model, tokens):
    """Token ids that differ, of which speed does not depend on which."""
    ids = torch.arange(tokens) * 7919 % (model.config.vocab_size - 100) + 50
    return ids.unsqueeze(0)


def new_cache(model, kind, capacity):
    if kind == "static":
        return transformers.StaticCache(config=model.config, max_cache_len=capacity)
    return transformers.DynamicCache(config=model.config)


def prefill(model, ids, cache):
    """Seconds until the likeliest next token is known, and that token."""
    start = time.perf_counter()
    logits = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
    token = logits[:, -1].argmax(-1, keepdim=True)
    return time.perf_counter() - start, token


def decode(model, token, cache, position, count):
    """Seconds per token, one after another."""
    start = time.perf_counter()
    for step in range(count):
        logits = model(input_ids=token, past_key_values=cache, use_cache=True,
                       position_ids=torch.tensor([[position + step]]),
                       cache_position=torch.tensor([position + step])).logits
        token = logits[:, -1].argmax(-1, keepdim=True)
    return (time.perf_counter() - start) / count


def report(name, value, **more):
    print(json.dumps({"name": name, "value": value, **more}), flush=True)


def measure_prefill(model, tokens):
    ids = prompt_of(model, tokens)
    for counted in (False, True):
        seconds, _ = prefill(model, ids, new_cache(model, "dynamic", tokens))
        if counted:
            report(f"prefill_{tokens}", tokens / seconds)


def measure_decode(model, depth, count):
    ids = prompt_of(model, depth)
    for kind in ("dynamic", "static"):
        cache = new_cache(model, kind, depth + count + 8)
        _, token = prefill(model, ids, cache)
        decode(model, token, cache, depth, 2)
        report(f"decode_{depth}_{kind}", 1 / decode(model, token, cache, depth + 2, count))


def measure_press(model, name, depth, count, compression):
    import kvpress
    ids = prompt_of(model, depth)
    for counted in (False, True):
        press = getattr(kvpress, PRESSES[name])(compression_ratio=compression)
        cache = new_cache(model, "dynamic", depth)
        with press(model):
            seconds, token = prefill(model, ids, cache)
        if not counted:
            continue
        report(f"{name}_prefill_{depth}", depth / seconds, kept=cache.get_seq_length())
        # The positions go on from the whole prompt; the press is over, as in kvpress's pipeline.
        kept = cache.get_seq_length()
        decode_compressed(model, token, cache, depth, kept, 2)
        rate = 1 / decode_compressed(model, token, cache, depth + 2, kept + 2, count)
        report(f"{name}_decode_{depth}", rate)


def decode_compressed(model, token, cache, position, kept, count):
    start = time.perf_counter()
    for step in range(count):
        logits = model(input_ids=token, past_key_values=cache, use_cache=True,
                       position_ids=torch.tensor([[position + step]])).logits
        token = logits[:, -1].argmax(-1, keepdim=True)
    assert cache.get_seq_length() == kept + count
    return (time.perf_counter() - start) / count


def numbers(text):
    return [int(number) for number in text.split(",") if number]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prefill", type=numbers, default=[])
    parser.add_argument("--depth", type=int, default=900)
    parser.add_argument("--decode", type=int, default=0)
    parser.add_argument("--press", default="")
    parser.add_argument("--compression", type=float, default=0.8)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers.logging.set_verbosity_error()
    model = transformers.AutoModelForCausalLM.from_pretrained(
        arguments.model, dtype=torch.bfloat16, attn_implementation="sdpa", local_files_only=True)
    model.eval()
    presses = [name for name in arguments.press.split(",") if name]
    with torch.inference_mode():
        for tokens in arguments.prefill:
            measure_prefill(model, tokens)
        if arguments.decode and not presses:
            measure_decode(model, arguments.depth, arguments.decode)
    with contextlib.nullcontext() if not presses else torch.no_grad():
        for name in presses:
            measure_press(model, name, arguments.depth, arguments.decode, arguments.compression)


if __name__ == "__main__":
    main()
