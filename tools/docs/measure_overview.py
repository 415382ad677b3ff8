#!/usr/bin/env python3
"""Holds the demo conversation on a running server once per budget, for the overview picture.

    tools/docs/measure_overview.py --target HOST:PORT [--client PROGRAM]

The server is `concertina-server` with its default flags. Replaces the conversations in
docs/images/overview.json and leaves the rest of that file alone.
"""

import argparse
import json
import os
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DATA = os.path.join(ROOT, "docs/images/overview.json")
IMAGE = "docs/demo/scene.png"
FULL = ["--policy", "full"]
RUNS = [FULL, *(["--policy", "concertina", "--budget", budget] for budget in ("0.5", "0.3", "0.2", "0.1"))]


def run(client, *arguments):
    return json.loads(subprocess.run([client, *arguments, "--json"], cwd=ROOT, check=True,
                                     capture_output=True, text=True).stdout)


def converse(client, target, flags):
    demo = run(client, "demo", "--target", target, "--image", IMAGE, *flags)
    return {
        "command": " ".join(["concertina demo --image", IMAGE, "--json", *flags]),
        "policy": demo["session"]["policy"]["name"],
        "entry_type": demo["session"]["policy"]["entry_type"],
        "budget": demo["session"]["cache"]["budget"],
        "turns": [{
            "question": turn["question"],
            "answer": turn["text"],
            "tokens_seen": turn["cache"]["tokens_seen"],
            "full_bytes": turn["cache"]["full_bytes"],
            "used_bytes": turn["cache"]["used_bytes"],
        } for turn in demo["turns"]],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", required=True)
    parser.add_argument("--client", default=os.path.join(ROOT, "build/release/client/concertina"))
    arguments = parser.parse_args()
    model = run(arguments.client, "model", "--target", arguments.target)
    with open(DATA, encoding="utf-8") as file:
        data = json.load(file)
    data |= {
        "model": model["name"],
        "weight_type": model["weight_type"],
        "image": IMAGE,
        "conversations": [converse(arguments.client, arguments.target, flags) for flags in RUNS],
    }
    with open(DATA, "w", encoding="utf-8") as file:
        json.dump(data, file, indent=1, ensure_ascii=False)
        file.write("\n")


if __name__ == "__main__":
    main()
