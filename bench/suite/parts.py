"""The parts of the comparison: who is measured in turns with whom, and how often."""

import dataclasses
from typing import Callable

import llama
import machine
import ours
import process
import python_peers
import server


@dataclasses.dataclass(frozen=True)
class Part:
    """`sides` take turns, A B C A B C; each returns {series: number}."""
    name: str
    sides: tuple[Callable, ...]
    rounds: int  # at most so many; --quick takes one


PARTS = (
    Part("prefill", (machine.measure, ours.prefill, llama.prefill, python_peers.prefill), 3),
    Part("decode", (machine.measure, ours.decode, llama.decode, python_peers.decode), 3),
    Part("batch", (ours.batch, llama.batch), 3),
    Part("protocol", (machine.measure, ours.protocol_full, ours.protocol_folded), 3),
    Part("capacity", (ours.capacity,), 1),
    Part("server", (ours.direct, server.measure) * 2, 3),  # nearly equal: more turns to tell
    Part("interference", (ours.interference,), 1),
    Part("turns", (ours.turns,), 1),
    Part("memory", (ours.memory,), 1),
    Part("kvpress", (ours.beside_kvpress, python_peers.kvpress), 3),
)
NAMES = tuple(part.name for part in PARTS)


def finish(context, part, samples):
    """Series that follow from others."""
    if part.name == "prefill" and "ours" in context.info:
        peak = "machine.peak_" + ours.peak_name(context.info["ours"]["weights_many_rows"])
        if peak in samples:
            samples.series["machine.peak"] = list(samples.series[peak])


def run(context, part, samples, failures):
    """All rounds of a part. A side that fails is left out from then on; the others go on."""
    broken = set()
    for number in range(1 if context.quick else min(part.rounds, context.rounds)):
        for side in part.sides:
            if side in broken:
                continue
            label = f"{side.__module__}.{side.__name__}"
            context.say(f"  {part.name}, round {number + 1}: {label}")
            try:
                samples.add(side(context))
            except (process.Failure, OSError, KeyError, ValueError) as error:
                broken.add(side)
                failures.append((part.name, f"{label}: {error}"))
                context.say(f"    failed: {error}")
    finish(context, part, samples)
