"""The rows of the result: what is compared with what, and the goal."""

import dataclasses
from typing import Optional


@dataclasses.dataclass(frozen=True)
class Row:
    """One ratio: a series of ours over a peer's. `goal` None: shown without one."""
    part: str
    work: str
    peer: str
    unit: str
    ours: str
    theirs: str
    goal: Optional[float] = None
    at_most: bool = False        # the goal is an upper bound
    less_is_better: bool = False  # of the numbers themselves: times and bytes


def _llama(work, name, goal, ours=None, part="decode"):
    return Row(part, work, "llama.cpp", "tokens/s", f"ours.{ours or name}", f"llama.{name}", goal)


ROWS = (
    _llama("prefill, 600 tokens", "prefill_600", 5, part="prefill"),
    _llama("prefill, 2,000 tokens", "prefill_2000", 5, part="prefill"),
    Row("prefill", "prefill, 600 tokens", "transformers bf16", "tokens/s",
        "ours.prefill_600", "transformers.prefill_600", 1.4),
    Row("prefill", "prefill, 2,000 tokens", "transformers bf16", "tokens/s",
        "ours.prefill_2000", "transformers.prefill_2000", 1.4),
    Row("prefill", "matrix products on the model's shapes, 256 rows", "matrix peak of the type",
        "GOP/s", "ours.matrices", "machine.peak", 0.65),
    Row("prefill", "a whole prefill of 2,000 tokens: its matrix products over its time",
        "matrix peak of the type", "GOP/s", "ours.prefill_2000_gop", "machine.peak"),
    Row("prefill", "prefill of 1,024 tokens with scores and folding", "ours without", "s",
        "ours.prefill_1024_folded_s", "ours.prefill_1024_full_s", 1.08, True, True),
    _llama("decode, 1 session, depth 900, full", "decode_900", 1.5, "decode_900_full"),
    _llama("decode, 1 session, depth 900, folded to 0.2", "decode_900", 2, "decode_900_folded"),
    _llama("decode, 1 session, depth 4,000, folded to 0.2", "decode_4000", 4,
           "decode_4000_folded"),
    Row("decode", "decode, 1 session, depth 900, full", "transformers bf16", "tokens/s",
        "ours.decode_900_full", "transformers.decode_900"),
    Row("decode", "bytes read per second in decode, 1 session, folded to 0.2", "read bandwidth",
        "GB/s", "ours.decode_gb_per_s", "machine.read_gb_per_s", 0.75),
    _llama("decode, 8 sessions, depth 900, folded to 0.2", "batch_8", 10, "batch_8", "batch"),
    _llama("decode, 16 sessions, depth 900, folded to 0.2", "batch_16", 10, "batch_16", "batch"),
    Row("protocol", "16 x (1024 + 512) folded to 0.2, decode phase", "ours, full cache",
        "tokens/s", "ours.protocol_decode_folded", "ours.protocol_decode_full", 1.9),
    Row("protocol", "16 x (1024 + 512) folded to 0.2, whole run", "ours, full cache", "tokens/s",
        "ours.protocol_whole_folded", "ours.protocol_whole_full"),
    Row("protocol", "attention of the full path, bytes of KV per second of it", "read bandwidth",
        "GB/s", "ours.attention_gb_per_s", "machine.read_gb_per_s", 0.6),
    Row("capacity", "sessions decoding at 900 entries in 2 GiB, folded to 0.2", "ours, full cache",
        "sessions", "ours.capacity_folded", "ours.capacity_full", 4.7),
    Row("server", "16 streaming clients over gRPC", "the engine called directly", "tokens/s",
        "ours.grpc_16", "ours.direct_16", 0.95),
    Row("server", "the same, the client's CPU time taken off", "the engine called directly",
        "tokens/s", "ours.grpc_16_without_client", "ours.direct_16"),
    Row("interference", "p99 between tokens of 8 sessions beside a 2,000-token prompt",
        "undisturbed", "ms", "ours.itl_p99_beside_prompt", "ours.itl_p99_alone", 2, True, True),
    Row("interference", "p99 between tokens of 8 sessions beside an image turn", "undisturbed",
        "ms", "ours.itl_p99_beside_picture", "ours.itl_p99_alone", 2, True, True),
    Row("interference", "time to first token of that prompt", "undisturbed", "ms",
        "ours.ttft_prompt_beside", "ours.ttft_prompt_alone", 2.5, True, True),
    Row("interference", "time to first token of that image turn", "undisturbed", "ms",
        "ours.ttft_picture_beside", "ours.ttft_picture_alone", None, True, True),
    Row("turns", "decode step at turn 300, budget 256 tokens", "turn 5", "ms",
        "ours.turn_300_ms", "ours.turn_5_ms", 1.05, True, True),
    Row("turns", "memory of the session at turn 300", "turn 5", "bytes",
        "ours.turn_300_bytes", "ours.turn_5_bytes", 1.05, True, True),
    Row("memory", "peak resident memory", "weights + pool + workspace + libraries + tokenizer",
        "MiB",
        "ours.peak_rss_mib", "ours.accounted_mib", 1.05, True, True),
    Row("memory", "bytes of all packed weights per parameter", "3 bytes", "bytes",
        "ours.bytes_per_parameter", "ours.bytes_per_parameter_limit", 1, True, True),
    Row("kvpress", "prefill 900, folded to 0.2", "kvpress SnapKV", "tokens/s",
        "ours.prefill_900", "kvpress.snapkv_prefill"),
    Row("kvpress", "decode, depth 900, folded to 0.2", "kvpress SnapKV", "tokens/s",
        "ours.decode_900_folded_beside_kvpress", "kvpress.snapkv_decode"),
    Row("kvpress", "prefill 900, folded to 0.2", "kvpress Knorm", "tokens/s",
        "ours.prefill_900", "kvpress.knorm_prefill"),
    Row("kvpress", "decode, depth 900, folded to 0.2", "kvpress Knorm", "tokens/s",
        "ours.decode_900_folded_beside_kvpress", "kvpress.knorm_decode"),
)


def evaluate(row, samples, failures):
    """The row as JSON. Without its numbers it is not met, and says why."""
    result = {"part": row.part, "work": row.work, "peer": row.peer, "unit": row.unit,
              "goal": row.goal, "goal_is": "at most" if row.at_most else "at least",
              "ours_series": row.ours, "peer_series": row.theirs}
    missing = [name for name in (row.ours, row.theirs) if name not in samples]
    if missing:
        why = [message for part, message in failures if part == row.part]
        result.update(ratio=None, met=False if row.goal is not None else None,
                      message="; ".join(why) or "not measured: " + ", ".join(missing))
        return result
    more = not row.less_is_better
    for side, name in (("ours", row.ours), ("theirs", row.theirs)):
        result[side] = {"best": samples.best(name, more), "median": samples.median(name)}
    ratio = result["ours"]["best"] / result["theirs"]["best"]
    pairs = sorted(samples.pair_ratios(row.ours, row.theirs))
    result.update(ratio=ratio, pair_ratios={"min": pairs[0], "median": pairs[len(pairs) // 2],
                                            "max": pairs[-1]})
    if row.goal is not None:
        result["met"] = ratio <= row.goal if row.at_most else ratio >= row.goal
    else:
        result["met"] = None
    return result


def evaluate_all(samples, failures, parts, quick=False):
    """All rows of the parts; `quick` leaves out what its smaller sizes do not measure."""
    found = [evaluate(row, samples, failures) for row in ROWS if row.part in parts]
    failed = {part for part, _ in failures}
    return [row for row in found
            if not quick or row["ratio"] is not None or row["part"] in failed]
