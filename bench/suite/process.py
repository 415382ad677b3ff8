"""Runs the measured programs: alone, with a timeout, and their output as JSON."""

import json
import os
import signal
import subprocess


class Failure(Exception):
    """A program that did not measure: what it said last."""


def run(command, timeout_s, env=None, log=None):
    """Standard output of a program that must end well in time. It and what it started are killed
    otherwise. `log`: a file object that gets the command and its standard error."""
    if log:
        log.write("$ " + " ".join(map(str, command)) + "\n")
        log.flush()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, start_new_session=True,
                               env={**os.environ, **(env or {})})
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise Failure(f"{os.path.basename(str(command[0]))}: no answer within {timeout_s} s")
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    if log:
        log.write(errors)
        log.flush()
    if process.returncode != 0:
        last = [line for line in (errors + output).splitlines() if line.strip()][-3:]
        raise Failure(f"{os.path.basename(str(command[0]))}: exit code {process.returncode}: "
                      + " | ".join(last))
    return output


def json_lines(output):
    """The objects among the lines of a program's output."""
    found = []
    for line in output.splitlines():
        if line.startswith("{"):
            try:
                found.append(json.loads(line))
            except ValueError as error:
                raise Failure(f"not JSON: {line[:80]} ({error})") from error
    if not found:
        raise Failure("no result was printed")
    return found
