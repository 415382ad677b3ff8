#!/usr/bin/env python3
"""Makes the sources that docs/adding-a-policy.md describes, from the page itself.

A block whose fence names a file (```cpp cache/policies/local.cpp) is that file. A block of kind diff is
applied to copies of ours; the copies, changed, are the other sources.

usage: extract_example.py PAGE ROOT OUT
"""

import os
import re
import shutil
import subprocess
import sys

import markdown


def write_files(page_blocks, out):
    for block in page_blocks:
        if not block.info:
            continue
        path = os.path.join(out, block.info)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(block.body)


def apply_diffs(page_blocks, root, out):
    for block in page_blocks:
        if block.language != "diff":
            continue
        for path in re.findall(r"^\+\+\+ b/(\S+)$", block.body, re.MULTILINE):
            os.makedirs(os.path.dirname(os.path.join(out, path)), exist_ok=True)
            shutil.copyfile(os.path.join(root, path), os.path.join(out, path))
        # Without fuzz: a page that is out of date must fail.
        subprocess.run(["patch", "-p1", "--fuzz=0", "--no-backup-if-mismatch", "--quiet"],
                       cwd=out, input=block.body, text=True, check=True)


def main():
    page, root, out = sys.argv[1:]
    with open(page, encoding="utf-8") as file:
        page_blocks = markdown.blocks(file.read())
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    write_files(page_blocks, out)
    apply_diffs(page_blocks, root, out)


if __name__ == "__main__":
    main()
