#!/usr/bin/env python3
"""Tests of the checks in this folder: what is right passes, and every fault is found."""

import os
import subprocess
import sys
import tempfile
import unittest

import check_docs
import commands
import markdown
import names

HERE = os.path.dirname(os.path.abspath(__file__))

# A server that knows what ours knows of being started and stopped.
FAKE_SERVER = """#!/usr/bin/env python3
import os, signal, sys, time
if "--help" in sys.argv:
    sys.exit(print("--weights TEXT") or 0)
if "--broken" in sys.argv:
    sys.exit("no such model")
signal.signal(signal.SIGTERM, lambda *_: os._exit(3 if "--ends-badly" in sys.argv else 0))
with open(os.environ["CONCERTINA_PORT_FILE"], "w") as file:
    file.write(os.environ["CONCERTINA_LISTEN"])
with open(os.path.join(os.getcwd(), "arguments"), "w") as file:
    print(*sys.argv[1:], os.environ["CONCERTINA_LISTEN"], file=file)
while True:
    time.sleep(1)
"""


class MarkdownTest(unittest.TestCase):
    def test_blocks(self):
        text = ("# T\n\n<!-- output -->\n\n    one\n\n    two\ntext\n\n```cpp a/b.cpp\nint x;\n```\n"
                "- item\n  more\n\n<!-- not run: measurement -->\n```\nls\n```\n"
                "<!-- output -->\n    four\n")
        one, two, three, four = markdown.blocks(text)
        self.assertEqual((one.line, one.directive, one.body), (5, "output", "one\n\ntwo\n"))
        self.assertEqual((two.language, two.info, two.body), ("cpp", "a/b.cpp", "int x;\n"))
        self.assertEqual((three.directive, three.body), ("not run: measurement", "ls\n"))
        self.assertEqual((four.directive, four.body), ("output", "four\n"))

    def test_block_faults(self):
        for text in ("  ```\n  ls\n  ```\n", "```cobol\n```\n", "<!-- not run: lazy -->\n```\nls\n```\n",
                     "<!-- not run: measurement -->\n```cpp\n```\n", "<!-- run -->\n```\nls\n```\n"):
            self.assertNotEqual(list(check_docs.block_faults("a.md", text)), [], text)
        self.assertEqual(list(check_docs.block_faults("a.md", "```\nls\n```\n")), [])

    def test_links_and_paths(self):
        with tempfile.TemporaryDirectory() as root:
            with open(os.path.join(root, "b.md"), "w", encoding="utf-8") as file:
                file.write("# A *heading*, long\n")
            good = "[x](b.md#a-heading-long) [y](https://example.org/z)"
            self.assertEqual(list(check_docs.link_faults(root, "a.md", good)), [])
            for bad in ("[x](c.md)", "[x](b.md#no)"):
                self.assertEqual(len(list(check_docs.link_faults(root, "a.md", bad))), 1, bad)
            self.assertEqual(len(list(check_docs.path_faults(root, "a.md", "`tools/none`"))), 1)


class NamesTest(unittest.TestCase):
    def test_names(self):
        known = {"Select", "Policy", "used_bytes", "pool-bytes", "pool", "bytes"}, {"policy.cpp"}
        good = "`Policy::Select` `Select()` `concertina_used_bytes` `--pool-bytes N` `policy.cpp` `word` `a b`"
        self.assertEqual(list(names.name_faults("a.md", good, *known)), [])
        for bad in ("`Policy::Gone`", "`GONE_AWAY`", "`used_byte`", "`--gone-flag 3`", "`gone.cpp`"):
            self.assertEqual(len(list(names.name_faults("a.md", bad, *known))), 1, bad)


class CommandsTest(unittest.TestCase):
    def test_words(self):
        split = commands.program_and_subcommand
        self.assertEqual(split("A=1 build/release/client/concertina score --json # --x"),
                         ("build/release/client/concertina", "score"))
        self.assertEqual(split("# only words"), ("", ""))
        self.assertTrue(commands.starts_server("build/release/server/app/concertina-server"))
        self.assertFalse(commands.starts_server("build/release/server/app/concertina-server --help"))


class RunTest(unittest.TestCase):
    def run_on(self, text):
        """Exit status and output of run_commands.py on a README.md with `text`."""
        with tempfile.TemporaryDirectory() as root:
            server = os.path.join(root, "built", commands.SERVER)
            os.makedirs(os.path.dirname(server))
            with open(server, "w", encoding="utf-8") as file:
                file.write(FAKE_SERVER)
            os.chmod(server, 0o755)
            with open(os.path.join(root, "README.md"), "w", encoding="utf-8") as file:
                file.write("# Title\n\n" + text)
            done = subprocess.run(
                [sys.executable, "-B", os.path.join(HERE, "run_commands.py"), root,
                 os.path.join(root, "built")], capture_output=True, text=True, check=False)
            return done.returncode, done.stdout + done.stderr

    def test_right(self):
        status, output = self.run_on(
            "    test $CONCERTINA_TARGET = 127.0.0.1:50051 && mkdir build/a && ls build/a\n\n"
            "    echo x | cat\n\n```\nbuild/release/server/app/concertina-server --weights f32 &\n"
            "grep -q 'f32 127.0.0.1:50051' arguments\n```\n"
            "<!-- not run: measurement -->\n```\nfalse\n"
            "build/release/server/app/concertina-server --weights f32\n```\n")
        self.assertEqual(status, 0, output)
        self.assertIn("2 blocks run", output)
        self.assertIn("1 (measurement)", output)

    def test_wrong(self):
        server = "build/release/server/app/concertina-server"
        for text, expected in (
                ("    false | cat\n", "exit status 1"),
                (f"    {server} --broken\n", "no such model"),
                (f"    {server} --ends-badly\n", "exit status 3"),
                (f"<!-- not run: measurement -->\n```\n{server} --wait\n```\n", "knows no --wait"),
                ("<!-- not run: measurement -->\n```\ntools/none\n```\n", "is not a program")):
            status, output = self.run_on(text)
            self.assertEqual(status, 1, output)
            self.assertIn(expected, output)


if __name__ == "__main__":
    unittest.main()
