#!/usr/bin/env python3
"""Measures ours and its peers in turns and writes results.json, results.md and plots.

usage: main.py --build DIR --peers DIR --model FILE --out DIR [--only PART]... [--quick]
       [--threads N] [--rounds N] [--weights TYPE]

Called by tools/bench, which installs and builds what this needs. Exit code: 0 if everything was
measured, 1 if something failed; goals that are not met are in the report and change nothing.
"""

import argparse
import importlib.metadata
import json
import os
import sys
import time

import context as contexts
import llama
import machine
import parts
import report
import rows
import samples as sample_series


def python_versions(folder):
    """Of the Python peers, as installed in their virtual environment."""
    found = {}
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        for package in ("torch", "transformers", "kvpress"):
            if name.startswith(package + "-") and name.endswith(".dist-info"):
                found[package] = name[len(package) + 1:-len(".dist-info")]
    found.setdefault("torch", importlib.metadata.version("torch"))
    return found


def site_packages(peers):
    library = os.path.join(peers, "venv", "lib")
    versions = sorted(os.listdir(library)) if os.path.isdir(library) else [""]
    return os.path.join(library, versions[-1], "site-packages")


def measure(context, chosen):
    """Runs the parts; returns what results.json holds."""
    started, clock = time.strftime("%Y-%m-%d %H:%M"), time.monotonic()
    samples, failures, others = sample_series.Samples(), [], machine.OthersWatch()
    context.info["llama_cpp"] = llama.version(context)
    context.info["python"] = python_versions(site_packages(context.peers))
    for part in parts.PARTS:
        if part.name in chosen:
            part_clock = time.monotonic()
            parts.run(context, part, samples, failures)
            seconds = context.info.setdefault("seconds", {})
            seconds[part.name] = round(time.monotonic() - part_clock, 1)
    context.info["cpu_of_others"] = others.shares()
    return {"started": started, "seconds": time.monotonic() - clock, "quick": context.quick,
            "rounds": 1 if context.quick else context.rounds, "parts": chosen,
            "machine": machine.describe(), "info": context.info, "series": samples.to_json(),
            "rows": rows.evaluate_all(samples, failures, chosen, context.quick),
            "failures": [{"part": part, "message": message} for part, message in failures]}


def write(result, folder):
    with open(os.path.join(folder, "results.json"), "w") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    with open(os.path.join(folder, "results.md"), "w") as file:
        file.write(report.markdown(result))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("build", "peers", "model", "out"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--only", action="append", choices=parts.NAMES)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--weights", default="auto")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    os.makedirs(arguments.out, exist_ok=True)
    chosen = [name for name in parts.NAMES if name in (arguments.only or parts.NAMES)]
    with open(os.path.join(arguments.out, "log.txt"), "w") as log:
        context = contexts.Context(
            build=os.path.abspath(arguments.build), peers=os.path.abspath(arguments.peers),
            model=os.path.abspath(arguments.model), threads=arguments.threads,
            rounds=max(1, arguments.rounds), quick=arguments.quick, weights=arguments.weights,
            log=log)
        result = measure(context, chosen)
    write(result, arguments.out)
    import plots  # last: it alone needs matplotlib, and the figures are on disk by now
    plots.draw(result, arguments.out)
    print(report.markdown(result))
    print(f"written to {arguments.out}")
    return 1 if result["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
