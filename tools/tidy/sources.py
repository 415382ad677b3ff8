"""Which files are ours, and what they include."""

import os
import re
import subprocess

# Brought along unchanged: the licence's holder or the reference results decide about their form.
VENDORED = ("proto/google/", "tests/goldens/", "LICENSE")

CPP = (".h", ".cpp")
CODE = CPP + (".py", ".sh", ".cmake", ".proto")

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"]+)[>"]', re.MULTILINE)


def list_files(root):
    """Paths relative to root of all files that git tracks or would track, sorted."""
    try:
        output = subprocess.run(
            ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            check=True, capture_output=True).stdout.decode()
        names = set(filter(None, output.split("\0")))
    except (OSError, subprocess.CalledProcessError):  # an unpacked archive
        names = set(walk_files(root))
    return sorted(name for name in names if os.path.isfile(os.path.join(root, name)))


def walk_files(root):
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders
                      if name not in ("build", "__pycache__", ".git", ".venv", ".models", ".cache")]
        for name in files:
            yield os.path.relpath(os.path.join(folder, name), root)


def is_vendored(path):
    return path.startswith(VENDORED)


def read_text(root, path):
    """The file's text, or None if it is no text."""
    with open(os.path.join(root, path), "rb") as file:
        data = file.read()
    if b"\0" in data:
        return None
    return data.decode("utf-8", errors="replace")


def includes(text):
    """(line, name) of every include directive."""
    return [(text.count("\n", 0, match.start(1)) + 1, match.group(1))
            for match in INCLUDE.finditer(text)]


def is_shell(path, text):
    return path.endswith(".sh") or re.match(r"#!.*\b(bash|sh)\b", text) is not None
