"""Conversations about pictures that training never draws: the same generator with seeds of its own.

Conversation number i begins with a question of kind i modulo the number of kinds; every third block of one
conversation per kind goes on with three more. So any number of whole blocks has as many first questions of every kind
and as many later ones.
"""
import dataclasses
import hashlib
import io
import random

import numpy as np
from PIL import Image

import questions
from world import DIRECTIONS, make_scene

ABSENT = "absent"  # where or beside what a thing is that is not there
KINDS = questions.KINDS + [ABSENT]
SETS = dict(new="train", held="held")  # new layouts; pairs of kinds of objects that share no picture in training
LATER = 3
_STRIDE = 5


@dataclasses.dataclass
class Conversation:
    name: str
    scene: object
    seed: int  # of the picture's noise
    turns: list  # (kind, question, answer expected)

    def picture(self, painter):
        """The encoded file."""
        pixels = painter.render(self.scene, np.random.default_rng(self.seed))
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


def _ask_all(scene, rng, kinds):
    turns = [_ask(scene, rng, kind) for kind in kinds]
    return turns if all(turns) and len({turn[1] for turn in turns}) == len(turns) else None


def kinds_of(index):
    block, place = divmod(index, len(KINDS))
    later = [(place + _STRIDE * turn + block // LATER) % len(KINDS) for turn in range(1, LATER + 1)]
    return [KINDS[k] for k in [place] + (later if block % LATER == 0 else [])]


def conversation(name, index, seed=0):
    """Number `index` of the set `name`, a pure function."""
    label = f"held out/{seed}/{name}/{index}"
    rng = random.Random(label)
    while True:
        scene = make_scene(rng, pairs=SETS[name])
        turns = _ask_all(scene, rng, kinds_of(index))
        if turns:
            noise = int(hashlib.sha256(label.encode()).hexdigest()[:15], 16)
            return Conversation(f"{name}/{index}", scene, noise, turns)


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
    return ""
