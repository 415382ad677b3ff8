"""A Dockerfile as stages of instructions; enough of the format for ours."""

import json
import re


class Stage:
    def __init__(self, name):
        self.name = name
        self.instructions = []

    def all(self, keyword):
        return [rest for word, rest in self.instructions if word == keyword]

    def one(self, keyword):
        (found,) = self.all(keyword)
        return found

    def copies(self):
        """(stage or None, sources, target) of each COPY."""
        for rest in self.all("COPY"):
            words = rest.split()
            stage = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else None
            yield stage, words[:-1], words[-1]

    def environment(self):
        return dict(word.split("=", 1) for rest in self.all("ENV") for word in rest.split())

    def program(self):
        """ENTRYPOINT and CMD as lists."""
        return json.loads(self.one("ENTRYPOINT")), json.loads(self.one("CMD"))


def parse(text):
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"\\\n\s*", " ", text)
    stages = []
    for line in filter(str.strip, text.splitlines()):
        word, rest = line.split(None, 1)
        if word == "FROM":
            stages.append(Stage(rest.split(" AS ")[1].strip() if " AS " in rest else None))
        if stages:
            stages[-1].instructions.append((word, rest.strip()))
    return stages


def installed_packages(stage):
    """The names after `apt-get install` in the RUNs of a stage."""
    names = []
    for rest in stage.all("RUN"):
        for command in rest.split("&&"):
            _, found, arguments = command.partition("apt-get install")
            if found:
                names += [word for word in arguments.split() if not word.startswith("-")]
    return names
