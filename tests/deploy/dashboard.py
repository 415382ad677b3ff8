"""The dashboard's queries, as Grafana would send them."""

import json
import re

import rendered

# What Grafana puts in for "All", and a range that holds enough scrapes of a test.
VARIABLES = {"$__rate_interval": "20s", "$model": ".*", "$instance": ".*"}


def load():
    return json.loads(rendered.read("grafana/dashboard.json"))


def panels(board):
    """Rows apart."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def rows(board):
    """(title, panels) of each row."""
    found = []
    for panel in board["panels"]:
        if panel["type"] == "row":
            found.append((panel["title"], []))
        else:
            found[-1][1].append(panel)
    return found


def expression(target, variables=None):
    text = target["expr"]
    for name, value in (variables or VARIABLES).items():
        text = text.replace(name, value)
    if "$" in text:
        raise ValueError(f"unknown variable in {text}")
    return text


def legend_labels(target):
    return set(re.findall(r"{{\s*(\w+)\s*}}", target["legendFormat"]))


def metric_names(text):
    """Names of our own metrics in an expression, recorded ones apart."""
    return set(re.findall(r"(?<![\w:])concertina_\w+(?![\w:])", text))
