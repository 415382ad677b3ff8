"""Which .cpp files the CMakeLists.txt files name."""

import fnmatch
import os
import re


def named_sources(path, text):
    """Patterns, relative to the root, of the sources that the CMakeLists.txt at path names."""
    folder = os.path.dirname(path)
    patterns = []
    for token in re.findall(r'[^\s()";]+\.cpp\b', re.sub(r"#[^\n]*", "", text)):
        if token.startswith(("${CMAKE_SOURCE_DIR}/", "${PROJECT_SOURCE_DIR}/")):
            token = token.split("/", 1)[1]
        else:
            token = os.path.join(folder, token.removeprefix("${CMAKE_CURRENT_SOURCE_DIR}/"))
        patterns.append(os.path.normpath(re.sub(r"\$\{[^}]*\}", "*", token)))
    return patterns


def unbuilt_sources(files, texts):
    """The .cpp files that no CMakeLists.txt names. texts: path to text of each CMakeLists.txt."""
    patterns = [pattern for path, text in texts.items() for pattern in named_sources(path, text)]
    exact = set(patterns)
    wild = [pattern for pattern in exact if "*" in pattern]
    return [path for path in files if path.endswith(".cpp") and path not in exact
            and not any(fnmatch.fnmatch(path, pattern) for pattern in wild)]
