"""The machine: its CPU, and what it can do at most."""

import os
import platform
import re
import resource
import time

import process

FLAGS = ("avx2", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "amx_bf16",
         "amx_int8")


def describe():
    """CPU, flags that kernels look for, memory and kernel."""
    try:
        with open("/proc/cpuinfo") as file:
            text = file.read()
        with open("/proc/meminfo") as file:
            memory_kib = int(re.search(r"MemTotal:\s+(\d+)", file.read()).group(1))
    except OSError:
        return {"cpu": platform.processor()}

    def field(name):
        found = re.search(rf"^{name}\s*:\s*(.*)$", text, re.M)
        return found.group(1) if found else ""
    flags = set(field("flags").split())
    return {"cpu": field("model name"), "family": field("cpu family"), "model": field("model"),
            "cores": text.count("processor\t:"), "flags": [f for f in FLAGS if f in flags],
            "memory_gib": round(memory_kib / 2**20, 1), "system": platform.platform()}


class OthersWatch:
    """How much of the CPU others took: programs that are not ours, and, on a virtual machine, other
    machines (steal). Measurements beside them are worth little."""

    def __init__(self):
        self.began = time.monotonic(), self._busy(), self._own()

    @staticmethod
    def _busy():
        """Seconds of CPU used so far by everybody, idle and waiting left out; of these, stolen."""
        try:
            with open("/proc/stat") as file:
                fields = [int(field) for field in file.readline().split()[1:9]]
        except OSError:
            return None
        user, nice, system, _, _, irq, softirq, steal = fields
        ticks = os.sysconf("SC_CLK_TCK")
        return (user + nice + system + irq + softirq) / ticks, steal / ticks

    @staticmethod
    def _own():
        used = [resource.getrusage(who)
                for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_utime + usage.ru_stime for usage in used)

    def shares(self):
        """Of the time of all cores since the beginning."""
        busy = self._busy()
        if busy is None:
            return {}
        began, busy_before, own_before = self.began
        total = (time.monotonic() - began) * os.cpu_count()
        others = busy[0] - busy_before[0] - (self._own() - own_before)
        return {"other_programs": max(0.0, others / total),
                "other_machines": (busy[1] - busy_before[1]) / total}


def measure(context):
    """Read bandwidth and the peak of each type."""
    output = process.run([context.program("bench/concertina_machine_peak"), context.threads,
                          1024, context.length(10, 3)], 120, log=context.log)
    report = process.json_lines(output)[-1]
    values = {"machine.read_gb_per_s": report["read_gb_per_s"]["max"]}
    for name, peak in report.get("peak_gop_per_s", {}).items():
        values[f"machine.peak_{name}"] = peak["max"]
    return values
