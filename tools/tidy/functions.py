"""Finds C++ functions and their lengths by braces alone, no compiler needed."""

import re

# What must not be looked into: comments, raw strings, strings, characters (not the ' in 1'000'000),
# preprocessor lines with their continuations.
OPAQUE = re.compile(
    r'//[^\n]*|/\*.*?\*/'
    r'|\bR"(?P<tag>[^()\\\s]{0,16})\(.*?\)(?P=tag)"'
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9A-Za-z_])(?:u8|[uUL])?'(?:\\.|[^'\\\n])+'"
    r'|^[ \t]*#(?:[^\n]*\\\n)*[^\n]*',
    re.DOTALL | re.MULTILINE)

CONTAINER = re.compile(
    r'^(?:(?:inline|static|typedef|constexpr|const|export)\s+)*'
    r'(?:(?:namespace|class|struct|union|enum)\b|extern\s*"")')


def blank(text):
    """The text with everything opaque replaced by spaces, line for line; strings become ""."""
    def replace(match):
        found = match.group(0)
        spaces = re.sub(r"[^\n]", " ", found)
        return '""' + spaces[2:] if found[0] in '"R' and len(found) > 1 else spaces
    return OPAQUE.sub(replace, text)


def match_braces(code):
    """Position of the closing brace for each opening one; an unclosed one ends with the text."""
    closing, open_braces = {}, []
    for i, char in enumerate(code):
        if char == "{":
            open_braces.append(i)
        elif char == "}" and open_braces:
            closing[open_braces.pop()] = i
    for i in open_braces:
        closing[i] = len(code) - 1
    return closing


def strip_head(head):
    """A declaration's text without access labels, attributes and template parameters before it."""
    while True:
        head = head.lstrip()
        label = re.match(r"(?:public|protected|private)\s*:(?!:)|\[\[.*?\]\]", head, re.DOTALL)
        if label:
            head = head[label.end():]
        elif re.match(r"template\s*<", head):
            head = head[template_end(head):]
        else:
            return head


def template_end(head):
    depth = 0
    for i, char in enumerate(head):
        if char == "<":
            depth += 1
        elif char == ">" and head[i - 1] != "-":
            depth -= 1
            if depth == 0:
                return i + 1
    return len(head)


def classify(head, after):
    """What the brace after `head` opens: container, function, initializer (a value)."""
    declaration = strip_head(head).rstrip()
    if CONTAINER.match(declaration) and not re.search(r"\)\s*(?:const|noexcept|override|final)*$",
                                                      declaration):
        return "container"
    if declaration.endswith(("=", ",", "(", "return")) or "(" not in declaration:
        return "initializer"
    # `Foo() : a_{1}, b_{2} {`: the members' braces are followed by a comma or the body.
    if after[:1] in (",", "{"):
        return "initializer"
    return "function"


def find_functions(text):
    """Yields (line, lines, head) of each outermost function; lambdas count as part of theirs."""
    code = blank(text)
    closing = match_braces(code)
    start = i = 0
    while i < len(code):
        char = code[i]
        if char in ";}":
            start = i + 1
        elif char == "{":
            end = closing[i]
            kind = classify(code[start:i], code[end + 1:end + 200].lstrip())
            if kind == "container":
                start = i + 1
            elif kind == "initializer":
                i = end
            else:
                head = code[start:i]
                declaration = strip_head(head)
                first = start + len(head) - len(declaration)
                line = code.count("\n", 0, first) + 1
                yield line, code.count("\n", first, end) + 1, " ".join(declaration.split())
                i = end
                start = end + 1
        i += 1
