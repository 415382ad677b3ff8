"""Which shared libraries programs need, and which Debian packages have them."""

import os
import re
import subprocess


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def needed(program):
    """Names of the libraries that a program or library names itself."""
    return set(re.findall(r"\(NEEDED\).*\[(.+)\]", output("readelf", "-d", program)))


def loaded(program):
    """Name and path of every library that is loaded with it."""
    return dict(re.findall(r"^\s*(\S+) => (/\S+)", output("ldd", program), re.MULTILINE))


def owners(paths):
    """The installed package of each path."""
    # Packages know their files by the names from before /lib became a link.
    real = {path: os.path.realpath(path) for path in paths}
    names = {name for path in real.values() for name in (path, path.removeprefix("/usr"))}
    rows = subprocess.run(["dpkg-query", "-S", *names], capture_output=True, text=True).stdout
    packages = {row.rsplit(": ", 1)[1].removeprefix("/usr"): row.split(":")[0]
                for row in rows.splitlines()}
    return {path: packages[name.removeprefix("/usr")] for path, name in real.items()}


def alternatives(depends):
    """"a (>= 1) | b, c" as [{a, b}, {c}]."""
    return [{re.split(r"[ (:]", name.strip())[0] for name in group.split("|")}
            for group in depends.split(",") if group.strip()]


def closure(packages):
    """The packages and all that they depend on, among those installed here."""
    depends, provides = {}, {}
    rows = output("dpkg-query", "-W", "-f", "${Package}\t${Depends},${Pre-Depends}\t${Provides}\n")
    for row in rows.splitlines():
        package, needs, virtual = row.split("\t")
        depends[package] = alternatives(needs)
        for group in alternatives(virtual):
            for name in group:
                provides.setdefault(name, set()).add(package)
    found, waiting = set(), list(packages)
    while waiting:
        package = waiting.pop()
        if package in found or package not in depends:
            continue
        found.add(package)
        for group in depends[package]:
            for name in group:
                waiting += [name, *provides.get(name, ())]
    return found
