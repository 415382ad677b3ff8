"""Conversations about pictures that training never draws: the same generator with seeds of its own.

Conversation number i of a set begins with a question of kind i modulo the number of kinds; every third block of one
conversation per kind goes on with three more. So any number of whole blocks has as many first questions of every kind
and as many later ones.
"""
import dataclasses
import hashlib
import io
import random

import numpy as np
from PIL import Image

import pairs
import questions
from world import DIRECTIONS, make_scene

ABSENT = "absent"  # where or beside what a thing is that is not there
_ONE = questions.KINDS + [ABSENT]
# New layouts; pairs of kinds of objects that share no picture in training; two pictures in the first message.
SETS = dict(new=_ONE, held=_ONE, two=pairs.KINDS)
LATER = 3
_STRIDE = 5


@dataclasses.dataclass
class Conversation:
    name: str
    scenes: list
    seed: int  # of the pictures' noise
    turns: list  # (kind, question, answer expected)

    def pictures(self, painter):
        """The encoded files."""
        noise = np.random.default_rng(self.seed)
        return [_encoded(painter.render(scene, noise)) for scene in self.scenes]


def _encoded(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _ask(scene, rng, kind):
    if kind != ABSENT:
        return questions.ask(scene, rng, kind)
    while True:
        found = questions.ask(scene, rng, rng.choice(["where"] + DIRECTIONS))
        if found and found[2].startswith("There is no "):
            return ABSENT, *found[1:]


def _ask_of_two(pair, rng, kind):
    while True:
        found = pairs.question(pair, rng)
        if found[0] == kind:
            return found


def _draw(name, rng, kinds):
    """-> scenes, turns; a turn is None when the scene has nothing to ask of its kind"""
    if name == "two":
        pair = pairs.make_pair(rng)
        return pair[:2], [_ask_of_two(pair, rng, kind) for kind in kinds]
    scene = make_scene(rng, pairs="held" if name == "held" else "train")
    return [scene], [_ask(scene, rng, kind) for kind in kinds]


def kinds_of(name, index):
    kinds = SETS[name]
    block, place = divmod(index, len(kinds))
    later = [(place + _STRIDE * turn + block // LATER) % len(kinds) for turn in range(1, LATER + 1)]
    return [kinds[k] for k in [place] + (later if block % LATER == 0 else [])]


def conversation(name, index, seed=0):
    """Number `index` of the set `name`, a pure function."""
    label = f"held out/{seed}/{name}/{index}"
    rng = random.Random(label)
    while True:
        scenes, turns = _draw(name, rng, kinds_of(name, index))
        if all(turns) and len({turn[1] for turn in turns}) == len(turns):
            noise = int(hashlib.sha256(label.encode()).hexdigest()[:15], 16)
            return Conversation(f"{name}/{index}", list(scenes), noise, turns)


def detail_of(kind, answer):
    """What a kind's figures are broken down by."""
    if kind == "presence":
        return "yes" if answer.startswith("Yes") else "no"
    if kind == "count":
        return answer.split(" ")[0].lower()
    if kind in ("where", "at", *DIRECTIONS):
        if answer.startswith("There is no "):
            return "absent"
        return "nothing" if answer == "Nothing." else "there"
    if kind == "which":
        return answer.split(" ")[0].lower() if answer[0] != "T" else "one"
    return ""
