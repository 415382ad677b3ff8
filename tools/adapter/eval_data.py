#!/usr/bin/env python3
"""Writes held-out pictures with questions as a data set for `concertina eval`.

    python tools/adapter/eval_data.py --out build/adapter/questions --conversations 600
    concertina eval build/adapter/questions/questions.jsonl --policies concertina,h2o --budgets 0.1,0.2 --out build/quality

The same conversations as `evaluate.py` asks, in the same order; a conversation has one question or four, with `--alone`
one only: an answer then owes nothing to other answers before it. With `--passage` there is more text than picture: part
of a story is told and thanked for first.
"""
import argparse
import json
import pathlib

from held_out import SETS, conversation
from painter import Painter


TEXTS = pathlib.Path(__file__).resolve().parents[1] / "quality" / "texts"


def passages(words):
    """So many words of the stories, and so many again from another place on, without end."""
    all_words = [word for file in sorted(TEXTS.glob("*.txt")) for word in file.read_text().split()]
    start = 0
    while True:
        yield " ".join((all_words + all_words)[start : start + words])
        start = (start + words) % len(all_words)


def records(talk, paths, image_turn, alone, passage=""):
    """Lines of the data set; the pictures belong to the first question of each."""
    turns = [dict(kind=kind, question=question, answer=answer) for kind, question, answer in talk.turns]
    before = [dict(question=passage, reply="Thank you.")] if passage else []
    common = dict(task=talk.name.split("/")[0], image_turn=image_turn)
    talks = [(talk.name, turns)]
    if alone:
        talks = [(f"{talk.name}/{number}", [turn]) for number, turn in enumerate(turns, 1)]
    return [
        dict(common, name=name, turns=[*before, dict(first, images=paths), *later]) for name, (first, *later) in talks
    ]


def write(folder, talks, painter, image_turn, alone=False, passage_words=0):
    """questions.jsonl and the pictures beside it."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    passage = passages(passage_words)
    with (folder / "questions.jsonl").open("w") as file:
        for talk in talks:
            paths = []
            for number, picture in enumerate(talk.pictures(painter)):
                paths.append(f"images/{talk.name.replace('/', '-')}-{number}.png")
                (folder / paths[-1]).write_bytes(picture)
            for record in records(talk, paths, image_turn, alone, next(passage) if passage_words else ""):
                file.write(json.dumps(record, ensure_ascii=False) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the data set")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["new"], help="sets of conversations")
    parser.add_argument("--conversations", type=int, default=600, help="of each set")
    parser.add_argument("--seed", type=int, default=0, help="of the conversations")
    parser.add_argument("--image-turn", choices=["with", "apart", "both"], default="both",
                        help="pictures with the first question, in a turn of their own, or each conversation both ways")
    parser.add_argument("--alone", action="store_true", help="every question in a conversation of its own")
    parser.add_argument("--passage", type=int, default=0, help="words of a story that are told before the picture")
    options = parser.parse_args()
    talks = (conversation(name, index, options.seed) for name in options.sets for index in range(options.conversations))
    write(options.out, talks, Painter(), options.image_turn, options.alone, options.passage)


if __name__ == "__main__":
    main()
