"""What each image token should say: the words of the 3x3 grid's cells, spelled in language-model embeddings.

The tower has 12x12 patches, 4x4 a cell. It is taught to write in each of a cell's four rows of tokens

    row word    column word    count    name

where the count is of the things of that name, in an empty cell of all things, and the name of an empty cell is the
background. The first three tokens say half of the name too. The language model then finds an answer as it would find
it in a text, which a low-rank adapter learns from thousands of scenes instead of millions; and what a cell has to say
stands there four times, so that it survives when entries are dropped. Only the start of training: later the
language model's own loss decides what a token says.
"""
import numpy as np
import torch

from painter import SIZE
from questions import NUMBERS
from world import BACKGROUNDS, CELLS, GRID, NAMES

PATCH = 16
PATCHES = SIZE // PATCH  # a side
PER_CELL = PATCHES // GRID
TOKENS = PATCHES * PATCHES
_ROWS, _COLUMNS = ["top", "middle", "bottom"], ["left", "center", "right"]
HINT = .5  # of what is in a cell, in the tokens that say something else of it


def _entries():
    """Every thing a token can say -> words with weights; their embeddings are added up."""
    out = {}
    whats = {name: [(word, 1.) for word in name.split(" ")] for name in NAMES}
    whats |= {color: [(color, .7), ("background", .7)] for color in BACKGROUNDS}
    for what, words in whats.items():
        out["name/" + what] = words
        hint = [(word, HINT * weight) for word, weight in words]
        for role in _ROWS + _COLUMNS + NUMBERS[1:]:
            out[f"{role}/{what}"] = [(role, 1.)] + hint
    return out


ENTRIES = _entries()
ENTRY_ID = {entry: index for index, entry in enumerate(ENTRIES)}


def _cell(scene, cell):
    thing = scene.at(cell)
    what = thing.name if thing else scene.background
    count = len(scene.groups()[thing.name]) if thing else len(scene.things)
    line = [f"{role}/{what}" for role in (_ROWS[cell[0]], _COLUMNS[cell[1]], NUMBERS[count], "name")]
    return [line] * PER_CELL


def spell(scene):
    """int64 [TOKENS]: the entry each image token should say"""
    out = np.empty((PATCHES, PATCHES), np.int64)
    for cell in CELLS:
        block = _cell(scene, cell)
        row, column = cell[0] * PER_CELL, cell[1] * PER_CELL
        out[row:row + PER_CELL, column:column + PER_CELL] = [[ENTRY_ID[e] for e in line] for line in block]
    return out.reshape(-1)


def entry_embeddings(embedding, tokenize):
    """[len(ENTRIES), width] from the language model's input embedding [vocabulary, width]"""
    def vector(word):
        ids = tokenize(" " + word)
        assert len(ids) == 1, word
        return embedding[ids[0]]
    return torch.stack([sum(weight * vector(word) for word, weight in words) for words in ENTRIES.values()])

