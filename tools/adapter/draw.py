#!/usr/bin/env python3
"""Draws a picture that the bundled model can see, from words.

    python tools/adapter/draw.py --out docs/demo/scene.png --background purple --seed 12 \\
        "carrot at the top left" "cat at the bottom right"

Names and places are those of world.py; what is not said follows from the seed.
"""
import argparse
import random

import numpy as np
from PIL import Image

from painter import Painter
from world import BACKGROUNDS, GRID, MAX_OBJECTS, NAMES, POSITION, STYLES, Scene, Thing

CELLS = {position: cell for cell, position in POSITION.items()}


def thing(text, rng):
    name, _, position = text.partition(" at the ")
    if name not in NAMES or position not in CELLS:
        raise SystemExit(f"no name or no place: {text}")
    row, column = CELLS[position]
    return Thing(name, (row, column), rng.uniform(.26, .32), (column + .5) / GRID, (row + .5) / GRID, 0., False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("things", nargs="+", metavar="'NAME at the PLACE'")
    parser.add_argument("--out", required=True)
    parser.add_argument("--background", choices=BACKGROUNDS, default="white")
    parser.add_argument("--style", choices=STYLES, default="plain")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    things = sorted((thing(text, rng) for text in args.things), key=lambda each: each.cell)
    if len(things) > MAX_OBJECTS or len({each.cell for each in things}) < len(things):
        raise SystemExit(f"at most {MAX_OBJECTS} things, each in a place of its own")
    pixels = Painter().render(Scene(things, args.background, args.style), np.random.default_rng(args.seed))
    Image.fromarray(pixels).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
