#!/usr/bin/env python3
"""Draws held-out pictures with questions and the server's answers: green right, red wrong with what was expected.

    python tools/adapter/contact_sheet.py --out models/bundled/smollm2-135m-vision/contact_sheet.png

The pictures are the first of a seed, not chosen; half of them have pairs of objects that never met in training. Each
has one conversation: a first question and later ones, every kind of question in turn. The last ones are about two
pictures.
"""
import argparse
import concurrent.futures
import io
import pathlib
import textwrap

from PIL import Image, ImageDraw, ImageFont

from held_out import LATER, SETS, conversation
from painter import Painter
from serving import Client, server_arguments, server_of

FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"  # Debian's fonts-dejavu-core
SINGLES, PAIRS, COLUMNS, TURNS = 18, 3, 3, LATER + 1
SIDE, TEXT, GAP = 150, 330, 12  # pixels: a picture, the text beside it, between
LETTER, LINE, WRAP = 12, 15, 50  # pixels, pixels, characters
INK, RIGHT, WRONG, GROUND = "#1f2328", "#1a7f37", "#cf222e", "#ffffff"
MAX_BYTES = 1_500_000
# Not those that `evaluate.py` asks about by default.
SEED = 24


def _long(name, index, seed):
    """Number `index` of the conversations with later turns: one block of LATER has them."""
    kinds = len(SETS[name])
    return conversation(name, index % kinds + LATER * kinds * (index // kinds), seed)


def talks(seed):
    singles = [_long("held" if i % 2 else "new", i, seed) for i in range(SINGLES)]
    return singles + [_long("two", i, seed) for i in range(PAIRS)]


def lines_of(talk, answers):
    """(text, colour) of the questions and answers about one picture"""
    out = []
    for (_, question, expected), (answer, _) in zip(talk.turns, answers):
        out += [(line, INK) for line in textwrap.wrap(question, WRAP)]
        right = answer.strip() == expected
        out += [(line, RIGHT if right else WRONG) for line in textwrap.wrap(answer.strip() or "(nothing)", WRAP)]
        if not right:
            out += [(line, INK) for line in textwrap.wrap(f"expected: {expected}", WRAP)]
        out.append(("", INK))
    return out[:-1]


def draw(cells):
    """cells [(encoded pictures, lines)] -> the sheet"""
    font = ImageFont.truetype(FONT, LETTER)
    rows = [cells[i:i + COLUMNS] for i in range(0, len(cells), COLUMNS)]
    heights = [max(max((SIDE + GAP) * len(pictures), LINE * len(lines) + GAP) for pictures, lines in row) + GAP
               for row in rows]
    width = SIDE + TEXT + 2 * GAP
    sheet = Image.new("RGB", (COLUMNS * width + GAP, sum(heights) + GAP), GROUND)
    pen, top = ImageDraw.Draw(sheet), GAP
    for row, height in zip(rows, heights):
        for column, (pictures, lines) in enumerate(row):
            left = GAP + column * width
            for index, picture in enumerate(pictures):
                shown = Image.open(io.BytesIO(picture)).resize((SIDE, SIDE), Image.LANCZOS)
                sheet.paste(shown, (left, top + index * (SIDE + GAP)))
            for index, (text, colour) in enumerate(lines):
                pen.text((left + SIDE + GAP, top + LINE * index), text, colour, font)
        top += height
    return sheet


def save(sheet, path):
    """With as many colours as fit."""
    for colours in (256, 128, 64):
        file = io.BytesIO()
        sheet.quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        if len(file.getvalue()) <= MAX_BYTES:
            break
    path.write_bytes(file.getvalue())
    print(f"{path}: {sheet.width} x {sheet.height}, {len(file.getvalue()) / 1e6:.2f} MB")


def make(client, args):
    painter, asked = Painter(), talks(args.seed)
    pictures = [talk.pictures(painter) for talk in asked]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answers = list(pool.map(client.converse, pictures, [[turn[1] for turn in talk.turns] for talk in asked]))
    right = sum(answer.strip() == turn[2] for talk, said in zip(asked, answers)
                for (answer, _), turn in zip(said, talk.turns))
    print(f"{right} of {len(asked) * TURNS} answers right")
    save(draw([(shown, lines_of(talk, said)) for shown, talk, said in zip(pictures, asked, answers)]), args.out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--target", help="HOST:PORT of a running server; default: one is started")
    server_arguments(parser)
    parser.add_argument("--seed", type=int, default=SEED)
    args = parser.parse_args()
    if args.target:
        make(Client(args.target), args)
    else:
        with server_of(args) as target:
            make(Client(target), args)


if __name__ == "__main__":
    main()
