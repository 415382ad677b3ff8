"""Two pictures in one conversation: the second is the first with one change, and questions about both."""
import copy
import dataclasses

from questions import absent_name, article, ask
from world import (BACKGROUNDS, CELLS, EMOJI, GRID, MAX_OBJECTS, POSITION, Thing, has_held_out_pair, make_scene,
                   pick_name)

CHANGES = ["added", "removed", "replaced", "moved", "background"]
WORDINGS = {
    "change": ["What changed between the two pictures?", "What is different in the second picture?",
               "What is the difference between the two images?"],
    "which": ["Which picture has {a}?", "In which picture is {a}?"],
}
# Kinds of questions.py that are asked of one of the two pictures, by its place.
SINGLE = ["at", "where", "count", "total", "background", "presence"]
KINDS = list(WORDINGS) + ["one of two"]
_ORDINALS = ["first", "second"]


def _moved(thing, cell):
    right, down = (cell[1] - thing.cell[1]) / GRID, (cell[0] - thing.cell[0]) / GRID
    return dataclasses.replace(thing, cell=cell, x=thing.x + right, y=thing.y + down)


def _changed(scene, kind, rng):
    """-> the changed scene and the sentence that says so, or None when it cannot be"""
    out = copy.deepcopy(scene)
    free = [cell for cell in CELLS if not scene.at(cell)]
    if kind == "background":
        taken = {thing.name.split(" ")[0] for thing in scene.things if thing.name not in EMOJI}
        out.background = rng.choice([b for b in BACKGROUNDS if b != scene.background and b not in taken])
        return out, f"The background changed from {scene.background} to {out.background}."
    index = rng.randrange(len(out.things))
    thing = out.things[index]
    place = POSITION[thing.cell]
    if kind == "removed":
        if len(out.things) < 2:
            return None
        del out.things[index]
        return out, f"The {thing.name} at the {place} is gone."
    if kind == "replaced":
        old, thing.name = thing.name, absent_name(scene, rng)
        return out, f"The {old} at the {place} became {article(thing.name)}."
    if kind == "added" and len(out.things) == MAX_OBJECTS:
        return None
    cell = rng.choice(free)
    if kind == "moved":
        out.things[index] = _moved(thing, cell)
        said = f"The {thing.name} moved from the {place} to the {POSITION[cell]}."
    else:
        new = Thing(pick_name(rng, scene.background), cell, rng.uniform(.24, .33), (cell[1] + .5) / GRID,
                    (cell[0] + .5) / GRID, 0., False)
        out.things.append(new)
        said = f"There is {article(new.name)} at the {POSITION[cell]} now."
    out.things.sort(key=lambda t: t.cell)
    return out, said


def make_pair(rng, pairs="train"):
    """-> first scene, second scene, what changed"""
    while True:
        first = make_scene(rng, pairs=pairs)
        changed = _changed(first, rng.choice(CHANGES), rng)
        if changed and (pairs != "train" or not has_held_out_pair([t.name for t in changed[0].things])):
            return first, *changed


def _which(scenes, rng):
    names = [set(scene.groups()) for scene in scenes]
    differing = sorted(names[0] ^ names[1])
    name = rng.choice(differing) if differing and rng.random() < .6 else rng.choice(sorted(names[0] | names[1]))
    if rng.random() < .15:
        name = absent_name(scenes[0], rng)
    has = [name in some for some in names]
    answer = {(True, True): "Both pictures.", (False, False): "Neither picture.",
              (True, False): "The first picture.", (False, True): "The second picture."}[tuple(has)]
    return "which", rng.choice(WORDINGS["which"]).format(a=article(name)), answer


def _one_of_two(scenes, rng):
    place = rng.randrange(2)
    found = None
    while not found:
        found = ask(scenes[place], rng, rng.choice(SINGLE))
    _, question, answer = found
    return "one of two", f"Look at the {_ORDINALS[place]} picture. {question}", answer


def question(pair, rng):
    """(kind, question, answer) about make_pair's result"""
    first, second, said = pair
    drawn = rng.random()
    if drawn < .35:
        return "change", rng.choice(WORDINGS["change"]), said
    return _which((first, second), rng) if drawn < .55 else _one_of_two((first, second), rng)


def questions(pair, rng, count):
    return [question(pair, rng) for _ in range(count)]
