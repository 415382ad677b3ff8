#!/usr/bin/env python3
"""Writes conversations of many turns, each with a fact that is asked for later, for `concertina eval`.

    tools/quality/make_conversations.py --chat --turns 200 --ask 10 --out build/long.json --fresh build/fresh.json

A user tells what somebody likes or does, and a sentence of a text; the assistant thanks. The facts of the last --ask
turns are asked for. In the file --fresh the conversations have no other turns: the same facts, told to a new session.

With --chat they are chats, told to a session turn by turn, and what is asked is answered in words, each question in a
fork at the end. Without it they are token ids, scored without a session; that needs a server.
"""

import argparse
import functools
import json
import os
import pathlib
import random
import sys

from command_line import CommandLine
from make_prompts import ASSISTANT, ROOT, SYSTEM, USER

HERE = pathlib.Path(__file__).resolve().parent
NAMES = """Alice Ben Carla David Emma Frank Grace Henry Irene Jack Karen Leo Maria Nathan Olivia Paul Quinn Rachel Samuel
Tina Uma Victor Wendy Xavier Yvonne Zoe Adam Bella Charlie Diana Edward Fiona George Hannah Ivan Julia Kevin Laura""".split()
# What is told, the answer's beginning, the words that may follow, and a question.
FACTS = [
    ("{n}'s favorite food is {x}.", "{n}'s favorite food is",
     "pizza rice pasta bread cheese soup", "What is {n}'s favorite food?"),
    ("{n}'s favorite color is {x}.", "{n}'s favorite color is",
     "red blue green yellow orange purple", "What is {n}'s favorite color?"),
    ("{n} works as a {x}.", "{n} works as a",
     "teacher nurse pilot farmer lawyer baker", "What does {n} work as?"),
    ("{n}'s favorite animal is the {x}.", "{n}'s favorite animal is the",
     "dog cat horse bear lion wolf", "What is {n}'s favorite animal?"),
    ("{n} was born in {x}.", "{n} was born in",
     "France Spain Italy China India Canada", "Where was {n} born?"),
    ("{n} plays the {x}.", "{n} plays the",
     "piano guitar violin drum flute harp", "Which instrument does {n} play?"),
]
REPLIES = ["Thank you, I will remember that.", "Thanks for telling me.", "That is nice to know. What else?"]


class Conversation:
    def __init__(self, server, texts, seed):
        self.server, self.rng = server, random.Random(seed)
        self.sentences = [part.strip().rstrip(".") + "." for text in texts for part in text.split(". ") if len(part) > 30]
        pairs = [(name, fact) for name in NAMES for fact in FACTS]
        self.facts = self.rng.sample(pairs, len(pairs))  # nobody is told the same thing twice

    def turn(self, number, asked):
        name, (told, answer, words, question) = self.facts[number]
        words = words.split()
        right = self.rng.choice(words)
        text = self.rng.choice(self.sentences)
        reply = self.rng.choice(REPLIES)
        told = told.format(n=name, x=right)
        if self.server is None:
            asks = {"question": question.format(n=name), "answer": right, "choices": words, "kind": "fact"}
            return {"question": f"{told} {text}", "reply": f"I see. {told}"} | ({"probe": asks} if asked else {})
        turn = {"ids": self.server.ids(f"{USER}{told} {text}{ASSISTANT}{reply}<|im_end|>\n")}
        if asked:
            candidates = [self.server.ids(f" {word}")[0] for word in words]
            question = f"{USER}What do you know about {name}?{ASSISTANT}{answer.format(n=name)}"
            turn |= {"probe": self.server.ids(question), "cand": candidates, "gold": candidates[words.index(right)]}
        return turn

    def turns(self, count, asked):
        return [self.turn(number, number >= count - asked) for number in range(count)]


class Server(CommandLine):
    @functools.cache
    def ids(self, text):
        return self.call("tokenize", "--allow-special", "--", text)["ids"]


def began(server, turns):
    """The turns, behind the system prompt."""
    return [turns[0] | {"ids": server.ids(SYSTEM) + turns[0]["ids"]}, *turns[1:]]


def chat(turns):
    """All that is asked comes after the last turn."""
    probes = [turn.pop("probe") for turn in turns if "probe" in turn]
    return {"turns": [*turns[:-1], turns[-1] | {"probes": probes}]}


def write(path, records):
    path.write_text("[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in records) + "\n]\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chat", action="store_true", help="chats, not token ids")
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--ask", type=int, default=10, help="facts of so many last turns are asked for")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--fresh", type=pathlib.Path, help="also: only the turns that are asked for")
    parser.add_argument("--conversations", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", default=os.environ.get("CONCERTINA_TARGET", "127.0.0.1:50051"))
    parser.add_argument("--program", default=str(ROOT / "build/release/client/concertina"))
    options = parser.parse_args()
    if not 0 < options.ask <= options.turns <= len(NAMES) * len(FACTS):
        parser.error(f"--ask must be at most --turns, and --turns at most {len(NAMES) * len(FACTS)}")
    server = None if options.chat else Server(options.program, options.target)
    texts = [" ".join(file.read_text().split()) for file in sorted((HERE / "texts").glob("*.txt"))]
    records, fresh = [], []
    for number in range(options.conversations):
        turns = Conversation(server, texts, f"{options.seed}/{number}").turns(options.turns, options.ask)
        for some, out in (turns, records), (turns[-options.ask :], fresh):
            some = [dict(turn) for turn in some]
            out.append(chat(some) if options.chat else {"turns": began(server, some)})
        print(f"{number + 1} of {options.conversations}", end="\r", file=sys.stderr, flush=True)
    write(options.out, records)
    if options.fresh:
        write(options.fresh, fresh)


if __name__ == "__main__":
    main()
