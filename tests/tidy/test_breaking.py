#!/usr/bin/env python3
"""The API still is what was published, and a change that breaks clients would be noticed.

usage: test_breaking.py BUF PROTO_FOLDER
"""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

BUF, PROTO = sys.argv[1:3]

# What must be noticed: file, text, replacement.
BREAKS = {
    "a removed field": ("cache.proto", "  int64 next_position = 9;\n", ""),
    "another number": ("cache.proto", "int64 next_position = 9;", "int64 next_position = 19;"),
    "another type": ("session.proto", "int32 turns = 3;", "string turns = 3;"),
    "another name": ("session.proto", "int32 turns = 3;", "int32 rounds = 3;"),
    "a removed method": ("admin_service.proto",
                         "  rpc GetLoad(GetLoadRequest) returns (GetLoadResponse);\n", ""),
    "a method that streams": ("inference_service.proto", "returns (ScoreResponse)",
                              "returns (stream ScoreResponse)"),
}


def breaking(folder):
    return subprocess.run(
        [BUF, "breaking", folder, "--against", os.path.join(PROTO, "baseline.binpb")],
        capture_output=True, text=True, check=False)


class Breaking(unittest.TestCase):
    def changed(self, name, old, new):
        """The outcome for a copy of the protos in which `old` is `new`."""
        with tempfile.TemporaryDirectory() as folder:
            copy = os.path.join(folder, "proto")
            shutil.copytree(PROTO, copy)
            path = os.path.join(copy, "concertina", "v1", name)
            with open(path, encoding="utf-8") as file:
                text = file.read()
            self.assertEqual(text.count(old), 1, f"{name}: {old}")
            with open(path, "w", encoding="utf-8") as file:
                file.write(text.replace(old, new))
            return breaking(copy)

    def test_nothing_published_is_broken(self):
        result = breaking(PROTO)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_breaks_are_noticed(self):
        for what, change in BREAKS.items():
            with self.subTest(what):
                result = self.changed(*change)
                self.assertNotEqual(result.returncode, 0)
                self.assertIn(change[0], result.stdout)

    def test_additions_are_not(self):
        result = self.changed("session.proto", "  int32 turns = 3;\n",
                              "  int32 turns = 3;\n  // New.\n  int32 added = 100;\n")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
