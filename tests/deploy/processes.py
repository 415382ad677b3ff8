"""The server, its command line and a Prometheus as processes of ours, on free loopback ports."""

import json
import os
import re
import signal
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("TEST_BUILD_DIR", os.path.join(ROOT, "build/release"))
SERVER = os.path.join(BUILD, "server/app/concertina-server")
CLIENT = os.path.join(BUILD, "client/concertina")
START_SECONDS = 60

# Loads in milliseconds, says nonsense.
TINY_LLAVA = ["--model", os.path.join(ROOT, "tests/goldens/llava15-tiny"), "--weights", "f32",
              "--threads", "1"]


def fetch(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def wait_for(condition, what, seconds=START_SECONDS):
    """The first true value of condition()."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise TimeoutError(f"{what}: not within {seconds} s")


def server_help():
    return subprocess.run([SERVER, "--help"], check=True, capture_output=True, text=True).stdout


class Process:
    """A program with its output in a file of a temporary folder; ended with the `with` block."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="concertina-")
        self.log_path = os.path.join(self.folder.name, "log")
        self.process = None

    def start(self, command, environment=None):
        with open(self.log_path, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, env=environment)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def check_running(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"ended with {self.process.returncode}:\n{self.log()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.folder.cleanup()


class Server(Process):
    def __init__(self, flags, environment=None):
        super().__init__()
        port_file = os.path.join(self.folder.name, "port")
        self.start([SERVER, *flags, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
                    "--admin-listen", "none", "--port-file", port_file, "--grace-period", "0"], environment)
        wait_for(lambda: self.check_running() or os.path.exists(port_file), "concertina-server")
        with open(port_file, encoding="utf-8") as file:
            self.target = "127.0.0.1:" + file.read().strip()
        found = wait_for(lambda: re.search(r"metrics on port (\d+)", self.log()), "port of metrics")
        self.metrics_port = int(found.group(1))

    def client(self, *arguments, text=""):
        return subprocess.run([CLIENT, "--target", self.target, *arguments], input=text.encode(),
                              capture_output=True, timeout=60)

    def metrics(self):
        return fetch(f"http://127.0.0.1:{self.metrics_port}/metrics")

    def value(self, name):
        """Sum of the series of a metric, its prefix left out."""
        found = re.findall(rf"^concertina_{name}(?:{{.*}})? (\S+)$", self.metrics(), re.MULTILINE)
        if not found:
            raise KeyError(name)
        return sum(map(float, found))


class Prometheus(Process):
    """Debian's Prometheus; `config` is the text of its configuration, `files` lie beside it."""

    def __init__(self, config, files):
        super().__init__()
        for name, text in {"prometheus.yml": config, **files}.items():
            with open(os.path.join(self.folder.name, name), "w", encoding="utf-8") as file:
                file.write(text)
        self.start(["prometheus", "--config.file", os.path.join(self.folder.name, "prometheus.yml"),
                    "--storage.tsdb.path", os.path.join(self.folder.name, "data"),
                    "--web.listen-address", "127.0.0.1:0"])
        found = wait_for(lambda: self.check_running() or
                         re.search(r'msg="Listening on" address=(\S+)\n', self.log()),
                         "port of prometheus")
        self.url = f"http://{found.group(1)}"
        wait_for(lambda: self.check_running() or self.ready(), "prometheus")

    def ready(self):
        try:
            return "Ready" in fetch(self.url + "/-/ready")
        except OSError:
            return False

    def api(self, path, **parameters):
        query = urllib.parse.urlencode(parameters, doseq=True)
        try:
            answer = json.loads(fetch(f"{self.url}/api/v1/{path}?{query}"))
        except urllib.error.HTTPError as error:
            answer = json.loads(error.read())
        if answer["status"] != "success":
            raise ValueError(f"{path} {parameters}: {answer.get('error')}")
        return answer["data"]

    def query(self, expression):
        """The result vector; raises ValueError if Prometheus refuses the expression."""
        return self.api("query", query=expression)["result"]
