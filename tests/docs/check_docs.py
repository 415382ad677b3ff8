#!/usr/bin/env python3
"""Checks what the documents say about the tree; exits 1 if something is wrong.

- links to files and headings lead somewhere;
- paths in backticks that begin with a folder of ours exist;
- the README's C++ snippet is the program that readme_snippet.cpp compiles, word for word.

usage: check_docs.py [ROOT]
"""

import os
import re
import sys

FOLDERS = ("bench", "cache", "client", "docs", "models", "proto", "server", "tests", "tools")
SNIPPET = "tests/docs/readme_snippet.cpp"

LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# A path of ours, not a pattern: `server/engine/task.h`, `docs/`, `tools/run`.
PATH = re.compile(r"`((?:%s)/[\w./-]*)`" % "|".join(FOLDERS))


def documents(root):
    """Paths relative to root of the documents we write."""
    found = [name for name in os.listdir(root) if name.endswith(".md")]
    for folder in FOLDERS:
        for parent, _, names in os.walk(os.path.join(root, folder)):
            found += [os.path.relpath(os.path.join(parent, name), root)
                      for name in names if name.endswith(".md")]
    return sorted(found)


def anchors(text):
    """The headings' anchors as GitHub makes them."""
    headings = re.findall(r"^#+ +(.*?) *$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def link_faults(root, document, text):
    for target in LINK.findall(text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = os.path.normpath(os.path.join(root, os.path.dirname(document), name)) if name \
            else os.path.join(root, document)
        if not os.path.exists(path):
            yield f"{document}: link to {target}, which does not exist"
        elif anchor and path.endswith(".md"):
            with open(path, encoding="utf-8") as file:
                if anchor not in anchors(file.read()):
                    yield f"{document}: link to {target}, which has no such heading"


def path_faults(root, document, text):
    for path in PATH.findall(FENCE.sub("", text)):
        if not os.path.exists(os.path.join(root, path)):
            yield f"{document}: `{path}` does not exist"


def snippet_faults(root, readme):
    blocks = [body for language, body in FENCE.findall(readme) if language == "cpp"]
    with open(os.path.join(root, SNIPPET), encoding="utf-8") as file:
        program = file.read()
    # Indentation apart: the README may show the body of main alone.
    normal = re.sub(r"^ +", "", program, flags=re.MULTILINE)
    if len(blocks) != 1:
        yield f"README.md: {len(blocks)} C++ snippets, expected one"
    for block in blocks:
        if re.sub(r"^ +", "", block, flags=re.MULTILINE) not in normal:
            yield f"README.md: the C++ snippet is not part of {SNIPPET}"


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.getcwd()
    faults, names = [], documents(root)
    for document in names:
        with open(os.path.join(root, document), encoding="utf-8") as file:
            text = file.read()
        faults += [*link_faults(root, document, text), *path_faults(root, document, text)]
        if document == "README.md":
            faults += snippet_faults(root, text)
    if "README.md" not in names:
        faults.append("README.md is missing")
    print("\n".join(faults) or f"{len(names)} documents: no fault")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
