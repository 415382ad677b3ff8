"""The Dockerfile against the tree, the build and Debian, without Docker."""

import glob
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import dockerfile
import libraries
import rendered
from processes import BUILD, CLIENT, ROOT, SERVER, server_help

TORCH = os.path.join(ROOT, ".venv/lib/python3*/site-packages/torch/lib")
PREFIX = "/opt/concertina"


def built_files(build):
    """What the build stage puts into /image: path there, path or pattern in the tree."""
    found = {}
    for rest in build.all("RUN"):
        for command in (part.split() for part in rest.split("&&")):
            if command and command[0] in ("cp", "install"):
                *sources, target = (word for word in command[1:] if not word.startswith("-"))
                for source in sources:
                    (path,) = glob.glob(os.path.join(ROOT, source.replace("build/release", BUILD)))
                    found[os.path.join(target, os.path.basename(path))] = path
    return found


class ContainerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.build, cls.image = dockerfile.parse(rendered.read("container/Dockerfile"))
        cls.files = built_files(cls.build)

    def sources(self):
        return [source for stage, sources, _ in self.build.copies() if stage is None
                for source in sources]

    def test_every_source_exists_and_is_let_into_the_context(self):
        let_in = [line.strip()[1:] for line in
                  rendered.read("container/Dockerfile.dockerignore").splitlines()
                  if line.startswith("!")]
        self.assertEqual(sorted(self.sources()), sorted(let_in))
        for source in self.sources():
            self.assertTrue(os.path.exists(os.path.join(ROOT, source)), source)

    def test_the_copied_tree_is_enough_to_build(self):
        with tempfile.TemporaryDirectory(prefix="concertina-") as tree:
            for source in self.sources():
                path = os.path.join(ROOT, source)
                if os.path.isdir(path):
                    shutil.copytree(path, os.path.join(tree, source))
                else:
                    shutil.copy(path, tree)
            os.symlink(os.path.join(ROOT, ".venv"), os.path.join(tree, ".venv"))
            (command,) = [rest for rest in self.build.all("RUN") if rest.startswith("cmake")]
            configure, ninja = command.split("&&")
            subprocess.run(configure.split(), cwd=tree, check=True, capture_output=True)
            # Only says what it would do; fails if a source is missing.
            plan = subprocess.run([*ninja.split(), "-n"], cwd=tree, check=True, capture_output=True,
                                  text=True).stdout
        for program in (SERVER, CLIENT):
            self.assertIn(f"Linking CXX executable {os.path.relpath(program, BUILD)}", plan)

    def test_the_set_up_is_everybodys(self):
        self.assertIn("tools/setup", self.build.all("RUN"))

    def test_what_the_image_takes_is_there(self):
        (stage, (source,), target), = self.image.copies()
        self.assertEqual((stage, source, target), (self.build.name, "/image", PREFIX))
        entry, arguments = self.image.program()
        self.assertEqual(self.files["/image/bin/" + entry[0]], SERVER)
        for value in arguments:
            if value.startswith("/"):
                path = value.replace(PREFIX, "/image")
                self.assertTrue(os.path.exists(self.files[path]), value)

    def test_flags_exist(self):
        _, arguments = self.image.program()
        for flag in (word for word in arguments if word.startswith("--")):
            self.assertRegex(server_help(), rf"(?m)^\s+{flag} ", flag)

    def test_packages_are_those_whose_libraries_are_named(self):
        torch_libraries = [path for path in self.files.values() if "/torch/" in path]
        own = {os.path.basename(path) for path in torch_libraries}
        paths = set()
        for program in (SERVER, CLIENT, *torch_libraries):
            loaded = libraries.loaded(program)
            paths |= {loaded[name] for name in libraries.needed(program)
                      if name in loaded and name not in own}
        packages = set(libraries.owners(paths).values())
        self.assertEqual(dockerfile.installed_packages(self.image), sorted(packages))

    def test_every_library_is_in_the_image(self):
        own = {os.path.basename(path) for path in self.files if path.startswith("/image/lib/")}
        paths = {path for program in (SERVER, CLIENT)
                 for name, path in libraries.loaded(program).items() if name not in own}
        packages = libraries.closure(dockerfile.installed_packages(self.image))
        for path, package in libraries.owners(paths).items():
            self.assertIn(package, packages, path)

    def test_no_library_of_torch_is_missing_or_idle(self):
        own = {os.path.basename(path) for path in self.files if path.startswith("/image/lib/")}
        used = {name for name, path in libraries.loaded(SERVER).items()
                if re.search(r"/torch/lib/", path)}
        self.assertEqual(own, used)
        self.assertEqual(self.image.environment()["LD_LIBRARY_PATH"], PREFIX + "/lib")

    def test_it_stops_and_runs_as_kubernetes_expects(self):
        pod = rendered.pod_templates(rendered.render(rendered.BASE))["concertina"]["spec"]
        context = pod["securityContext"]
        self.assertEqual(self.image.one("USER"), f"{context['runAsUser']}:{context['runAsGroup']}")
        self.assertEqual(self.image.one("STOPSIGNAL"), "SIGTERM")
        self.assertEqual(self.image.all("HEALTHCHECK"), [])
        ports = {str(port["containerPort"]) for port in pod["containers"][0]["ports"]}
        self.assertEqual(set(self.image.one("EXPOSE").split()), ports)
        _, arguments = self.image.program()
        self.assertEqual({value.rsplit(":", 1)[1] for value in arguments if ":" in value}, ports)


if __name__ == "__main__":
    unittest.main()
