"""What `kubectl kustomize` makes of deploy/kubernetes."""

import os
import re
import subprocess
import tomllib

import yaml

from processes import ROOT

DEPLOY = os.path.join(ROOT, "deploy")
BASE = "kubernetes/base"
MONITORING = "kubernetes/overlays/monitoring"


def read(path):
    """A file below deploy/."""
    with open(os.path.join(DEPLOY, path), encoding="utf-8") as file:
        return file.read()


def render(folder):
    """The resources of a folder below deploy/."""
    output = subprocess.run(["kubectl", "kustomize", os.path.join(DEPLOY, folder)], check=True,
                            capture_output=True, text=True, timeout=30).stdout
    return [resource for resource in yaml.safe_load_all(output) if resource]


def find(resources, kind, name):
    """The one resource of a kind whose name is `name`, or that followed by a hash."""
    (found,) = [resource for resource in resources if resource["kind"] == kind
                and re.fullmatch(rf"{name}(-[a-z0-9]{{10}})?", resource["metadata"]["name"])]
    return found


def pod_templates(resources):
    return {resource["metadata"]["name"]: resource["spec"]["template"]
            for resource in resources if resource["kind"] in ("StatefulSet", "Deployment")}


def settings(resources):
    """The server's settings in the ConfigMap."""
    return tomllib.loads(find(resources, "ConfigMap", "concertina")["data"]["concertina.toml"])


UNITS = {"": 1, "m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "KiB": 2**10, "MiB": 2**20,
         "GiB": 2**30}


def quantity(text):
    """"4Gi", "1GiB", "100m" as a number."""
    number, unit = re.fullmatch(r"([\d.]+)(\w*)", str(text)).groups()
    return float(number) * UNITS[unit]


def seconds(value):
    """30, "30", "30s", "500ms", "5m" as seconds."""
    number, unit = re.fullmatch(r"([\d.]+)(ms|s|m|)", str(value)).groups()
    return float(number) * {"ms": 1e-3, "s": 1, "": 1, "m": 60}[unit]
