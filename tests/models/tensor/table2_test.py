"""Runs concertina_table2 with small sizes and reads what it prints.

usage: table2_test.py PROGRAM
"""

import json
import subprocess
import sys
import unittest

PROGRAM = sys.argv.pop(1)


def run(*flags):
    return subprocess.run([PROGRAM, *flags], capture_output=True, text=True)


class Table2Test(unittest.TestCase):
    def test_reports_both_caches(self):
        for flags in ([], ["--dtype", "bf16", "--policy", "elastic"]):
            with self.subTest(flags=flags):
                done = run("--shape", "tiny", "--batch", "3", "--prompt", "100", "--generate", "12",
                           "--budget", "0.2", "--rounds", "2", "--threads", "1", *flags)
                self.assertEqual(done.returncode, 0, done.stderr)
                text, end = done.stdout.rsplit("}\n", 1)
                report = json.loads(text + "}")
                self.check(report)
                self.assertRegex(end, r"^\| tiny, \w+, cpu \| 3 × \(100 \+ 12\) \|")

    def check(self, report):
        entry_bytes = 2 * 64 * (2 if report["dtype"] == "bf16" else 4)
        heads = 3 * 4 * 4  # rows, layers, KV heads
        full, folded = report["full"], report["folded"]
        # Whole pages of 16 entries: 7 for 100 tokens, 7 for 111.
        self.assertEqual(full["used_bytes_after_prompts"], heads * 7 * 16 * entry_bytes)
        self.assertEqual(full["used_bytes_at_end"], heads * 7 * 16 * entry_bytes)
        self.assertLess(folded["used_bytes_at_end"], 0.4 * full["used_bytes_at_end"])
        self.assertGreaterEqual(folded["used_bytes_at_end"], heads * 0.2 * 111 * entry_bytes)
        for side in (full, folded):
            self.assertEqual(len(side["rounds"]), 2)
            self.assertGreater(side["decode_tokens_per_s"], 0)
            self.assertGreater(side["tokens_per_s"], 0)
        self.assertGreater(folded["metadata_bytes"], full["metadata_bytes"])

    def test_refuses(self):
        self.assertNotEqual(run("--shape", "1b").returncode, 0)
        done = run("--policy", "none", "--batch", "1", "--prompt", "4", "--generate", "2")
        self.assertEqual(done.returncode, 1)
        self.assertIn("unknown policy", done.stderr)
        done = run("--device", "cuda", "--batch", "1", "--prompt", "4", "--generate", "2")
        if done.returncode != 0:  # no GPU here
            self.assertTrue(done.stderr.strip())


if __name__ == "__main__":
    unittest.main()
