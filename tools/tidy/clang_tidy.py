#!/usr/bin/env python3
"""Runs clang-tidy over our sources, two at a time; what passed once is not looked at again.

usage: clang_tidy.py --build DIR [--program PROGRAM] [--jobs N] [--all] [PATH...]

A file that passed leaves a stamp in DIR/clang-tidy, named by the digest of all that decides: its text,
every header of ours it reaches, its flags, .clang-tidy and the program's version.

By default files that reach LibTorch's headers, and tests, are left out: the first cost 20 s each, and
clang-tidy finds little in the second. --all takes them too.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import shlex
import subprocess
import sys

import sources

TORCH = ("ATen/", "torch/", "c10/")
ROOMS = ("cache/", "models/", "server/", "client/")
KEPT_WITH_VALUE = ("-isystem", "-idirafter")
KEPT = ("-I", "-D", "-std=", "-m", "-fopenmp")


def compiler_arguments(command):
    """The part of a g++ command that clang understands and needs."""
    words, kept = iter(shlex.split(command)), []
    for word in words:
        if word in KEPT_WITH_VALUE:
            kept += [word, next(words)]
        elif word in ("-o", "-c", "-include", "-MF", "-MT", "-MQ", "-x"):
            next(words)
        elif word.startswith(KEPT):
            kept.append(word)
    return kept


class Tree:
    """Our files, and what each reaches through its includes."""

    def __init__(self, root):
        self.root = root
        self.cache = {}

    def text_and_includes(self, path):
        if path not in self.cache:
            full = os.path.join(self.root, path)
            text = sources.read_text(self.root, path) if os.path.isfile(full) else None
            found = [name for _, name in sources.includes(text)] if text is not None else []
            self.cache[path] = (text, found)
        return self.cache[path]

    def reach(self, path):
        """(our files reached, path among them; whether LibTorch's headers are reached)."""
        seen, todo, torch = set(), [path], False
        while todo:
            current = todo.pop()
            text, found = self.text_and_includes(current)
            if text is None or current in seen:
                continue
            seen.add(current)
            torch = torch or any(name.startswith(TORCH) for name in found)
            todo += found
        return sorted(seen), torch


def digest(tree, files, arguments, salt):
    state = hashlib.sha256(salt)
    state.update("\0".join(arguments).replace(tree.root, "").encode())
    for path in files:
        state.update(path.encode() + b"\0" + tree.text_and_includes(path)[0].encode() + b"\0")
    return state.hexdigest()


def select(tree, build, everything, only):
    """(path, arguments, reached files) of each source to check."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        commands = json.load(file)
    chosen = {}
    for entry in commands:
        path = os.path.relpath(entry["file"], tree.root)
        if path.startswith("..") or path in chosen or (only and path not in only):
            continue
        reached, torch = tree.reach(path)
        wanted = path.startswith(ROOMS) and not torch
        if reached and not path.startswith("build/") and (wanted or everything or only):
            chosen[path] = (path, compiler_arguments(entry["command"]), reached)
    return [chosen[path] for path in sorted(chosen)]


def run_one(program, root, path, arguments):
    # clang need not know g++'s warnings, and must find its own idea of them quiet.
    result = subprocess.run(
        [program, "--quiet", path, "--", *arguments, "-Wno-everything", "-Wno-error"],
        cwd=root, capture_output=True, text=True)
    return result.returncode, result.stdout + ("" if result.returncode == 0 else result.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default=os.path.join(os.path.dirname(__file__), "..", ".."))
    parser.add_argument("--build", required=True, help="a configured build folder")
    parser.add_argument("--program", default="clang-tidy")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--all", action="store_true", help="tests and users of LibTorch too")
    parser.add_argument("paths", nargs="*")
    options = parser.parse_args()
    tree = Tree(os.path.abspath(options.root))
    stamps = os.path.join(options.build, "clang-tidy")
    os.makedirs(stamps, exist_ok=True)
    salt = subprocess.run([options.program, "--version"], check=True, capture_output=True).stdout
    salt += sources.read_text(tree.root, ".clang-tidy").encode()

    todo, failed = [], 0
    selected = select(tree, options.build, options.all, options.paths)
    for path, arguments, reached in selected:
        stamp = os.path.join(stamps, digest(tree, reached, arguments, salt))
        if not os.path.exists(stamp):
            todo.append((path, arguments, stamp))
    print(f"{len(selected)} files, {len(todo)} of them new or changed", flush=True)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        runs = {pool.submit(run_one, options.program, tree.root, path, arguments): (path, stamp)
                for path, arguments, stamp in todo}
        for done in concurrent.futures.as_completed(runs):
            path, stamp = runs[done]
            status, output = done.result()
            if status == 0:
                open(stamp, "w", encoding="utf-8").close()
            else:
                failed += 1
                print(f"--- {path}\n{output.strip()}", flush=True)
    print(f"{failed} files with findings")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
