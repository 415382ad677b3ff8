"""Names in backticks: functions, fields, reasons, metrics, flags and files that no source has any more."""

import os
import re

import markdown

# Where names come from; documents themselves do not count.
ENDINGS = (".cmake", ".cpp", ".h", ".inc", ".jinja", ".json", ".proto", ".py", ".sh", ".toml", ".txt",
           ".yaml", ".yml")
MAX_BYTES = 2_000_000
WORD = re.compile(r"\w+(?:-\w+)*")

SPAN = re.compile(r"`([^`\n]+)`")
# `Policy::Select`, `CacheState.used_bytes`, `POOL_EXHAUSTED`, `Grow()`, `--pool-bytes`, `policy.cpp`
NAME = re.compile(r"(?:--)?[A-Za-z_][\w-]*(?:(?:::|\.|->)[A-Za-z_]\w*)*(?:\(\))?")
FILE = re.compile(r"\w+\.(?:cpp|h|jinja|json|md|png|proto|py|sh|svg|toml|yaml|yml)")
# Words that look like names, not like prose: underscores, inner capitals, all capitals, flags.
TELLING = re.compile(r"\w*_\w*|\w*[a-z][A-Z]\w*|[A-Z]{3,}|[A-Z]\w*[a-z]\w*|--.*")


def source_names(root, folders):
    """Every word of the sources, and every file's name."""
    words, files = set(), set(os.listdir(root))
    for folder in folders:
        for parent, _, names in os.walk(os.path.join(root, folder)):
            files.update(names)
            for name in names:
                path = os.path.join(parent, name)
                if (name.endswith(ENDINGS) or "." not in name) and os.path.getsize(path) <= MAX_BYTES:
                    with open(path, encoding="utf-8", errors="replace") as file:
                        for word in WORD.findall(file.read()):
                            words.add(word)
                            words.update(word.split("-"))
    return words, files


def name_faults(document, text, words, files):
    for span in SPAN.findall(markdown.without_fences(text)):
        first = span.split()[0]  # `--vision FOLDER`
        if FILE.fullmatch(span):
            if span not in files:
                yield f"{document}: no file is called `{span}`"
            continue
        if not NAME.fullmatch(first) or (first != span and not first.startswith("--")):
            continue
        for part in re.split(r"::|\.|->", first.removesuffix("()")):
            name = part.removeprefix("--").removeprefix("concertina_")
            if TELLING.fullmatch(part) and name not in words and part not in words:
                yield f"{document}: no source has the name `{span}`"
