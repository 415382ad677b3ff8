#!/usr/bin/env python3
"""Tests of the scenes and questions that the bundled model's adapter is trained on."""

import collections
import os
import random
import re
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools", "adapter"))

import pairs  # noqa: E402: found in the folder above
import questions  # noqa: E402
import spelling  # noqa: E402
import world  # noqa: E402

SCENES = 400
NUMBERS = ["no", "one", "two", "three", "four", "five", "six"]
PLACES = [["top left", "top", "top right"], ["left", "center", "right"], ["bottom left", "bottom", "bottom right"]]
STEPS = dict(left=(0, -1), right=(0, 1), above=(-1, 0), below=(1, 0))


def scenes(seed=5, count=SCENES, **options):
    rng = random.Random(seed)
    return [world.make_scene(rng, **options) for _ in range(count)]


def board(scene):
    """[row][column] -> name or None"""
    rows = [[None] * 3 for _ in range(3)]
    for thing in scene.things:
        rows[thing.cell[0]][thing.cell[1]] = thing.name
    return rows


def one(name):
    return ("an " if name[0] in "aeiou" else "a ") + name


def field(kind, question, known):
    """What stands in the place of a wording's field: a key of `known`."""
    found = set()
    for wording in questions.WORDINGS[kind]:
        pattern = re.sub(r"\\{\w+\\}", "(.+)", re.escape(wording))
        found |= {match[1] for match in [re.fullmatch(pattern, question)] if match and match[1] in known}
    (only,) = found
    return known[only]


class Truth:
    """Answers worked out from a scene alone, another way than questions.py does."""

    def __init__(self, scene):
        self.scene, self.board = scene, board(scene)
        self.names = [name for row in self.board for name in row if name]

    def cell(self, name):
        (cell,) = [(r, c) for r in range(3) for c in range(3) if self.board[r][c] == name]
        return cell

    def presence(self, question):
        name = field("presence", question, {one(n): n for n in world.NAMES})
        return f"Yes, there is {one(name)}." if name in self.names else f"No, there is no {name}."

    def count(self, question):
        name = field("count", question, {questions.plural(n): n for n in world.NAMES})
        number = self.names.count(name)
        noun = name if number == 1 else questions.plural(name)
        return f"{NUMBERS[number].capitalize()} {noun}."

    def total(self, _):
        number = len(self.names)
        return f"{NUMBERS[number].capitalize()} object{'' if number == 1 else 's'}."

    def where(self, question):
        name = field("where", question, {n: n for n in world.NAMES})
        if name not in self.names:
            return f"There is no {name}."
        row, column = self.cell(name)
        return f"The {name} is at the {PLACES[row][column]}."

    def beside(self, question, direction):
        name = field(direction, question, {n: n for n in world.NAMES})
        if name not in self.names:
            return f"There is no {name}."
        row, column = self.cell(name)
        step = STEPS[direction]
        while 0 <= row + step[0] < 3 and 0 <= column + step[1] < 3:
            row, column = row + step[0], column + step[1]
            if self.board[row][column]:
                found = one(self.board[row][column])
                return found[0].upper() + found[1:] + "."
        return "Nothing."

    def at(self, question):
        places = {f"at the {PLACES[r][c]}": (r, c) for r in range(3) for c in range(3)}
        row, column = field("at", question, places)
        name = self.board[row][column]
        return f"{one(name).capitalize()}." if name else "Nothing."

    def background(self, _):
        return f"The background is {self.scene.background}."

    def color(self, question):
        shape = field("color", question, {s: s for s in world.SHAPES})
        (name,) = [n for n in self.names if n.endswith(" " + shape)]
        return f"The {shape} is {name.split(' ')[0]}."

    def caption(self, _):
        parts = [one(n) if self.names.count(n) == 1 else f"{NUMBERS[self.names.count(n)]} {questions.plural(n)}"
                 for n in dict.fromkeys(self.names)]
        text = " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
        return f"{text[0].upper()}{text[1:]} on {one(self.scene.background)} background."

    def describe(self, _):
        parts = [f"{one(self.board[r][c])} at the {PLACES[r][c]}" for r in range(3) for c in range(3) if self.board[r][c]]
        text = " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
        return f"The background is {self.scene.background}. There is {text}."

    def answer(self, kind, question):
        return self.beside(question, kind) if kind in STEPS else getattr(self, kind)(question)


class Scenes(unittest.TestCase):
    def test_a_seed_decides_everything(self):
        self.assertEqual(scenes(seed=1), scenes(seed=1))
        self.assertNotEqual(scenes(seed=1), scenes(seed=2))

        def asked(seed):
            rng = random.Random(seed)
            return [questions.questions(world.make_scene(rng), rng, 4) for _ in range(50)]
        self.assertEqual(asked(3), asked(3))

    def test_things_lie_in_cells_of_their_own_and_can_be_seen(self):
        counts = set()
        for scene in scenes():
            cells = [thing.cell for thing in scene.things]
            self.assertEqual(cells, sorted(set(cells)))
            counts.add(len(cells))
            for thing in scene.things:
                self.assertIn(thing.name, world.NAMES)
                color, _, shape = thing.name.rpartition(" ")
                self.assertTrue(shape not in world.SHAPES or color != scene.background, thing.name)
                self.assertTrue(0 < thing.x < 1 and 0 < thing.y < 1)
        self.assertEqual(counts, set(range(1, world.MAX_OBJECTS + 1)))

    def test_held_out_pairs_are_never_drawn_for_training(self):
        def has_pair(scene):
            kinds = {thing.name.split(" ")[-1] for thing in scene.things}
            return any(world.is_held_out(a, b) for a in kinds for b in kinds)
        self.assertFalse(any(map(has_pair, scenes())))
        self.assertTrue(all(map(has_pair, scenes(count=100, pairs="held"))))
        kinds = sorted({world.kind_of(name) for name in world.NAMES})
        pairs = [(a, b) for a in kinds for b in kinds if a < b]
        share = sum(world.is_held_out(*pair) for pair in pairs) / len(pairs)
        self.assertTrue(.03 < share < .07, share)
        self.assertTrue(all(world.is_held_out(a, b) == world.is_held_out(b, a) for a, b in pairs))


class Questions(unittest.TestCase):
    def test_answers_of_every_kind_are_true(self):
        rng, seen = random.Random(11), dict.fromkeys(questions.KINDS, 0)
        for scene in scenes(pairs="any"):
            truth = Truth(scene)
            for kind in questions.KINDS:
                found = questions.ask(scene, rng, kind)
                if found is None:
                    continue
                self.assertEqual(found[0], kind)
                self.assertEqual(found[2], truth.answer(kind, found[1]), (scene, found[1]))
                seen[kind] += 1
        self.assertGreater(min(seen.values()), SCENES // 10, seen)

    def test_a_thing_that_is_not_there_is_asked_for_too(self):
        rng, answers = random.Random(12), set()
        for scene in scenes():
            answers |= {answer for _, _, answer in questions.questions(scene, rng, 12)}
        for start in ("Nothing.", "There is no ", "No, there is no ", "No "):
            self.assertTrue(any(answer.startswith(start) for answer in answers), start)

    def test_names_and_their_plurals_are_distinct(self):
        self.assertEqual(len(set(world.NAMES)), len(world.NAMES))
        words = world.NAMES + [questions.plural(name) for name in world.NAMES]
        same = {"fish", "sheep"}
        self.assertEqual(len(set(words)), len(words) - len(same))


def undo(second, said):
    """The board of the first picture, from that of the second and what is said to have changed."""
    cells = {PLACES[r][c]: (r, c) for r in range(3) for c in range(3)}
    rows = board(second)

    def put(place, name):
        row, column = cells[place]
        before, rows[row][column] = rows[row][column], name
        return before
    if match := re.fullmatch(r"There is an? (.+) at the (.+) now\.", said):
        assert put(match[2], None) == match[1], said
    elif match := re.fullmatch(r"The (.+) at the (.+) is gone\.", said):
        assert put(match[2], match[1]) is None, said
    elif match := re.fullmatch(r"The (.+) at the (.+) became an? (.+)\.", said):
        assert put(match[2], match[1]) == match[3], said
    elif match := re.fullmatch(r"The (.+) moved from the (.+) to the (.+)\.", said):
        assert put(match[3], None) == match[1] and put(match[2], match[1]) is None, said
    return rows


class Pairs(unittest.TestCase):
    def setUp(self):
        rng = random.Random(21)
        self.pairs = [pairs.make_pair(rng) for _ in range(SCENES)]

    def test_what_is_said_to_have_changed_is_what_changed(self):
        kinds = collections.Counter()
        for first, second, said in self.pairs:
            self.assertEqual(undo(second, said), board(first), said)
            if first.background != second.background:
                wanted = f"The background changed from {first.background} to {second.background}."
                self.assertEqual(said, wanted)
            kinds[re.search(r"now|gone|became|moved|background", said)[0]] += 1
            self.assertLessEqual(len(second.things), world.MAX_OBJECTS)
            for scene in (first, second):
                self.assertFalse(world.has_held_out_pair([thing.name for thing in scene.things]))
        self.assertEqual(len(kinds), len(pairs.CHANGES))

    def test_answers_about_one_of_two_are_true(self):
        rng, answers = random.Random(22), set()
        for pair in self.pairs:
            for kind, question, answer in pairs.questions(pair, rng, 4):
                if kind == "change":
                    self.assertEqual(answer, pair[2])
                elif kind == "which":
                    name = re.search(r" (?:has|is) an? (.+)\?", question)[1]
                    there = [name in scene.groups() for scene in pair[:2]]
                    wanted = {(1, 1): "Both pictures.", (0, 0): "Neither picture.", (1, 0): "The first picture.",
                              (0, 1): "The second picture."}[tuple(map(int, there))]
                    self.assertEqual(answer, wanted, question)
                    answers.add(answer)
                else:
                    self.assertTrue(self.is_true_of_one(pair, question, answer), (question, answer))
        self.assertEqual(len(answers), 4)

    def is_true_of_one(self, pair, question, answer):
        place, asked = re.fullmatch(r"Look at the (first|second) picture\. (.+)", question).groups()
        truth = Truth(pair[place == "second"])
        for kind in pairs.SINGLE:
            if any(re.fullmatch(re.sub(r"\\{\w+\\}", "(.+)", re.escape(w)), asked) for w in questions.WORDINGS[kind]):
                try:
                    if truth.answer(kind, asked) == answer:
                        return True
                except ValueError:
                    continue  # the wording of another kind
        return False


class Spelling(unittest.TestCase):
    def test_every_cell_says_what_is_in_it_and_where_as_often_as_it_has_rows(self):
        entries = list(spelling.ENTRIES)
        for scene in scenes(pairs="any"):
            ids = spelling.spell(scene)
            self.assertEqual(ids.shape, (spelling.TOKENS,))
            words = [entries[i] for i in ids]
            for thing in scene.things:
                row, column = thing.cell
                count = sum(other.name == thing.name for other in scene.things)
                for role in (("top", "middle", "bottom")[row], ("left", "center", "right")[column], NUMBERS[count]):
                    self.assertGreaterEqual(words.count(f"{role}/{thing.name}"), spelling.PER_CELL)
                self.assertEqual(words.count(f"name/{thing.name}"), spelling.PER_CELL * count)
            empty = len(world.CELLS) - len(scene.things)
            self.assertEqual(words.count(f"name/{scene.background}"), spelling.PER_CELL * empty)
            self.assertEqual(words.count(f"{NUMBERS[len(scene.things)]}/{scene.background}"), spelling.PER_CELL * empty)

    def test_an_entry_is_words_with_weights(self):
        for entry, words in spelling.ENTRIES.items():
            self.assertTrue(words, entry)
            self.assertTrue(all(word and " " not in word and weight > 0 for word, weight in words), entry)


if __name__ == "__main__":
    unittest.main()
