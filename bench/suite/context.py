"""What all parts need: where programs are, how many rounds, and the log."""

import dataclasses
import os
from typing import Any

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


@dataclasses.dataclass
class Context:
    build: str          # build folder of ours
    peers: str          # build/bench: what was installed
    model: str
    threads: int
    rounds: int
    quick: bool
    weights: str
    log: Any
    info: dict = dataclasses.field(default_factory=dict)  # facts about machine, model and peers

    def program(self, path):
        return os.path.join(self.build, path)

    def length(self, whole, quick):
        """A number that --quick makes smaller."""
        return quick if self.quick else whole

    def say(self, text):
        print(text, flush=True)
        self.log.write(text + "\n")
