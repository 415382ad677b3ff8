"""Reads shell commands: whether programs of ours and their flags exist."""

import functools
import os
import re
import subprocess

import server

SERVER = "server/app/concertina-server"
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
# Programs of ours, as documents name them.
PROGRAM = re.compile(r"^(?:build/release/\S+|tools/\S+)$")


def lines(body):
    """Commands, one a line, with the comments that say more of their flags."""
    return [line for line in body.replace("\\\n", " ").splitlines() if line.strip()]


def starts_server(body):
    return any(SERVER in line and not set(line.split()) & set(server.ENDING) for line in lines(body))


def program_and_subcommand(line):
    """The first two words that are not assignments; the second is "" unless it may be a subcommand."""
    words = [word for word in line.split("#")[0].split() if not re.match(r"^\w+=", word)]
    second = words[1] if len(words) > 1 and re.match(r"^[a-z]+$", words[1]) else ""
    return (words[0] if words else ""), second


def location(root, work, program):
    return os.path.join(work if program.startswith("build/") else root, program)


@functools.lru_cache
def help_text(root, work, program, subcommand):
    """What --help prints; None when it fails."""
    words = [location(root, work, program)] + ([subcommand] if subcommand else []) + ["--help"]
    try:
        done = subprocess.run(words, cwd=root, capture_output=True, text=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout + done.stderr if done.returncode == 0 else None


def faults(body, root, work):
    """Programs of ours that are not there, and flags they do not know."""
    for line in lines(body):
        program, subcommand = program_and_subcommand(line)
        if not PROGRAM.match(program):
            continue
        if not os.access(location(root, work, program), os.X_OK):
            yield f"{program} is not a program"
            continue
        subcommand = subcommand if program.endswith("/concertina") else ""
        flags = FLAG.findall(line)
        # Generators of fixtures are not asked: what they need may not be installed.
        if program.endswith((".py", ".sh")) or not (subcommand or flags):
            continue
        text = help_text(root, work, program, subcommand)
        if text is None:
            yield f"{program} {subcommand} --help fails"
            continue
        # A subcommand takes the program's own flags too.
        known = set(FLAG.findall(text + (help_text(root, work, program, "") or "")))
        yield from (f"{program} {subcommand} knows no {flag}" for flag in flags if flag not in known)
