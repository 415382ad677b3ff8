#!/usr/bin/env python3
"""Compares docs/operations.md with the server: every setting with its values and default, every metric.

usage: check_operations_docs.py SERVER ROOT [--write]
"""

import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

START_LIMIT_S = 60
TINY = "tests/goldens/llava15-tiny"
# What --help shows depends on the machine for this one.
MACHINE_DEFAULTS = {"threads"}


def settings(server):
    """Rows of --help: (group, name, values, default, text)."""
    text = subprocess.run([server, "--help"], capture_output=True, text=True, check=True).stdout
    text = re.sub(r"\n {20,}", "  ", text)
    rows, group = [], None
    for line in text.splitlines():
        heading = re.fullmatch(r"(\w+):", line)
        flag = re.fullmatch(r"  --([\w-]+)(?: ([^ =]+)(?:=(\S+))?)? {1,}(.*)", line)
        if heading:
            group = heading.group(1)
        elif flag and group not in (None, "Options"):
            name, values, default, help_text = flag.groups()
            rows.append((group, name, values or "", default or "", help_text.strip()))
    return rows


def settings_table(server):
    lines = ["| setting | values | default | what |", "|---|---|---|---|"]
    group = None
    for row_group, name, values, default, text in settings(server):
        if row_group != group:
            lines.append(f"| **{row_group}** | | | |")
            group = row_group
        default = "all cores" if name in MACHINE_DEFAULTS else default
        values = values.replace("|", " \\| ")
        lines.append(f"| `{name}` | {values} | {default} | {text.replace('|', ' or ')} |")
    return "\n".join(lines)


def scrape(server, root):
    with tempfile.TemporaryDirectory() as folder:
        log_path = os.path.join(folder, "log")
        port_path = os.path.join(folder, "port")
        with open(log_path, "w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [server, "--model", os.path.join(root, TINY), "--weights", "f32",
                 "--pool-bytes", "16MiB", "--threads", "1", "--listen", "127.0.0.1:0",
                 "--admin-listen", "none", "--metrics-listen", "127.0.0.1:0",
                 "--port-file", port_path], stderr=log)
        try:
            end = time.monotonic() + START_LIMIT_S
            while not os.path.exists(port_path):
                if process.poll() is not None or time.monotonic() > end:
                    sys.exit("the server did not start")
                time.sleep(0.02)
            with open(log_path, encoding="utf-8") as log:
                port = re.search(r"metrics on port (\d+)", log.read()).group(1)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
                return page.read().decode()
        finally:
            process.terminate()
            process.wait(timeout=20)


def metrics_table(server, root):
    page = scrape(server, root)
    helps = dict(re.findall(r"^# HELP concertina_(\S+) (.*)$", page, re.MULTILINE))
    types = re.findall(r"^# TYPE concertina_(\S+) (\w+)$", page, re.MULTILINE)
    lines = ["| metric | type | labels | what |", "|---|---|---|---|"]
    for name, kind in sorted(types, key=lambda row: (row[1], row[0])):
        series = re.search(rf"^concertina_{name}(?:_bucket)?{{(.*)}} ", page, re.MULTILINE)
        labels = re.findall(r'(\w+)="', series.group(1)) if series else ["model", "method", "code"]
        labels = ", ".join(label for label in labels if label not in ("model", "le"))
        lines.append(f"| `{name}` | {kind} | {labels} | {helps[name]} |")
    return "\n".join(lines)


def block(text, name):
    begin, end = f"<!-- {name}: from the server -->\n", f"\n<!-- end of {name} -->"
    if begin not in text or end not in text:
        sys.exit(f"docs/operations.md: no block {name}")
    start = text.index(begin) + len(begin)
    return start, text.index(end, start)


def main():
    server, root = sys.argv[1:3]
    path = os.path.join(root, "docs", "operations.md")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    faults = []
    for name, table in (("settings", settings_table(server)),
                        ("metrics", metrics_table(server, root))):
        start, end = block(text, name)
        if text[start:end] != table:
            faults.append(f"docs/operations.md: the table of {name} is not what the server says")
            text = text[:start] + table + text[end:]
    if "--write" in sys.argv[3:]:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return 0
    print("\n".join(faults) or "docs/operations.md agrees with the server")
    if faults:
        print("write it anew with: tests/app/check_operations_docs.py SERVER ROOT --write")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
