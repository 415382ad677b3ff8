"""A concertina-server of a script's own."""
import pathlib
import signal
import subprocess
import tempfile
import time


class Server:
    """A server process for as long as the `with` block lasts; gives its address."""

    def __init__(self, build, flags):
        self.folder = tempfile.TemporaryDirectory(prefix="concertina-")
        self.port = pathlib.Path(self.folder.name, "port")
        addresses = ["--listen", "127.0.0.1:0", "--admin-listen", "none", "--metrics-listen", "none"]
        self.command = [str(pathlib.Path(build, "server/app/concertina-server")), *flags, *addresses,
                        "--port-file", str(self.port), "--grace-period", "0", "--log-level", "error"]
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen(self.command)
        while not (self.port.exists() and self.port.read_text()):
            if self.process.poll() is not None:
                raise SystemExit(f"the server ended with {self.process.returncode}")
            time.sleep(.05)
        return "127.0.0.1:" + self.port.read_text().strip()

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.folder.cleanup()
