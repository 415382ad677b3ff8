"""The blocks of code in a Markdown text, and the directives that stand before them."""

import dataclasses
import re

FENCE = re.compile(r"^```(\S*)[ \t]*([^\n]*)\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
# Four spaces after an empty line or a directive. Lists of ours have no paragraphs so deep.
INDENTED = re.compile(r"(?:(?<=\n\n)|(?<=-->\n)) {4}[^\n]*(?:\n+ {4}[^\n]*)*")
DIRECTIVE = re.compile(r"<!--[ \t]*([^\n]*?)[ \t]*-->\s*\Z")


@dataclasses.dataclass
class Block:
    """One block of code."""
    line: int  # of its first line in the document, from 1
    language: str  # of a fence; "" for none and for an indented block
    info: str  # what follows the language
    body: str
    directive: str  # text of the HTML comment right before the block, or ""


def blocks(text):
    """All blocks, in order."""
    def block(match, start, language, info, body):
        before = DIRECTIVE.search(text, 0, match.start())
        return Block(text.count("\n", 0, start) + 1, language, info.strip(), body,
                     before[1] if before else "")

    found = [block(match, match.start(3), match[1], match[2], match[3])
             for match in FENCE.finditer(text)]
    # Blanked, not removed: positions stay.
    unfenced = FENCE.sub(lambda match: re.sub(r"[^\n]", ".", match[0]), text)
    for match in INDENTED.finditer(unfenced):
        body = re.sub(r"^ {4}", "", match[0], flags=re.MULTILINE) + "\n"
        found.append(block(match, match.start(), "", "", body))
    return sorted(found, key=lambda one: one.line)


def without_fences(text):
    return FENCE.sub("", text)
