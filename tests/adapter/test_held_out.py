#!/usr/bin/env python3
"""Tests of the held-out questions and of how answers to them are counted."""

import collections
import json
import os
import pathlib
import random
import sys
import tempfile
import unittest

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools", "adapter"))

import eval_data  # noqa: E402: found in the folder above
import held_out  # noqa: E402
import questions  # noqa: E402
import scores  # noqa: E402
import serving  # noqa: E402
import world  # noqa: E402


class Conversations(unittest.TestCase):
    def test_every_kind_is_asked_as_often_first_and_later(self):
        for name, kinds in held_out.SETS.items():
            first, later = collections.Counter(), collections.Counter()
            for index in range(2 * held_out.LATER * len(kinds)):
                head, *rest = held_out.kinds_of(name, index)
                first[head] += 1
                later.update(rest)
            self.assertEqual(first, dict.fromkeys(kinds, 2 * held_out.LATER))
            self.assertEqual(later, first)

    def test_a_number_decides_everything(self):
        for name in held_out.SETS:
            for index in (0, 7, 60):
                talk = held_out.conversation(name, index)
                self.assertEqual(talk, held_out.conversation(name, index))
                self.assertEqual([turn[0] for turn in talk.turns], held_out.kinds_of(name, index))
                self.assertEqual(len(talk.scenes), 2 if name == "two" else 1)
                for scene in talk.scenes:
                    held = world.has_held_out_pair([thing.name for thing in scene.things])
                    self.assertEqual(held, name == "held")
        self.assertNotEqual(held_out.conversation("new", 0), held_out.conversation("new", 0, seed=1))

    def test_what_is_absent_is_not_there(self):
        kinds = held_out.SETS["new"]
        for block in range(20):
            talk = held_out.conversation("new", kinds.index(held_out.ABSENT) + block * len(kinds))
            answer = talk.turns[0][2]
            self.assertTrue(answer.startswith("There is no "), answer)
            self.assertNotIn(answer[len("There is no "):-1], talk.scenes[0].groups())


class GreyPainter:
    """What needs no font."""

    @staticmethod
    def render(scene, noise):
        return np.full((8, 8, 3), noise.integers(256), np.uint8)


class DataSet(unittest.TestCase):
    def test_has_a_line_for_every_conversation_and_its_pictures(self):
        talks = [held_out.conversation("new", 0), held_out.conversation("two", 1)]
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            eval_data.write(folder, talks, GreyPainter(), "both")
            records = [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]
            self.assertEqual([len(record["turns"][0]["images"]) for record in records], [1, 2])
            for talk, record in zip(talks, records):
                self.assertEqual(record["image_turn"], "both")
                self.assertTrue(all("images" not in turn for turn in record["turns"][1:]))
                self.assertEqual([(turn["kind"], turn["question"], turn["answer"]) for turn in record["turns"]], talk.turns)
                pictures = [(folder / path).read_bytes() for path in record["turns"][0]["images"]]
                self.assertEqual(pictures, talk.pictures(GreyPainter()))


    def test_questions_can_stand_alone(self):
        talk = next(t for t in (held_out.conversation("new", i) for i in range(20)) if len(t.turns) > 1)
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            eval_data.write(folder, [talk], GreyPainter(), "with", alone=True)
            records = [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]
            self.assertEqual([record["turns"][0]["question"] for record in records], [turn[1] for turn in talk.turns])
            self.assertTrue(all(len(record["turns"]) == 1 and len(record["turns"][0]["images"]) == 1 for record in records))

    def test_a_story_may_come_first(self):
        talks = [held_out.conversation("new", number) for number in range(3)]
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            eval_data.write(folder, talks, GreyPainter(), "with", passage_words=40)
            records = [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]
        told = [record["turns"][0] for record in records]
        self.assertEqual([len(turn["question"].split()) for turn in told], [40] * 3)
        self.assertEqual(len({turn["question"] for turn in told}), 3)
        self.assertTrue(all(turn["reply"] and "images" not in turn for turn in told))
        self.assertTrue(all(len(record["turns"][1]["images"]) == 1 for record in records))


class Scores(unittest.TestCase):
    def test_intervals(self):
        # Wilson's, as published for 81 of 263 and for 15 of 148.
        for right, total, wanted in ((81, 263, (.2553, .3662)), (15, 148, (.0624, .1605)), (0, 20, (0, .1611))):
            for value, expected in zip(scores.wilson(right, total), wanted):
                self.assertAlmostEqual(value, expected, places=4)

    def test_captions_are_read_back(self):
        rng = random.Random(8)
        for _ in range(300):
            scene = world.make_scene(rng, pairs="any")
            there = collections.Counter(thing.name for thing in scene.things)
            self.assertEqual(scores.objects_of(questions.caption(scene)), there)

    def test_objects_of_a_wrong_caption(self):
        wanted = "Two cats and a red circle on a pink background."
        self.assertEqual(scores.compare_objects(wanted, wanted), [3, 3, 3])
        self.assertEqual(scores.compare_objects("A cat, a dog and a red circle on a pink background.", wanted), [2, 3, 3])
        self.assertEqual(scores.compare_objects("A cat and a cat and something else", wanted), [2, 3, 3])
        self.assertEqual(scores.compare_objects("", wanted), [0, 0, 3])


class Budgets(unittest.TestCase):
    def test_units(self):
        self.assertEqual(serving.budget_of("0.2"), dict(ratio=.2))
        self.assertEqual(serving.budget_of("256t"), dict(tokens=256))
        self.assertEqual(serving.budget_of("2MiB"), dict(bytes=2 << 20))


if __name__ == "__main__":
    unittest.main()
