"""The command line of Concertina, asking one server."""

import json
import subprocess
import tempfile


class CommandLine:
    def __init__(self, program, target):
        self.program, self.target = program, target

    def call(self, subcommand, *arguments):
        """What the command prints as JSON."""
        command = [self.program, subcommand, "--target", self.target, "--json", *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        return json.loads(done.stdout)

    def score(self, prompts):
        """Results of the prompts with the full cache; "nll" is their mean in nats."""
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(prompts, file)
            file.flush()
            flags = ["--policy", "full", "--budget", "1", "--measure-full"]
            return self.call("score", "--prompts", file.name, *flags)["prompts"]
