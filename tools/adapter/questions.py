"""Questions about scenes and the answers expected, in fixed patterns.

A question is (kind, text, answer). Kinds with a yes and a no (a thing that is not there) draw both.
"""
from world import CELLS, DIRECTIONS, EMOJI, MAX_OBJECTS, NAMES, POSITION, kind_of, pick_name

NUMBERS = ["no", "one", "two", "three", "four", "five", "six"]
_PLURAL = dict(mouse="mice", fish="fish", sheep="sheep", wolf="wolves", leaf="leaves", tomato="tomatoes")

WORDINGS = {
    "caption": ["Describe the image briefly.", "What is in this image?", "What do you see?", "What is in the picture?",
                "Write a short caption for this picture.", "What does the image show?"],
    "describe": ["Describe the image in detail.", "Describe everything in the picture and where it is.",
                 "Where is everything in this image?", "Give a detailed description of the picture."],
    "presence": ["Is there {a} in the image?", "Is there {a} in the picture?", "Do you see {a}?", "Can you see {a} here?"],
    "count": ["How many {p} are there?", "How many {p} are in the image?", "How many {p} do you see?",
              "Count the {p}."],
    "total": ["How many objects are there?", "How many objects are in the image?", "How many things do you see?"],
    "where": ["Where is the {n}?", "Where in the image is the {n}?", "Where do you see the {n}?"],
    "left": ["What is to the left of the {n}?", "What is left of the {n}?"],
    "right": ["What is to the right of the {n}?", "What is right of the {n}?"],
    "above": ["What is above the {n}?", "What do you see above the {n}?"],
    "below": ["What is below the {n}?", "What do you see below the {n}?"],
    "at": ["What is {pos}?", "What do you see {pos}?", "What is {pos} of the image?"],
    "background": ["What color is the background?", "What colour is the background?",
                   "Which color does the background have?"],
    "color": ["What color is the {k}?", "What colour is the {k}?", "Which color does the {k} have?"],
}
KINDS = list(WORDINGS)


def plural(name):
    color, _, noun = name.rpartition(" ")
    if noun in _PLURAL:
        noun = _PLURAL[noun]
    elif noun.endswith("y") and noun[-2] not in "aeiou":
        noun = noun[:-1] + "ies"
    else:
        noun += "es" if noun.endswith(("s", "x", "ch", "sh")) else "s"
    return f"{color} {noun}".strip()


def article(name):
    return ("an " if name[0] in "aeiou" else "a ") + name


def _sentence(text):
    return text[0].upper() + text[1:] + "."


def _enumerate(parts):
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _at(cell):
    return "at the " + POSITION[cell]


def _counted(name, count):
    return article(name) if count == 1 else f"{NUMBERS[count]} {plural(name)}"


def caption(scene):
    parts = [_counted(name, len(things)) for name, things in scene.groups().items()]
    return _sentence(_enumerate(parts) + f" on {article(scene.background)} background")


def describe(scene):
    parts = [f"{article(thing.name)} {_at(thing.cell)}" for thing in scene.things]
    return f"The background is {scene.background}. There is {_enumerate(parts)}."


def absent_name(scene, rng):
    """A name the scene does not have; sometimes the right shape in another colour."""
    while True:
        name = pick_name(rng, scene.background, .25)
        if name not in scene.groups():
            return name


def _unique(scene):
    return [things[0] for things in scene.groups().values() if len(things) == 1]


def _is_missing(rng, share=.12):
    return rng.random() < share


def _presence(scene, rng):
    if rng.random() < .5:
        name = rng.choice(list(scene.groups()))
        return dict(a=article(name)), f"Yes, there is {article(name)}."
    name = absent_name(scene, rng)
    return dict(a=article(name)), f"No, there is no {name}."


def _count(scene, rng):
    groups = scene.groups()
    many = [name for name in groups if len(groups[name]) > 1]
    names = many if many and rng.random() < .5 else list(groups)
    name = absent_name(scene, rng) if _is_missing(rng) else rng.choice(names)
    count = len(groups.get(name, []))
    return dict(p=plural(name)), _sentence(f"{NUMBERS[count]} {name if count == 1 else plural(name)}")


def _total(scene, _):
    count = len(scene.things)
    return {}, _sentence(f"{NUMBERS[count]} object{'s' * (count != 1)}")


def _where(scene, rng):
    if _is_missing(rng):
        name = absent_name(scene, rng)
        return dict(n=name), f"There is no {name}."
    if not _unique(scene):
        return None
    thing = rng.choice(_unique(scene))
    return dict(n=thing.name), f"The {thing.name} is {_at(thing.cell)}."


def _relation(direction):
    def ask(scene, rng):
        if _is_missing(rng, .06):
            name = absent_name(scene, rng)
            return dict(n=name), f"There is no {name}."
        pairs = [(thing, scene.neighbour(thing, direction)) for thing in _unique(scene)]
        some = [pair for pair in pairs if pair[1]]
        none = [pair for pair in pairs if not pair[1]]
        pool = none if none and (not some or _is_missing(rng)) else some
        if not pool or (pool is none and rng.random() < .85):
            return None
        thing, other = rng.choice(pool)
        return dict(n=thing.name), _sentence(article(other.name)) if other else "Nothing."
    return ask


def _spot(scene, rng):
    cell = rng.choice(CELLS) if _is_missing(rng, .2) else rng.choice(scene.things).cell
    thing = scene.at(cell)
    return dict(pos=_at(cell)), _sentence(article(thing.name)) if thing else "Nothing."


def _background(scene, _):
    return {}, f"The background is {scene.background}."


def _color(scene, rng):
    shapes = [thing for thing in scene.things if thing.name not in EMOJI]
    lone = [t for t in shapes if sum(kind_of(o.name) == kind_of(t.name) for o in shapes) == 1]
    if not lone:
        return None
    color, shape = rng.choice(lone).name.split(" ")
    return dict(k=shape), f"The {shape} is {color}."


_ASK = {
    "caption": lambda scene, _: ({}, caption(scene)), "describe": lambda scene, _: ({}, describe(scene)),
    "presence": _presence, "count": _count, "total": _total, "where": _where,
    **{direction: _relation(direction) for direction in DIRECTIONS},
    "at": _spot, "background": _background, "color": _color}


def ask(scene, rng, kind):
    """(kind, question, answer), or None when the scene has nothing to ask of that kind."""
    found = _ASK[kind](scene, rng)
    if not found:
        return None
    fields, answer = found
    return kind, rng.choice(WORDINGS[kind]).format(**fields), answer


# How often each kind is trained: more where it is harder to learn.
WEIGHTS = dict(caption=2, describe=.8, presence=.8, count=2, total=.5, where=1.5, left=3, right=3, above=7, below=7,
               at=2.5, background=.3, color=.5)


def questions(scene, rng, count):
    """`count` questions, kinds drawn by WEIGHTS."""
    out = []
    while len(out) < count:
        found = ask(scene, rng, rng.choices(KINDS, [WEIGHTS[kind] for kind in KINDS])[0])
        if found:
            out.append(found)
    return out


assert MAX_OBJECTS < len(NUMBERS) and all(NAMES)
