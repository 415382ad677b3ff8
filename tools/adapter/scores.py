"""What answers are worth: exact match with intervals, and objects found in captions."""
import collections
import math
import re

from questions import NUMBERS, article, plural
from world import NAMES

_Z = 1.959963984540054  # of 95 %
_SINGULAR = {article(name): name for name in NAMES}
_PLURAL = {plural(name): name for name in NAMES}


def wilson(right, total):
    """95 % interval of a share."""
    if total == 0:
        return 0., 1.
    share, z = right / total, _Z
    middle = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0., (middle - spread) / scale), min(1., (middle + spread) / scale)


def share(right, total):
    low, high = wilson(right, total)
    value = right / total if total else None
    return dict(right=right, total=total, share=value, low=low, high=high)


def objects_of(caption):
    """Counter of the names in a caption, read as far as it can be read: "A cat and two dogs on a red background." """
    text = caption.strip().rstrip(".")
    text = re.sub(r" on an? \w+ background$", "", text)
    text = text[:1].lower() + text[1:]
    found = collections.Counter()
    for part in re.split(r", | and ", text):
        count, _, rest = part.partition(" ")
        if part in _SINGULAR:
            found[_SINGULAR[part]] += 1
        elif count in NUMBERS and rest in _PLURAL:
            found[_PLURAL[rest]] += NUMBERS.index(count)
        elif part:
            found[f"? {part}"] += 1  # said, but not a name
    return found


def compare_objects(answer, expected):
    """(named and there, named, there)"""
    said, there = objects_of(answer), objects_of(expected)
    return [(said & there).total(), said.total(), there.total()]
