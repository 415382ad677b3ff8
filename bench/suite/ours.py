"""Our engine, called directly by concertina_engine_bench or through gRPC."""

import process

FOLDED = "policy=concertina,ratio=0.2"
FULL = "policy=full"
# As the server's memory plan has it (docs/operations.md).
TOKENIZER_BYTES_PER_TOKEN = 1024


def engine(context, scenarios, options=(), timeout_s=300):
    """Runs scenarios in one process; their lists of runs, in order. The model's facts are kept."""
    command = [context.program("bench/concertina_engine_bench"), "--model", context.model,
               "--threads", context.threads, "--weights", context.weights, *options, *scenarios]
    lines = process.json_lines(process.run(command, timeout_s, log=context.log))
    context.info["ours"] = lines[0]
    if len(lines) != len(scenarios) + 1:
        raise process.Failure(f"{len(lines) - 1} results of {len(scenarios)} scenarios")
    return [line["runs"] for line in lines[1:]]


def best(runs, field, least=False):
    """Of the runs. Rates and times are 0 when sessions never generated together."""
    value = (min if least else max)(run[field] for run in runs)
    if value <= 0:
        raise process.Failure(f"{field} is {value}")
    return value


def layer_operations(info, tokens):
    """Of the matrices of all layers for so many tokens: the head multiplies one row only."""
    return 2 * (info["matrix_parameters"] - info["head_parameters"]) * tokens


def peak_name(weights):
    """Which of the machine's peaks a type of weights can reach."""
    return {"f32": "f32", "bf16": "bf16", "int8": "int8", "stored": "int8"}[weights]


def prefill(context):
    sizes = context.length((600, 2000), (600,))
    folding = [f"prefill:tokens=1024,repeat=2,{cache}" for cache in (FULL, FOLDED) * 2]
    results = engine(context, ["matrices"] + [f"prefill:tokens={size},repeat=2" for size in sizes]
                     + folding)
    info = context.info["ours"]
    values = {"ours.matrices": best(results[0], "gop_per_s")}
    for size, runs in zip(sizes, results[1:]):
        values[f"ours.prefill_{size}"] = best(runs, "tokens_per_s")
        seconds = best(runs, "first_token_s", least=True)
        values[f"ours.prefill_{size}_gop"] = layer_operations(info, size) / seconds * 1e-9
    full, folded = results[-4] + results[-2], results[-3] + results[-1]
    values["ours.prefill_1024_full_s"] = best(full, "first_token_s", least=True)
    values["ours.prefill_1024_folded_s"] = best(folded, "first_token_s", least=True)
    return values


def decode(context):
    depths = context.length((0, 900, 4000), (0, 900))
    names = [(depth, name) for depth in depths for name in ("full", "folded")]
    results = engine(context, [
        f"decode:depth={depth},tokens=64,repeat=2,{FULL if name == 'full' else FOLDED}"
        for depth, name in names])
    values, info = {}, context.info["ours"]
    for (depth, name), runs in zip(names, results):
        values[f"ours.decode_{depth}_{name}"] = best(runs, "tokens_per_s")
    fastest = max(results[names.index((900, "folded"))], key=lambda run: run["tokens_per_s"])
    step_bytes = info["decode_matrix_bytes"] + fastest["payload_bytes"]
    values["ours.decode_gb_per_s"] = step_bytes / fastest["ms_per_step"] * 1e-6
    return values


def batch(context):
    counts = (8, 16)
    results = engine(context, [
        f"decode:depth=900,sessions={count},tokens=128,repeat=2,{FOLDED}" for count in counts])
    return {f"ours.batch_{count}": best(runs, "tokens_per_s")
            for count, runs in zip(counts, results)}


def _protocol(context, name, cache):
    sessions, prompt, tokens = context.length((16, 1024, 512), (16, 256, 128))
    scenarios = [f"protocol:sessions={sessions},prompt={prompt},tokens={tokens},{cache}"]
    if name == "full":
        scenarios.append(f"decode:sessions={sessions},depth=0,tokens=128,repeat=2,{FULL}")
    results = engine(context, scenarios)
    run = results[0][0]
    values = {f"ours.protocol_decode_{name}": best([run], "decode_tokens_per_s"),
              f"ours.protocol_whole_{name}": run["whole_tokens_per_s"]}
    if name == "full":
        # Attention's time is what a step takes beyond one with next to nothing to attend to. The
        # cache grew by the answers while they were written: its mean size counts.
        short = best(results[1], "ms_per_step", least=True)
        mean_bytes = run["payload_bytes"] * (1 - tokens / 2 / (prompt + tokens))
        values["ours.attention_gb_per_s"] = (
            mean_bytes / max(run["decode_ms_per_step"] - short, 1e-3) * 1e-6)
    return values


def protocol_full(context):
    return _protocol(context, "full", FULL)


def protocol_folded(context):
    return _protocol(context, "folded", FOLDED)


def capacity(context):
    run = engine(context, [f"capacity:depth=900,sessions=4,tokens=96,{FOLDED}"])[0][0]
    return {"ours.capacity_full": run["full_sessions"],
            "ours.capacity_folded": run["folded_sessions"]}


def turns(context):
    count = context.length(300, 30)
    runs = engine(context, [f"turns:turns={count},budget=256,tokens=64,answer=4,repeat=5"])[0]
    values = {}
    for when, name in (("late", "300"), ("early", "5")):
        values[f"ours.turn_{name}_ms"] = min(run[when]["ms_per_step"] for run in runs)
        values[f"ours.turn_{name}_bytes"] = max(
            run[when]["used_bytes"] + run[when]["transcript_bytes"] for run in runs)
    return values


def memory(context):
    """Sessions that fill the pool, against what is documented to take memory."""
    depth = context.length(2000, 800)
    run = engine(context, [f"memory:sessions=8,depth={depth},tokens=16,{FULL}"])[0][0]
    info = context.info["ours"]
    accounted = {"libraries": info["base_rss_bytes"], "weights": run["weight_bytes"],
                 "tokenizer": info["vocab"] * TOKENIZER_BYTES_PER_TOKEN,
                 "pool": run["pool_used_peak_bytes"], "workspace": run["workspace_peak_bytes"]}
    context.info["memory"] = {"accounted_bytes": accounted, **run}
    return {"ours.peak_rss_mib": run["peak_rss_bytes"] / 2**20,
            "ours.accounted_mib": sum(accounted.values()) / 2**20,
            "ours.bytes_per_parameter": info["matrix_bytes"] / info["matrix_parameters"],
            "ours.bytes_per_parameter_limit": 3}


def beside_kvpress(context):
    results = engine(context, [f"prefill:tokens=900,repeat=1,{FOLDED}",
                               f"decode:depth=900,tokens=32,repeat=2,{FOLDED}"])
    return {"ours.prefill_900": best(results[0], "tokens_per_s"),
            "ours.decode_900_folded_beside_kvpress": best(results[1], "tokens_per_s")}


def direct(context):
    tokens = context.length(256, 128)
    runs = engine(context, [f"decode:sessions=16,depth=64,tokens={tokens},repeat=1,{FOLDED}"])[0]
    context.info["direct_cpu_ms_per_token"] = runs[0]["cpu_ms_per_token"]
    return {"ours.direct_16": best(runs, "tokens_per_s")}


def interference(context):
    command = [context.program("bench/concertina_interference"), "--model", context.model,
               "--threads", context.threads, "--weights", context.weights,
               "--repeat", context.length(3, 1)]
    runs = process.json_lines(process.run(command, 240, log=context.log))[-1]["runs"]
    values = {"ours.itl_p99_alone": [run["undisturbed"]["p99_ms"] for run in runs]}
    for what in ("prompt", "picture"):
        values[f"ours.itl_p99_beside_{what}"] = [run[what]["latency"]["p99_ms"] for run in runs]
        for when in ("alone", "beside"):
            values[f"ours.ttft_{what}_{when}"] = [run[what][f"{when}_ms"] for run in runs]
    return values
