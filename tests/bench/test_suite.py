#!/usr/bin/env python3
"""Tests of what tools/bench makes of measurements; the measured programs are stand-ins."""

import io
import json
import os
import stat
import sys
import tempfile
import time
import unittest
from unittest import mock

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "bench", "suite"))

import context as contexts  # noqa: E402: found in the folder above
import llama  # noqa: E402
import machine  # noqa: E402
import main as suite  # noqa: E402
import ours  # noqa: E402
import parts  # noqa: E402
import process  # noqa: E402
import python_peers  # noqa: E402
import report  # noqa: E402
import rows  # noqa: E402
import samples as sample_series  # noqa: E402

FACTS = {"model": "m", "weights_few_rows": "stored", "weights_many_rows": "bf16",
         "many_rows_from": 64, "entries": "bf16", "kernels": "k", "threads": 2,
         "matrix_parameters": 1000, "head_parameters": 200, "decode_matrix_bytes": 600,
         "matrix_bytes": 2600, "base_rss_bytes": 100 << 20, "vocab": 10 << 10}

# Answers every scenario with what ours.py reads of it.
ENGINE = """#!%s
import json, sys
print(json.dumps(%r))
turn = {"ms_per_step": 4.0, "used_bytes": 1000, "transcript_bytes": 10}
run = {"gop_per_s": 300.0, "tokens_per_s": 200.0, "first_token_s": 0.5, "ms_per_step": 5.0,
       "payload_bytes": 400, "decode_tokens_per_s": 90.0, "whole_tokens_per_s": 60.0,
       "decode_ms_per_step": 20.0, "full_sessions": 10, "folded_sessions": 48,
       "cpu_ms_per_token": 1.0, "late": {**turn, "ms_per_step": 4.1}, "early": turn,
       "peak_rss_bytes": 210 << 20, "weight_bytes": 50 << 20, "pool_used_peak_bytes": 40 << 20,
       "workspace_peak_bytes": 20 << 20}
for scenario in sys.argv[1:]:
    name = scenario.split(":")[0]
    if name in ("prefill", "decode", "matrices", "protocol", "capacity", "turns", "memory"):
        print(json.dumps({"scenario": name, "runs": [run]}))
""" % (sys.executable, FACTS)

PEAK = """#!%s
print('{"threads": 2, "read_gb_per_s": {"max": 40, "median": 39}, "peak_gop_per_s": '
      '{"f32": {"max": 200, "median": 190}, "bf16": {"max": 400, "median": 390}}}')
""" % sys.executable

# Flash attention is the faster one at depth only.
LLAMA = """#!%s
import json, sys
def option(name):
    return sys.argv[sys.argv.index(name) + 1]
depth = int(option("-d")) if "-d" in sys.argv else 0
rate = 100 + (depth if option("-fa") == "on" else 50)
print(json.dumps([{"n_prompt": int(option("-p")), "n_gen": int(option("-n")), "n_depth": depth,
                   "samples_ts": [rate - 1, rate]}]))
""" % sys.executable


def program(folder, path, text):
    path = os.path.join(folder, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
    return path


def series(**values):
    samples = sample_series.Samples()
    samples.add({name.replace("__", "."): value for name, value in values.items()})
    return samples


class WithPrograms(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        program(self.folder, "bench/concertina_engine_bench", ENGINE)
        program(self.folder, "bench/concertina_machine_peak", PEAK)
        program(self.folder, "peers/llama.cpp-build/bin/llama-bench", LLAMA)
        self.context = contexts.Context(
            build=self.folder, peers=self.folder, model="m.gguf", threads=2, rounds=2, quick=False,
            weights="auto", log=io.StringIO())


class ProcessTest(unittest.TestCase):
    def test_output_and_failures(self):
        self.assertEqual(process.run([sys.executable, "-c", "print(1)"], 20), "1\n")
        with self.assertRaisesRegex(process.Failure, "exit code 3.*because"):
            process.run([sys.executable, "-c",
                         "import sys; print('because', file=sys.stderr); sys.exit(3)"], 20)
        with self.assertRaisesRegex(process.Failure, "no answer within 0.5 s"):
            process.run([sys.executable, "-c", "import time; time.sleep(60)"], 0.5)

    def test_json_lines(self):
        self.assertEqual(process.json_lines('text\n{"a": 1}\n\n{"b": 2}\n'), [{"a": 1}, {"b": 2}])
        for wrong in ("", "text\n", '{"a": \n'):
            with self.assertRaises(process.Failure):
                process.json_lines(wrong)


class SamplesTest(unittest.TestCase):
    def test_statistics(self):
        samples = series(a=[4, 2, 9], b=[2])
        self.assertEqual(samples.best("a", True), 9)
        self.assertEqual(samples.best("a", False), 2)
        self.assertEqual(samples.median("a"), 4)
        self.assertEqual(samples.pair_ratios("a", "b"), [2, 1, 4.5])
        self.assertEqual(samples.to_json()["a"],
                         {"min": 2, "median": 4, "max": 9, "values": [4, 2, 9]})
        self.assertIn("a", samples)
        self.assertNotIn("c", samples)


class RowsTest(unittest.TestCase):
    def row(self, **changes):
        return rows.Row(**{"part": "decode", "work": "w", "peer": "p", "unit": "u", "ours": "a",
                           "theirs": "b", "goal": 1.5, **changes})

    def test_rates_compare_their_largest(self):
        found = rows.evaluate(self.row(), series(a=[10, 30], b=[15, 20]), [])
        self.assertEqual((found["ratio"], found["met"]), (1.5, True))
        self.assertEqual(found["ours"], {"best": 30, "median": 20})
        self.assertAlmostEqual(found["pair_ratios"]["min"], 10 / 15)
        self.assertFalse(rows.evaluate(self.row(goal=1.6), series(a=[30], b=[20]), [])["met"])

    def test_times_compare_their_smallest(self):
        row = self.row(at_most=True, less_is_better=True, goal=1.05)
        self.assertTrue(rows.evaluate(row, series(a=[1.04, 3], b=[1, 2]), [])["met"])
        self.assertFalse(rows.evaluate(row, series(a=[1.06, 3], b=[1, 2]), [])["met"])

    def test_what_was_not_measured_is_not_met_and_says_why(self):
        found = rows.evaluate(self.row(), series(a=[1]), [("decode", "llama: killed"),
                                                          ("batch", "other")])
        self.assertEqual((found["ratio"], found["met"]), (None, False))
        self.assertEqual(found["message"], "llama: killed")
        found = rows.evaluate(self.row(goal=None), series(a=[1]), [])
        self.assertIsNone(found["met"])
        self.assertIn("not measured: b", found["message"])

    def test_a_quick_run_leaves_out_what_it_does_not_measure(self):
        samples = series(ours__capacity_folded=[48], ours__capacity_full=[10])
        chosen = ["capacity", "turns"]
        self.assertEqual(len(rows.evaluate_all(samples, [], chosen)), 3)
        self.assertEqual(len(rows.evaluate_all(samples, [], chosen, quick=True)), 1)
        self.assertEqual(len(rows.evaluate_all(samples, [("turns", "no")], chosen, quick=True)), 3)

    def test_every_row_belongs_to_a_part_and_is_there_once(self):
        self.assertLessEqual({row.part for row in rows.ROWS}, set(parts.NAMES))
        names = [(row.work, row.peer) for row in rows.ROWS]
        self.assertEqual(len(names), len(set(names)))


class SidesTest(WithPrograms):
    def series_of(self, *sides):
        return {name for side in sides for name in side(self.context)}

    def test_the_engine_gives_every_series_that_rows_ask_of_it(self):
        given = self.series_of(ours.prefill, ours.decode, ours.batch, ours.protocol_full,
                               ours.protocol_folded, ours.capacity, ours.turns, ours.memory,
                               ours.beside_kvpress, ours.direct)
        elsewhere = ("ours.grpc", "ours.itl", "ours.ttft")
        wanted = {name for row in rows.ROWS for name in (row.ours, row.theirs)
                  if name.startswith("ours.") and not name.startswith(elsewhere)}
        self.assertLessEqual(wanted, given)

    def test_sessions_that_never_ran_together_are_a_failure(self):
        with self.assertRaisesRegex(process.Failure, "tokens_per_s is 0"):
            ours.best([{"tokens_per_s": 0}, {"tokens_per_s": 0}], "tokens_per_s")
        self.assertEqual(ours.best([{"s": 2}, {"s": 1}], "s", least=True), 1)

    def test_arithmetic_of_shares(self):
        values = ours.decode(self.context)
        self.assertAlmostEqual(values["ours.decode_gb_per_s"], (600 + 400) / 5.0 * 1e-6)
        values = ours.prefill(self.context)
        self.assertAlmostEqual(values["ours.prefill_2000_gop"], 2 * 800 * 2000 / 0.5 * 1e-9)
        values = ours.protocol_full(self.context)
        self.assertAlmostEqual(values["ours.attention_gb_per_s"],
                               400 * (1 - 256 / 1536) / (20 - 5) * 1e-6)
        values = ours.memory(self.context)
        self.assertAlmostEqual(values["ours.accounted_mib"], 220)
        self.assertAlmostEqual(values["ours.bytes_per_parameter"], 2.6)

    def test_llama_counts_the_better_attention(self):
        values = llama.decode(self.context)
        self.assertEqual(values, {"llama.decode_0": 150, "llama.decode_900": 1000,
                                  "llama.decode_4000": 4100})
        self.assertEqual(self.context.info["llama_flash_attention"]["llama.decode_0"], "off")
        self.assertEqual(self.context.info["llama_flash_attention"]["llama.decode_900"], "on")
        self.assertEqual(llama.prefill(self.context)["llama.prefill_600"], 150)

    def test_llama_does_not_repeat_what_was_clearly_slower(self):
        tried = []

        def measure(attention, names):
            tried.append((attention, tuple(names)))
            return {"a": {"off": 100, "on": 120}[attention],
                    "b": {"off": 100, "on": 110}[attention]}
        first = llama._better(self.context, ["a", "b"], measure)
        self.assertEqual(llama._better(self.context, ["a", "b"], measure), first)
        self.assertEqual(first, {"a": 120, "b": 110})
        self.assertEqual(tried, [("off", ("a", "b")), ("on", ("a", "b")), ("off", ("b",)),
                                 ("on", ("a", "b"))])

    def test_transformers_counts_the_faster_cache(self):
        found = {"decode_900_dynamic": 14, "decode_900_static": 17}
        with mock.patch.object(python_peers, "_run", return_value=found):
            self.assertEqual(python_peers.decode(self.context), {"transformers.decode_900": 17})

    def test_cpu_time_of_others_is_a_share(self):
        watch = machine.OthersWatch()
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            pass  # our own time is not others'
        shares = watch.shares()
        self.assertEqual(set(shares), {"other_programs", "other_machines"})
        for share in shares.values():
            self.assertGreaterEqual(share, 0)
            self.assertLessEqual(share, 1.1)

    def test_machine(self):
        self.assertEqual(machine.measure(self.context),
                         {"machine.read_gb_per_s": 40, "machine.peak_f32": 200,
                          "machine.peak_bf16": 400})


class PartsTest(WithPrograms):
    def test_sides_take_turns_and_a_broken_one_is_left_out(self):
        calls = []

        def good(context):
            calls.append("good")
            return {"a": len(calls)}

        def bad(context):
            calls.append("bad")
            raise process.Failure("it broke")
        part = parts.Part("decode", (bad, good), 3)
        samples, failures = sample_series.Samples(), []
        with mock.patch("builtins.print"):
            parts.run(self.context, part, samples, failures)
        self.assertEqual(calls, ["bad", "good", "good"])  # two rounds, as the context says
        self.assertEqual(samples.series, {"a": [2, 3]})
        self.assertEqual([name for name, _ in failures], ["decode"])
        self.assertIn("it broke", failures[0][1])

    def test_the_peak_is_that_of_the_type_for_prompts(self):
        part = parts.Part("prefill", (machine.measure, ours.prefill), 1)
        samples = sample_series.Samples()
        with mock.patch("builtins.print"):
            parts.run(self.context, part, samples, [])
        self.assertEqual(samples.series["machine.peak"], [400])


class WholeTest(WithPrograms):
    def run_suite(self, *arguments):
        out = os.path.join(self.folder, "out")
        command = ["main.py", "--build", self.folder, "--peers", self.folder, "--model", "m.gguf",
                   "--out", out, *arguments]
        with mock.patch.object(sys, "argv", command), mock.patch("builtins.print"):
            code = suite.main()
        with open(os.path.join(out, "results.json")) as file:
            result = json.load(file)
        with open(os.path.join(out, "results.md")) as file:
            return code, result, file.read(), set(os.listdir(out))

    def test_a_run_writes_everything(self):
        code, result, markdown, files = self.run_suite("--only", "capacity", "--only", "turns")
        self.assertEqual((code, result["failures"]), (0, []))
        self.assertEqual(result["parts"], ["capacity", "turns"])
        capacity = result["rows"][0]
        self.assertEqual((capacity["ratio"], capacity["met"]), (4.8, True))
        self.assertLessEqual({"log.txt", "ratios.svg", "ratios.png"}, files)
        table = [line for line in markdown.splitlines() if line.startswith("|")]
        self.assertEqual(len(table), 2 + len(result["rows"]))
        self.assertEqual({line.count("|") for line in table}, {9})
        self.assertIn("Goals met: 3 of 3.", markdown)

    def test_a_failing_peer_is_reported_and_the_rest_goes_on(self):
        code, result, markdown, files = self.run_suite("--only", "decode", "--rounds", "1")
        self.assertEqual(code, 1)
        self.assertEqual([failure["part"] for failure in result["failures"]], ["decode"])
        self.assertIn("python_peers.decode", result["failures"][0]["message"])
        self.assertIn("## Failures", markdown)
        by_peer = {(row["work"], row["peer"]): row for row in result["rows"]}
        folded = by_peer["decode, 1 session, depth 900, folded to 0.2", "llama.cpp"]
        self.assertEqual(folded["ratio"], 0.2)
        self.assertLessEqual({"decode.svg", "decode.png"}, files)


class ReportTest(unittest.TestCase):
    def test_numbers(self):
        self.assertEqual([report.number(value) for value in (1234.5, 12.34, 0.01234, None)],
                         ["1,234", "12.3", "0.0123", "–"])


if __name__ == "__main__":
    unittest.main()
