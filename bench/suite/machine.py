"""The machine: its CPU, and what it can do at most."""

import platform
import re

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


def measure(context):
    """Read bandwidth and the peak of each type."""
    output = process.run([context.program("bench/concertina_machine_peak"), context.threads,
                          1024, context.length(10, 3)], 120, log=context.log)
    report = process.json_lines(output)[-1]
    values = {"machine.read_gb_per_s": report["read_gb_per_s"]["max"]}
    for name, peak in report.get("peak_gop_per_s", {}).items():
        values[f"machine.peak_{name}"] = peak["max"]
    return values
