"""Texts that no file may hold: places that exist on one machine only."""

import re

# Written with a group in each, so that this file does not hold them either.
FORBIDDEN = tuple(re.compile(pattern) for pattern in (
    r"(?<![\w.}/\-])/(?:work)(?![\w-])",
    r"(?<![\w.}/\-])/(?:tmp)/w(?![\w-])",
    r"(?<![\w.}/\-])/opt/(?:pypi|wheels)",
    r"\.\./(?:shared)\b",
    r"\b(?:pypi|pythonhosted)\.(?:org)\b",
    r"\b(?:deb|snapshot|security)\.(?:debian)\.org\b",
    r"\bregistry\.(?:npmjs)\.org\b",
    r"\bdownload\.(?:pytorch)\.org\b",
))


def forbidden_texts(text):
    """(line, text) of each forbidden text."""
    return [(text.count("\n", 0, match.start()) + 1, match.group(0))
            for pattern in FORBIDDEN for match in pattern.finditer(text)]
