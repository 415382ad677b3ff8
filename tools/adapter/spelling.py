"""What each image token should say: the words of the 3x3 grid's cells, spelled in language-model embeddings.

The tower has 12x12 patches, 4x4 a cell. It is taught to write, in each cell's four rows of tokens,

    row word      column word    colour or "a"  noun
    count         colour or "a"  noun           count of all objects
    left of noun  name           right of noun  name
    above noun    name           below noun     name

and in an empty one where it is, "nothing", the background's colour and the count of all objects. The language model
then finds an answer as it would find it in a text, which a low-rank adapter learns from thousands of scenes instead
of millions. Only the start of training: later the language model's own loss decides what a token says.
"""
import numpy as np
import torch

from painter import SIZE
from questions import NUMBERS
from world import BACKGROUNDS, CELLS, DIRECTIONS, EMOJI, GRID, NAMES

PATCH = 16
PATCHES = SIZE // PATCH  # a side
PER_CELL = PATCHES // GRID
TOKENS = PATCHES * PATCHES
_ROWS, _COLUMNS = ["top", "middle", "bottom"], ["left", "center", "right"]
_NOTHING = "nothing"


def _entries():
    """Every thing a token can say -> words with weights; their embeddings are added up."""
    out = {}
    for word in _ROWS + _COLUMNS + BACKGROUNDS + [_NOTHING, "background", ",", "a"] + NUMBERS:
        out[word] = [(word, 1.)]
    for name in NAMES:
        words = [(word, 1.) for word in name.split(" ")]
        out[words[-1][0]] = words[-1:]
        out["name:" + name] = words
        for direction in DIRECTIONS:
            out[f"{direction}:{name}"] = [(direction, 1.)] + words
    for number in NUMBERS[1:]:
        out["all:" + number] = [(number, 1.), ("objects", 1.)]
    return out


ENTRIES = _entries()
ENTRY_ID = {entry: index for index, entry in enumerate(ENTRIES)}


def _thing(scene, thing, total):
    color, _, noun = thing.name.rpartition(" ")
    adjective = color or "a"
    count = NUMBERS[len(scene.groups()[thing.name])]
    beside = {}
    for direction in DIRECTIONS:
        other = scene.neighbour(thing, direction)
        beside[direction] = "name:" + other.name if other else _NOTHING
    row, column = thing.cell
    return [
        [_ROWS[row], _COLUMNS[column], adjective, noun],
        [count, adjective, noun, total],
        [f"left:{thing.name}", beside["left"], f"right:{thing.name}", beside["right"]],
        [f"above:{thing.name}", beside["above"], f"below:{thing.name}", beside["below"]]]


def _empty(scene, cell, total):
    place = [_ROWS[cell[0]], _COLUMNS[cell[1]], _NOTHING, ","]
    background = [scene.background, "background", total, ","]
    return [place, background, place, background]


def spell(scene):
    """int64 [TOKENS]: the entry each image token should say"""
    total = "all:" + NUMBERS[len(scene.things)]
    out = np.empty((PATCHES, PATCHES), np.int64)
    for cell in CELLS:
        thing = scene.at(cell)
        block = _thing(scene, thing, total) if thing else _empty(scene, cell, total)
        row, column = cell[0] * PER_CELL, cell[1] * PER_CELL
        out[row:row + PER_CELL, column:column + PER_CELL] = [[ENTRY_ID[e] for e in line] for line in block]
    return out.reshape(-1)


def entry_embeddings(embedding, tokenize):
    """[len(ENTRIES), width] from the language model's input embedding [vocabulary, width]"""
    def vector(word):
        ids = tokenize(word if word == "," else " " + word)
        assert len(ids) == 1, word
        return embedding[ids[0]]
    return torch.stack([sum(weight * vector(word) for word, weight in words) for words in ENTRIES.values()])


assert all(name in NAMES for name in EMOJI)
