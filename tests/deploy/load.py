"""Traffic that moves every metric: conversations with pictures, refusals, mistakes of clients."""

import os
import random
import struct
import subprocess
import tempfile
import threading
import time
import zlib

from processes import CLIENT

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def png(side, colour):
    """A square picture of one colour."""
    def chunk(kind, body):
        return (struct.pack(">I", len(body)) + kind + body
                + struct.pack(">I", zlib.crc32(kind + body)))
    pixels = (b"\0" + bytes(colour) * side) * side
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b""))


class Load:
    """Holds conversations on `server` until the `with` block ends.

    Each of `workers` threads, one after another from the start at intervals of `ramp` seconds, opens a
    conversation about a picture that no other has, and asks `questions`, thinking up to `pause` seconds
    before each; then it makes a mistake or two of a client, and begins again.
    """

    def __init__(self, server, workers, questions, tokens, pause=0.0, ramp=0.0, pictures=(), seed=1):
        self.server, self.questions, self.tokens = server, questions, str(tokens)
        self.pause, self.pictures = pause, pictures
        self.stop = threading.Event()
        self.folder = tempfile.TemporaryDirectory(prefix="concertina-")
        self.threads = [threading.Thread(target=self.run, args=(i, i * ramp, random.Random(seed + i)))
                        for i in range(workers)]

    def picture(self, worker, source):
        if self.pictures:
            return source.choice(self.pictures)
        path = os.path.join(self.folder.name, f"{worker}.png")
        with open(path, "wb") as file:
            file.write(png(64, source.randbytes(3)))
        return path

    def converse(self, worker, source):
        command = [CLIENT, "--target", self.server.target, "chat", "--image",
                   self.picture(worker, source), "--max-tokens", self.tokens,
                   "--policy", "elastic" if worker % 4 == 3 else "concertina"]
        with subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as chat:
            for question in self.questions:
                self.stop.wait(self.pause * source.random())
                if self.stop.is_set() or chat.poll() is not None:
                    break
                try:
                    chat.stdin.write(question.encode() + b"\n")
                except BrokenPipeError:  # its session was refused
                    break

    def run(self, worker, delay, source):
        self.stop.wait(delay)
        while not self.stop.is_set():
            self.converse(worker, source)
            if source.random() < 0.3:
                self.server.client("session", UNKNOWN)
                self.server.client("ask", "--max-tokens", "4", "--system", "x" * 20000, "What?")
            time.sleep(0.02)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        self.folder.cleanup()
