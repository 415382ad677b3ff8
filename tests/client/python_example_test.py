#!/usr/bin/env python3
"""Runs the commands of client/python/README.md, as they stand there, against a server process.

usage: python_example_test.py ROOT SERVER VENV_BIN
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT, SERVER, VENV_BIN = sys.argv[1:4]
START_LIMIT_S = 90
USUAL_TARGET = "127.0.0.1:50051"


def commands():
    """The indented lines of the README."""
    with open(os.path.join(ROOT, "client/python/README.md"), encoding="utf-8") as file:
        return re.findall(r"^    (.+)$", file.read(), re.MULTILINE)


class PythonExample(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        for name in ("client/python", "docs/demo", "proto"):
            shutil.copytree(os.path.join(ROOT, name), os.path.join(cls.folder.name, name))
        port_file = os.path.join(cls.folder.name, "port")
        log = open(os.path.join(cls.folder.name, "log"), "w+", encoding="utf-8")
        cls.addClassCleanup(log.close)
        cls.server = subprocess.Popen(
            [SERVER, "--listen", "127.0.0.1:0", "--port-file", port_file,
             "--metrics-listen", "none", "--admin-listen", "none"], cwd=ROOT, stdout=log, stderr=log)
        cls.addClassCleanup(cls.stop_server)
        end = time.monotonic() + START_LIMIT_S
        while not os.path.exists(port_file) or not os.path.getsize(port_file):
            if cls.server.poll() is not None or time.monotonic() > end:
                log.seek(0)
                raise RuntimeError("the server did not start: " + log.read())
            time.sleep(0.02)
        with open(port_file, encoding="utf-8") as file:
            cls.target = f"127.0.0.1:{int(file.read())}"

    @classmethod
    def stop_server(cls):
        cls.server.send_signal(signal.SIGTERM)
        cls.server.wait(timeout=60)

    def run_command(self, command):
        """As a shell in the root would, with the tests' Python and our server's port."""
        path = VENV_BIN + os.pathsep + os.environ["PATH"]
        return subprocess.run(["bash", "-c", command.replace(USUAL_TARGET, self.target)],
                              cwd=self.folder.name, env={**os.environ, "PATH": path},
                              capture_output=True, text=True, timeout=120, check=False)

    def test_the_commands_make_stubs_and_talk_about_the_picture(self):
        install, stubs, chat = commands()
        with open(os.path.join(ROOT, "tools/requirements-test.txt"), encoding="utf-8") as file:
            pinned = set(re.findall(r"^(\S+)==", file.read(), re.MULTILINE))
        packages = install.split("install ")[1].split()
        self.assertLessEqual(set(packages), pinned)

        made = self.run_command(stubs)
        self.assertEqual(made.returncode, 0, made.stderr)

        said = self.run_command(chat)
        self.assertEqual(said.returncode, 0, said.stderr)
        described, kept, where, kept_then = said.stdout.splitlines()
        self.assertIn("carrot", described)
        self.assertIn("purple", described)
        self.assertIn("top left", where)
        self.assertRegex(kept, r"^\[[1-9]\d+ bytes kept\]$")
        self.assertRegex(kept_then, r"^\[[1-9]\d+ bytes kept\]$")

        # A refusal: its code, its text with the field, no traceback.
        refused = self.run_command(chat.replace("docs/demo/scene.png", "client/python/README.md"))
        self.assertEqual(refused.returncode, 1)
        self.assertRegex(refused.stderr, r"^INVALID_ARGUMENT: parts\[0\]\.image\.data")
        self.assertEqual(refused.stderr.count("\n"), 1)

        # No session is left behind: the stubs and the server agree on that too.
        left = self.run_command(
            "PYTHONPATH=build/python python3 -c 'import grpc\n"
            "from concertina.v1 import inference_service_pb2 as api\n"
            "from concertina.v1 import inference_service_pb2_grpc as rpc\n"
            f'stub = rpc.InferenceServiceStub(grpc.insecure_channel("{USUAL_TARGET}"))\n'
            "print(len(stub.ListSessions(api.ListSessionsRequest()).sessions))'")
        self.assertEqual(left.stdout, "0\n", left.stderr)

    def test_the_example_is_under_forty_lines(self):
        with open(os.path.join(ROOT, "client/python/chat.py"), encoding="utf-8") as file:
            self.assertLess(len(file.readlines()), 40)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
