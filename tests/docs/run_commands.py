#!/usr/bin/env python3
"""Runs the commands that the documents show; exits 1 if one fails.

Each block runs under `bash -euo pipefail` in the root of the repository and must exit 0, with
- build/ being a folder of the test with links to what was built;
- concertina-server starting in the background, until the next one or the end of the document; where a
  document starts none, one with the bundled model serves it;
- ports of our own in place of 50051, 50052 and 9464.
Of commands that are not run (check_docs.py lists why), those of ours must exist and know their flags.

usage: run_commands.py ROOT BUILD [DOCUMENT...]
"""

import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import check_docs
import commands
import markdown
from server import Server

BLOCK_LIMIT_S = 60


def prepare(root, build):
    """The folder that stands for build/ in the documents."""
    work = tempfile.mkdtemp(prefix="concertina-docs-")
    tree = os.path.join(work, "build", "release")
    os.makedirs(os.path.join(tree, "server", "app"))
    for name in ("bench", "client", "tests"):
        os.symlink(os.path.join(build, name), os.path.join(tree, name))
    return work, Server(work, os.path.join(build, commands.SERVER),
                        os.path.join(tree, commands.SERVER), root)


def environment(root, work, server):
    """Ours, with the tests' Python first and the client's usual addresses being the server's."""
    path = os.path.join(root, ".venv", "bin") + os.pathsep + os.environ["PATH"]
    return {**os.environ, "PATH": path, "TMPDIR": work, "CONCERTINA_TARGET": server.target,
            "CONCERTINA_ADMIN_TARGET": server.admin, "PYTHONDONTWRITEBYTECODE": "1"}


def translate(body, work, server):
    """The commands with the folder and the ports of this run."""
    body = re.sub(r"(?<![\w./-])build/", os.path.join(work, "build") + "/", body)
    # The stand-in of the server returns when it is ready.
    body = re.sub(rf"({re.escape(commands.SERVER)}\b.*?)[ \t]*&[ \t]*$", r"\1", body, flags=re.M)
    for usual, ours in server.ports.items():
        body = re.sub(rf"\b{usual}\b", str(ours), body)
    return body


def run_block(body, root, work, server):
    """None, or what went wrong."""
    if not server.serve(starts_own=commands.starts_server(body)):
        return "the server does not start: " + server.log()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", translate(body, work, server)], cwd=root,
            env=environment(root, work, server), stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True)
        end = time.monotonic() + BLOCK_LIMIT_S
        while process.poll() is None and time.monotonic() < end:
            server.answer_stand_in()
            time.sleep(0.01)
        if process.poll() is None:
            os.killpg(process.pid, 9)
        code = process.wait()
        output.seek(0)
        shown = output.read()[-4000:]
    if code != 0:
        return f"exit status {code}\n{body}{shown}"
    return None if server.is_running() else "the server ended: " + server.log()


def run_document(document, root, work, server, counts):
    """Faults of one document."""
    server.begin_document()
    for block in markdown.blocks(check_docs.read(root, document)):
        if not check_docs.is_shell(block):
            continue
        reason = check_docs.reason_not_run(block)
        counts[reason or "run"] += 1
        where = f"{document}:{block.line}"
        begin = time.monotonic()
        if reason:
            faults = commands.faults(block.body, root, work)
        else:
            faults = [fault for fault in [run_block(block.body, root, work, server)] if fault]
        print(f"{where}: {'not run: ' + reason if reason else 'run'}, {time.monotonic() - begin:.1f} s",
              flush=True)
        yield from (f"{where}: {fault}" for fault in faults)


def main():
    root, build = (os.path.abspath(path) for path in sys.argv[1:3])
    documents = sys.argv[3:] or check_docs.documents(root)
    counts, begin = collections.Counter(), time.monotonic()
    work, server = prepare(root, build)
    try:
        faults = [fault for document in documents
                  for fault in run_document(document, root, work, server, counts)]
        faults += server.stop()
    finally:
        server.kill()
        shutil.rmtree(work, ignore_errors=True)
    print("\n".join(faults))
    print(f"{counts.pop('run', 0)} blocks run in {time.monotonic() - begin:.0f} s; not run: "
          + ", ".join(f"{count} ({reason})" for reason, count in sorted(counts.items())))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
