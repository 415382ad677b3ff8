#!/usr/bin/env python3
"""Lists everything in the source tree that breaks the house rules; exits 1 if there is anything.

usage: check.py [--root DIR] [--clang-format PROGRAM]
"""

import argparse
import os
import subprocess
import sys

import cmake_lists
import functions
import layering
import sources
import texts

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60


def check_length(path, text):
    lines = text.count("\n")
    if lines > MAX_FILE_LINES:
        yield f"{path}: {lines} lines, at most {MAX_FILE_LINES}"
    if path.endswith(sources.CPP):
        for line, count, head in functions.find_functions(text):
            if count > MAX_FUNCTION_LINES:
                yield (f"{path}:{line}: function of {count} lines, at most {MAX_FUNCTION_LINES}: "
                       f"{head[:80]}")


def check_file(root, path):
    """Messages about one file."""
    text = sources.read_text(root, path)
    if text is None or sources.is_vendored(path):
        return
    if path.endswith(sources.CODE) or os.path.basename(path) == "CMakeLists.txt":
        yield from check_length(path, text)
    if path.endswith(sources.CPP):
        yield from layering.check_includes(path, sources.includes(text))
    for line, found in texts.forbidden_texts(text):
        yield f"{path}:{line}: holds {found}"
    if sources.is_shell(path, text):
        result = subprocess.run(["bash", "-n", os.path.join(root, path)], capture_output=True,
                                text=True)
        if result.returncode != 0:
            yield f"{path}: bash -n: {result.stderr.strip()}"


def check_built(root, files):
    lists = {path: sources.read_text(root, path) for path in files
             if os.path.basename(path) == "CMakeLists.txt"}
    for path in cmake_lists.unbuilt_sources(files, lists):
        yield f"{path}: in no CMakeLists.txt"


def check_format(root, files, program):
    cpp = [path for path in files if path.endswith(sources.CPP)]
    if not cpp:
        return
    result = subprocess.run([program, "--dry-run", "-Werror", *cpp], cwd=root, capture_output=True,
                            text=True)
    offenders = sorted({line.split(":")[0] for line in result.stderr.splitlines()
                        if "-Wclang-format-violations" in line})
    for path in offenders:
        yield f"{path}: not formatted; run tools/format"
    if result.returncode != 0 and not offenders:
        yield f"{program}: {result.stderr.strip()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default=os.path.join(os.path.dirname(__file__), "..", ".."))
    parser.add_argument("--clang-format", help="also check the format with this program")
    arguments = parser.parse_args()
    root = os.path.abspath(arguments.root)
    files = sources.list_files(root)
    messages = [message for path in files for message in check_file(root, path)]
    messages += check_built(root, files)
    if arguments.clang_format:
        messages += check_format(root, files, arguments.clang_format)
    for message in messages:
        print(message)
    print(f"{len(files)} files, {len(messages)} offences")
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main())
