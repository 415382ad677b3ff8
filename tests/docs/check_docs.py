#!/usr/bin/env python3
"""Checks what the documents say about the tree; exits 1 if something is wrong.

- links to files and headings lead somewhere;
- paths in backticks that begin with a folder of ours exist; names in backticks occur in a source;
- the README's C++ snippet is the program that readme_snippet.cpp compiles, word for word;
- every block of code says what it is: commands (run_commands.py runs them), commands that are not run for
  one of a few reasons, output, or a language.

usage: check_docs.py [ROOT]
"""

import os
import re
import sys

import markdown
import names

FOLDERS = ("bench", "cache", "client", "deploy", "docs", "models", "proto", "server", "tests", "tools")
SNIPPET = "tests/docs/readme_snippet.cpp"

LINK = re.compile(r"\]\(([^)\s]+)\)")
# A path of ours, not a pattern: `server/engine/task.h`, `docs/`, `tools/run`.
PATH = re.compile(r"`((?:%s)/[\w./-]*)`" % "|".join(FOLDERS))

SHELL = ("", "sh", "bash")
LANGUAGES = ("cpp", "diff", "json", "mermaid", "promql", "proto", "python", "text", "toml", "yaml")
OUTPUT = "output"
NOT_RUN = "not run: "
# Why commands of a document may be left unrun.
REASONS = (
    "needs a cluster",
    "needs docker",
    "needs another machine",
    "needs transformers",
    "installs packages",
    "ends the server",
    "changes the tree",
    "measurement",  # too long; run_commands.py checks that programs and flags exist
    "the tests themselves",  # likewise
)


def documents(root):
    """Paths relative to root of the documents we write."""
    found = [name for name in os.listdir(root) if name.endswith(".md")]
    for folder in FOLDERS:
        for parent, _, names in os.walk(os.path.join(root, folder)):
            found += [os.path.relpath(os.path.join(parent, name), root)
                      for name in names if name.endswith(".md")]
    return sorted(found)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read()


def is_shell(block):
    return block.language in SHELL and block.directive != OUTPUT


def reason_not_run(block):
    """Why the block is not run; "" when it is."""
    return block.directive.removeprefix(NOT_RUN) if block.directive.startswith(NOT_RUN) else ""


def anchors(text):
    """The headings' anchors as GitHub makes them."""
    headings = re.findall(r"^#+ +(.*?) *$", markdown.without_fences(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def link_faults(root, document, text):
    for target in LINK.findall(markdown.without_fences(text)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = os.path.normpath(os.path.join(root, os.path.dirname(document), name)) if name \
            else os.path.join(root, document)
        if not os.path.exists(path):
            yield f"{document}: link to {target}, which does not exist"
        elif anchor and path.endswith(".md") and anchor not in anchors(read(root, path)):
            yield f"{document}: link to {target}, which has no such heading"


def path_faults(root, document, text):
    for path in PATH.findall(markdown.without_fences(text)):
        if not os.path.exists(os.path.join(root, path)):
            yield f"{document}: `{path}` does not exist"


def block_faults(document, text):
    for match in re.finditer(r"^[ \t]+```", text, re.MULTILINE):
        yield f"{document}:{text.count(chr(10), 0, match.start()) + 1}: an indented fence is not checked"
    for block in markdown.blocks(text):
        where = f"{document}:{block.line}"
        reason = reason_not_run(block)
        if block.language not in SHELL + LANGUAGES:
            yield f"{where}: unknown language {block.language}"
        if reason and reason not in REASONS:
            yield f"{where}: unknown reason not to run: {reason}"
        if reason and not is_shell(block):
            yield f"{where}: {block.language} would not be run anyway"
        if block.directive and not reason and block.directive != OUTPUT:
            yield f"{where}: unknown directive: {block.directive}"


def snippet_faults(root, readme):
    blocks = [block.body for block in markdown.blocks(readme) if block.language == "cpp"]
    program = read(root, SNIPPET)
    # Indentation apart: the README may show the body of main alone.
    normal = re.sub(r"^ +", "", program, flags=re.MULTILINE)
    if len(blocks) != 1:
        yield f"README.md: {len(blocks)} C++ snippets, expected one"
    for block in blocks:
        if re.sub(r"^ +", "", block, flags=re.MULTILINE) not in normal:
            yield f"README.md: the C++ snippet is not part of {SNIPPET}"


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.getcwd()
    faults, found = [], documents(root)
    known = names.source_names(root, FOLDERS)
    for document in found:
        text = read(root, document)
        faults += [*link_faults(root, document, text), *path_faults(root, document, text),
                   *block_faults(document, text), *names.name_faults(document, text, *known)]
        if document == "README.md":
            faults += snippet_faults(root, text)
    if "README.md" not in found:
        faults.append("README.md is missing")
    print("\n".join(faults) or f"{len(found)} documents: no fault")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
