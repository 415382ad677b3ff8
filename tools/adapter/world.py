"""The small world the bundled model can see: what there is, what it is called, and scenes of it.

A scene is a square picture with a background and one to six objects, each in a cell of a 3x3 grid, so that
positions, counts and relations are well defined. `make_scene` is a pure function of its random generator.
"""
import dataclasses
import hashlib

GRID = 3
MAX_OBJECTS = 6

# Name and character of the emoji it is drawn from.
EMOJI = dict(
    cat="🐱", dog="🐶", mouse="🐭", rabbit="🐰", fox="🦊", bear="🐻", panda="🐼", tiger="🐯", lion="🦁", cow="🐮",
    pig="🐷", frog="🐸", monkey="🐵", chicken="🐔", penguin="🐧", duck="🦆", eagle="🦅", owl="🦉", wolf="🐺",
    horse="🐴", bee="🐝", butterfly="🦋", snail="🐌", spider="🕷", turtle="🐢", snake="🐍", octopus="🐙", crab="🦀",
    fish="🐟", dolphin="🐬", whale="🐳", shark="🦈", crocodile="🐊", elephant="🐘", giraffe="🦒", zebra="🦓",
    camel="🐫", kangaroo="🦘", sheep="🐑", parrot="🦜", dinosaur="🦕",
    apple="🍎", pear="🍐", lemon="🍋", banana="🍌", watermelon="🍉", strawberry="🍓", cherry="🍒", peach="🍑",
    pineapple="🍍", tomato="🍅", avocado="🥑", carrot="🥕", corn="🌽", mushroom="🍄", bread="🍞", cheese="🧀",
    egg="🥚", pizza="🍕", cookie="🍪", cake="🎂",
    car="🚗", taxi="🚕", bus="🚌", ambulance="🚑", tractor="🚜", bicycle="🚲", motorcycle="🏍", train="🚂",
    airplane="✈", rocket="🚀", helicopter="🚁", ship="🚢",
    hammer="🔨", key="🔑", lock="🔒", umbrella="☂", book="📕", camera="📷", clock="⏰", telephone="☎",
    guitar="🎸", violin="🎻", trumpet="🎺", drum="🥁", piano="🎹", balloon="🎈", gift="🎁", crown="👑", ring="💍",
    candle="🕯", chair="🪑", door="🚪", bell="🔔", magnet="🧲", telescope="🔭", robot="🤖", ghost="👻",
    basketball="🏀", football="🏈", baseball="⚾",
    tree="🌳", cactus="🌵", rose="🌹", sunflower="🌻", leaf="🍁", house="🏠", castle="🏰", tent="⛺",
    sun="☀", moon="🌙", star="⭐", cloud="☁", rainbow="🌈", volcano="🌋",
    shirt="👕", dress="👗", shoe="👟", hat="🎩", boot="👢", sock="🧦", backpack="🎒", glove="🧤",
)
SHAPES = ["circle", "square", "triangle", "diamond", "cross"]
COLORS = dict(
    red=(215, 40, 40), green=(40, 165, 65), blue=(45, 85, 215), yellow=(240, 215, 45), purple=(140, 55, 175),
    orange=(245, 140, 30), pink=(245, 150, 190), gray=(135, 135, 135), white=(245, 245, 245), black=(20, 20, 20),
    brown=(120, 75, 40))
SHAPE_COLORS = ["red", "green", "blue", "yellow", "purple", "orange", "black", "white"]
BACKGROUNDS = list(COLORS)
STYLES = ["plain", "gradient", "noise"]

# Everything an object can be called: the emoji, then every colour of every shape.
NAMES = list(EMOJI) + [f"{color} {shape}" for shape in SHAPES for color in SHAPE_COLORS]
NAME_ID = {name: index for index, name in enumerate(NAMES)}

CELLS = [(row, column) for row in range(GRID) for column in range(GRID)]
POSITION = {
    (0, 0): "top left", (0, 1): "top", (0, 2): "top right",
    (1, 0): "left", (1, 1): "center", (1, 2): "right",
    (2, 0): "bottom left", (2, 1): "bottom", (2, 2): "bottom right"}
DIRECTIONS = ["left", "right", "above", "below"]


@dataclasses.dataclass
class Thing:
    """One object: its name, its cell (row, column), side and centre in parts of the picture's side, rotation."""
    name: str
    cell: tuple
    size: float
    x: float
    y: float
    turn: float  # degrees
    mirrored: bool


@dataclasses.dataclass
class Scene:
    things: list  # in reading order of their cells
    background: str
    style: str

    def groups(self):
        """name -> its things, in reading order"""
        out = {}
        for thing in self.things:
            out.setdefault(thing.name, []).append(thing)
        return out

    def at(self, cell):
        return next((thing for thing in self.things if thing.cell == cell), None)

    def neighbour(self, thing, direction):
        """The nearest thing in the same row (left, right) or column (above, below), or None."""
        row, column = thing.cell
        distance = {
            "left": lambda o: column - o.cell[1] if o.cell[0] == row else 0,
            "right": lambda o: o.cell[1] - column if o.cell[0] == row else 0,
            "above": lambda o: row - o.cell[0] if o.cell[1] == column else 0,
            "below": lambda o: o.cell[0] - row if o.cell[1] == column else 0}[direction]
        near = [(distance(other), other) for other in self.things if distance(other) > 0]
        return min(near, key=lambda pair: pair[0])[1] if near else None


def kind_of(name):
    """What a name is a kind of: its shape, or itself."""
    return name.split(" ")[-1]


def is_held_out(a, b):
    """True for about 5 % of the unordered pairs of kinds: they share no picture in training."""
    a, b = kind_of(a), kind_of(b)
    digest = hashlib.md5("|".join(sorted((a, b))).encode()).hexdigest()
    return a != b and int(digest, 16) % 20 == 0


def has_held_out_pair(names):
    return any(is_held_out(a, b) for i, a in enumerate(names) for b in names[:i])


def pick_name(rng, background, shapes=.18):
    """A name that can be seen on that background."""
    if rng.random() >= shapes:
        return rng.choice(list(EMOJI))
    color = rng.choice([c for c in SHAPE_COLORS if c != background])
    return f"{color} {rng.choice(SHAPES)}"


def _pick_names(rng, count, background):
    repeats = rng.random() < .4
    names = []
    for _ in range(count):
        if names and repeats and rng.random() < .55:
            names.append(rng.choice(names))
        else:
            names.append(pick_name(rng, background))
    return names


def _place(rng, name, cell, alone):
    size = rng.uniform(.22, .34) if not alone else rng.uniform(.3, .6)
    jitter = .055
    turn = rng.uniform(-25, 25) if rng.random() < .4 else 0.
    return Thing(name, cell, size, (cell[1] + .5) / GRID + rng.uniform(-jitter, jitter),
                 (cell[0] + .5) / GRID + rng.uniform(-jitter, jitter), turn, rng.random() < .3)


def make_scene(rng, count=None, pairs="train"):
    """`count`: objects, else 1 to 6. `pairs`: "train" has no held-out pair, "held" at least one, "any" either."""
    while True:
        background = rng.choice(BACKGROUNDS)
        total = count or rng.choices(range(1, MAX_OBJECTS + 1), [1, 3, 4, 4, 3, 2])[0]
        names = _pick_names(rng, total, background)
        if pairs != "any" and has_held_out_pair(names) != (pairs == "held"):
            continue
        alone = total == 1 and rng.random() < .4
        cells = [(1, 1)] if alone else sorted(rng.sample(CELLS, total))
        things = [_place(rng, name, cell, alone) for name, cell in zip(names, cells)]
        return Scene(things, background, rng.choice(STYLES))
