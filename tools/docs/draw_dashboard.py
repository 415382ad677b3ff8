#!/usr/bin/env python3
"""Draws docs/images/dashboard.svg: panels of the Grafana dashboard, from what a Prometheus returned.

    tools/docs/draw_dashboard.py [--measure]

With --measure a server with the bundled model and Debian's Prometheus run for two and a half minutes under
a load of conversations; the answers to the panels' own queries become docs/images/dashboard.json. The
picture has the title, unit and legend of each panel, leaves out series that are 0 throughout, and has
nothing that is not in these two files.
"""

import argparse
import json
import math
import os
import sys
import time
from xml.sax.saxutils import escape

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/deploy"))
sys.dont_write_bytecode = True

import dashboard  # noqa: E402

DATA = os.path.join(ROOT, "docs/images/dashboard.json")
PICTURE = os.path.join(ROOT, "docs/images/dashboard.svg")

# The first graphs of each row, and all of its figures.
GRAPHS_PER_ROW = 3
COLOURS = ("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#c8f2c2")
GROUND, PANEL, EDGE, INK, FAINT, GRID = "#111217", "#181b1f", "#2c3235", "#ccccdc", "#8e8e99", "#2b2f36"
WIDTH, MARGIN, GAP = 975, 10, 8
FIGURE_HEIGHT, GRAPH_HEIGHT, TITLE_HEIGHT = 62, 164, 28
SECONDS, STEP_SECONDS, RATE_SECONDS = 150, 2, 10

QUESTIONS = ("Describe the image in detail.", "What is at the top right?", "What colour is the background?",
             "How many objects are there?")


def chosen(rows):
    """(title, figures, graphs) of each row, cut to what the picture shows."""
    for title, panels in rows:
        yield (title, [panel for panel in panels if panel["type"] == "stat"],
               [panel for panel in panels if panel["type"] == "timeseries"][:GRAPHS_PER_ROW])


def measure():
    """Runs server, Prometheus and load; writes DATA."""
    from load import Load
    from processes import Prometheus, Server
    from test_monitoring import configuration
    import rendered

    images = os.path.join(ROOT, "tests/goldens/bundled-model/images")
    pictures = [os.path.join(images, name) for name in sorted(os.listdir(images))]
    flags = ["--pool-bytes", "8MiB"]
    with Server(flags) as server, \
            Prometheus(configuration([f"127.0.0.1:{server.metrics_port}"]),
                       {"rules.yml": rendered.read("prometheus/rules.yml")}) as prometheus:
        time.sleep(RATE_SECONDS)
        start = time.time()
        with Load(server, workers=9, questions=QUESTIONS * 2, tokens=48, pause=14.0, ramp=10.0,
                  pictures=pictures):
            time.sleep(SECONDS)
        ranges = {"start": start, "end": start + SECONDS, "step": STEP_SECONDS}
        variables = dashboard.VARIABLES | {"$__rate_interval": f"{RATE_SECONDS}s"}
        answers = {}
        for _, figures, graphs in chosen(dashboard.rows(dashboard.load())):
            for panel in figures + graphs:
                for target in panel["targets"]:
                    query = dashboard.expression(target, variables)
                    answers[target["expr"]] = [
                        {"metric": {k: v for k, v in series["metric"].items() if not k.startswith("__")},
                         "values": [[round(t - start, 1), float(f"{float(v):.4g}")] for t, v in series["values"]
                                    if math.isfinite(float(v))]}
                        for series in prometheus.api("query_range", query=query, **ranges)["result"]]
    data = {"command": "tools/docs/draw_dashboard.py --measure", "flags": flags, "seconds": SECONDS,
            "rate_interval_seconds": RATE_SECONDS, "answers": answers}
    with open(DATA, "w", encoding="utf-8") as file:
        json.dump(data, file, separators=(",", ":"))
        file.write("\n")


def text(x, y, content, size=11, colour=INK, anchor="start", weight="normal"):
    return (f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{escape(content)}</text>')


def box(x, y, width, height):
    return (f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{PANEL}" '
            f'stroke="{EDGE}" rx="2"/>')


def with_unit(value, unit):
    """As Grafana writes it, nearly."""
    if unit == "bytes":
        power = min(3, int(math.log2(value) // 10)) if value >= 1 else 0
        return f"{value / 1024 ** power:.3g} " + ("B", "KiB", "MiB", "GiB")[power]
    if unit == "percentunit":
        return f"{value * 100:.3g}%"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if 0 < value < 1 else f"{value:.3g} s"
    suffix = {"reqps": " req/s", "ops": " ops/s"}.get(unit, "")
    return (f"{value / 1000:.3g}k" if value >= 10000 else f"{value:.3g}") + suffix


def axis_step(top, unit):
    """A round number of which two to four make the axis."""
    rough = top / 4
    if unit == "bytes":
        return 2.0 ** math.ceil(math.log2(rough))
    power = 10 ** math.floor(math.log10(rough))
    return power * next(n for n in (1, 2, 2.5, 5, 10) if n * power >= rough)


def name_of(target, series):
    name = target["legendFormat"]
    for label, value in series["metric"].items():
        name = name.replace("{{%s}}" % label, value)
    return name


def lines_of(panel, answers):
    """(name, {time: value}, stacked) of every series of a panel that is not 0 throughout."""
    alone = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
    stacked = panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
    return [(name, dict(map(tuple, series["values"])), stacked and name not in alone)
            for target in panel["targets"] for series in answers[target["expr"]]
            for name in [name_of(target, series)] if any(value for _, value in series["values"])]


def stack(lines):
    """(name, [(time, low, high)], stacked): what is drawn of each line, from below."""
    low, drawn = {}, []
    for name, values, stacked in lines:
        points = [(t, low.get(t, 0.0) if stacked else 0.0, v) for t, v in sorted(values.items())]
        points = [(t, base, base + v) for t, base, v in points]
        if stacked:
            low |= {t: high for t, _, high in points}
        drawn.append((name, points, stacked))
    return drawn


def legend(x, y, width, names):
    """In one line, or in two from `y` on."""
    parts, at = [], x
    for name, colour in names:
        need = 20 + (6.9 if name.isupper() else 5.7) * len(name)
        if at + need > x + width:
            at, y = x, y + 12
        parts += [f'<rect x="{at:g}" y="{y - 5:g}" width="9" height="3" fill="{colour}"/>',
                  text(at + 12, y, name, 9.5, FAINT)]
        at += need
    return parts


def graph(panel, answers, seconds, x, y, width):
    defaults = panel["fieldConfig"]["defaults"]
    drawn = stack(lines_of(panel, answers))
    top = max((high for _, points, _ in drawn for _, _, high in points), default=0) * 1.05 or 1
    top = defaults.get("max", top)
    left, right, upper, lower = x + 58, x + width - 10, y + 32, y + GRAPH_HEIGHT - 47
    def at(t, value): return f"{left + t / seconds * (right - left):.1f},{lower - value / top * (lower - upper):.1f}"
    parts = [box(x, y, width, GRAPH_HEIGHT), text(x + 10, y + 19, panel["title"], 12, weight="bold")]
    step = axis_step(top, defaults["unit"])
    for i in range(int(top / step * 1.0001) + 1):
        height = float(at(0, i * step).split(",")[1])
        parts += [f'<path d="M{left:g} {height:g}H{right:g}" stroke="{GRID}"/>',
                  text(left - 6, height + 3.5, with_unit(i * step, defaults["unit"]), 9.5, FAINT, "end")]
    for minute in range(int(seconds // 60) + 1):
        tick = float(at(minute * 60, 0).split(",")[0])
        parts.append(text(tick, lower + 13, f"{minute} min", 9.5, FAINT, "middle"))
    for i, (_, points, stacked) in enumerate(drawn):
        colour = COLOURS[i % len(COLOURS)]
        path = " ".join(at(t, high) for t, _, high in points)
        if stacked:
            floor = " ".join(at(t, low) for t, low, _ in reversed(points))
            parts.append(f'<polygon points="{path} {floor}" fill="{colour}" fill-opacity="0.35"/>')
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.2"/>')
    names = [(name, COLOURS[i % len(COLOURS)]) for i, (name, _, _) in enumerate(drawn)]
    return parts + legend(x + 10, y + GRAPH_HEIGHT - 19, width - 16, names)


def figure(panel, answers, x, y, width):
    """The last value, in the colour of its threshold."""
    (target,) = panel["targets"]
    (series,) = answers[target["expr"]]
    value = series["values"][-1][1]
    colours = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c"}
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    colour = [colours[step["color"]] for step in steps if step["value"] is None or value >= step["value"]][-1]
    return [box(x, y, width, FIGURE_HEIGHT), text(x + 10, y + 18, panel["title"], 11, weight="bold"),
            text(x + width / 2, y + 48, with_unit(value, panel["fieldConfig"]["defaults"]["unit"]), 24, colour,
                 "middle")]


def draw(data):
    """The picture as SVG."""
    parts, y = [], MARGIN
    def columns(panels, count, height, paint):
        nonlocal y
        width = (WIDTH - 2 * MARGIN - (count - 1) * GAP) / count
        for i, panel in enumerate(panels):
            parts.extend(paint(panel, MARGIN + i * (width + GAP), y, width))
        y += height + GAP if panels else 0
    for title, figures, graphs in chosen(dashboard.rows(dashboard.load())):
        parts.append(text(MARGIN + 2, y + 18, title, 13, weight="bold"))
        y += TITLE_HEIGHT
        columns(figures, len(figures) or 1, FIGURE_HEIGHT,
                lambda panel, *place: figure(panel, data["answers"], *place))
        columns(graphs, GRAPHS_PER_ROW, GRAPH_HEIGHT,
                lambda panel, *place: graph(panel, data["answers"], data["seconds"], *place))
    height = y + MARGIN - GAP
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
            f'height="{height}" font-family="DejaVu Sans, Verdana, Arial, sans-serif">\n'
            f'<rect width="{WIDTH}" height="{height}" fill="{GROUND}"/>\n' + "\n".join(parts) + "\n</svg>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true")
    if parser.parse_args().measure:
        measure()
    with open(DATA, encoding="utf-8") as file:
        picture = draw(json.load(file))
    with open(PICTURE, "w", encoding="utf-8") as file:
        file.write(picture)


if __name__ == "__main__":
    main()
