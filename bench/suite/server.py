"""Ours through gRPC: a server, and a client with 16 streams."""

import os
import resource
import signal
import subprocess
import tempfile
import time

import process

START_TIMEOUT_S = 60


def _cpu_seconds(pid):
    """User and system time of a process so far."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _start(context, folder):
    port_file = os.path.join(folder, "port")
    command = [context.program("server/app/concertina-server"), "--model", context.model,
               "--vision", "none", "--threads", str(context.threads), "--weights", context.weights,
               "--listen", "127.0.0.1:0", "--port-file", port_file, "--metrics-listen", "none",
               "--admin-listen", "none", "--pool-bytes", "2GiB"]
    context.log.write("$ " + " ".join(command) + "\n")
    context.log.flush()
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=context.log,
                              stderr=context.log, start_new_session=True)
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if os.path.exists(port_file) and os.path.getsize(port_file) > 0:
            with open(port_file) as file:
                return server, file.read().strip()
        if server.poll() is not None:
            raise process.Failure(f"the server ended with {server.returncode}")
        time.sleep(0.05)
    _stop(server)
    raise process.Failure(f"the server did not start within {START_TIMEOUT_S} s")


def _stop(server):
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def measure(context):
    tokens = context.length(256, 128)
    with tempfile.TemporaryDirectory() as folder:
        server, port = _start(context, folder)
        try:
            before = _cpu_seconds(server.pid), resource.getrusage(resource.RUSAGE_CHILDREN)
            output = process.run([context.program("bench/concertina_grpc_bench"), "--target",
                                  f"127.0.0.1:{port}", "--sessions", 16, "--depth", 64,
                                  "--tokens", tokens], 120, log=context.log)
            server_s = _cpu_seconds(server.pid) - before[0]
            usage = resource.getrusage(resource.RUSAGE_CHILDREN)
            client_s = (usage.ru_utime + usage.ru_stime
                        - before[1].ru_utime - before[1].ru_stime)
        finally:
            _stop(server)
    rate = process.json_lines(output)[-1]["tokens_per_s"]
    if rate <= 0:
        raise process.Failure("the sessions never generated together")
    context.info["grpc_cpu_s"] = {"server": server_s, "client": client_s}
    # The client runs on the same cores: beside what it saw, the rate without its CPU time.
    return {"ours.grpc_16": rate,
            "ours.grpc_16_without_client": rate * (server_s + client_s) / server_s}
