"""The server that the documents' commands start and talk to."""

import json
import os
import random
import socket
import subprocess
import time

START_LIMIT_S = 60
STOP_LIMIT_S = 15

# With one of these it says something and ends.
ENDING = ("-h", "--help", "--version", "--print-config", "--print-memory")

# Stands where the documents expect concertina-server: asks the test for a server and returns when it
# is ready, with the status of one that did not start.
STAND_IN = """#!/usr/bin/env python3
import json, os, sys, time
real, work = {real!r}, {work!r}
if any(word in {ending!r} for word in sys.argv[1:]):
    os.execv(real, [real, *sys.argv[1:]])
with open(work + "/wanted.new", "w") as file:
    json.dump(sys.argv[1:], file)
os.rename(work + "/wanted.new", work + "/wanted")
while not os.path.exists(work + "/answer"):
    time.sleep(0.01)
with open(work + "/answer") as file:
    answer = file.read()
os.remove(work + "/answer")
sys.exit(answer or 0)
"""


def free_ports(count):
    """Below those that the system gives to connections and to whoever asks for any port: they stay
    free while no server is there."""
    ports = []
    for port in random.sample(range(12_000, 30_000), 1000):
        with socket.socket() as listener:
            if listener.connect_ex(("127.0.0.1", port)) != 0:
                ports.append(port)
        if len(ports) == count:
            return ports
    raise OSError("no free ports")


class Server:
    """At most one concertina-server, a child of this process, on two ports of its own."""

    def __init__(self, work, program, stand_in, root):
        self._work, self._program, self._root = work, program, root
        self._process, self._arguments = None, None
        self._faults = []
        # Of gRPC, AdminService and /metrics.
        self.ports = dict(zip((50051, 50052, 9464), free_ports(3)))
        self.target, self.admin, self.metrics = (
            f"127.0.0.1:{port}" for port in self.ports.values())
        with open(stand_in, "w", encoding="utf-8") as file:
            file.write(STAND_IN.format(real=program, work=work, ending=ENDING))
        os.chmod(stand_in, 0o755)

    def begin_document(self):
        """A document finds the usual server, not one that another document started."""
        if self._arguments:
            self._end()

    def serve(self, starts_own):
        """True when a server is there, or the commands start one themselves."""
        return starts_own or self.is_running() or self._start([])

    def is_running(self):
        return self._process is not None and self._process.poll() is None

    def answer_stand_in(self):
        """Starts what the stand-in asks for, if it asks."""
        wanted = os.path.join(self._work, "wanted")
        if not os.path.exists(wanted):
            return
        with open(wanted, encoding="utf-8") as file:
            arguments = json.load(file)
        os.remove(wanted)
        self._end()
        answer = "" if self._start(arguments) else self.log() or "no server"
        path = os.path.join(self._work, "answer")
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(answer)
        os.rename(path + ".new", path)

    def log(self):
        with open(os.path.join(self._work, "server.log"), encoding="utf-8") as file:
            return file.read()[-2000:]

    def stop(self):
        """Ends the server; faults of all servers that did not end well."""
        self._end()
        return self._faults

    def kill(self):
        if self.is_running():
            self._process.kill()

    def _start(self, arguments):
        port_file = os.path.join(self._work, "port")
        environment = {**os.environ, "CONCERTINA_LISTEN": self.target,
                       "CONCERTINA_ADMIN_LISTEN": self.admin,
                       "CONCERTINA_METRICS_LISTEN": self.metrics,
                       "CONCERTINA_PORT_FILE": port_file}
        with open(os.path.join(self._work, "server.log"), "w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", self._program, *arguments], cwd=self._root,
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)
        self._arguments = arguments
        end = time.monotonic() + START_LIMIT_S
        while self.is_running() and time.monotonic() < end:
            if os.path.exists(port_file) and os.path.getsize(port_file) > 0:
                os.remove(port_file)
                return True
            time.sleep(0.01)
        self.kill()
        return False

    def _end(self):
        if self._process is None:
            return
        ran = self.is_running()
        self._process.terminate()
        try:
            status = self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            status = "none: it had to be killed"
        if ran and status != 0:
            self._faults.append(f"concertina-server {' '.join(self._arguments)}: exit status {status}\n"
                                + self.log())
        self._process = None
