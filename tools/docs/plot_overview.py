#!/usr/bin/env python3
"""Draws docs/images/overview.svg, the README's picture, from measured numbers alone.

Both panels show docs/images/overview.json: conversations (see measure_overview.py), and perplexity over
the full cache's by policy and budget, one run of the command named there per point.

    tools/docs/plot_overview.py
"""

import base64
import json
import math
import os
from xml.sax.saxutils import escape

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DATA = "docs/images/overview.json"
PICTURE = "docs/images/overview.svg"

WIDTH, HEIGHT = 975, 400
INK, FAINT, GRID = "#1f2328", "#59636e", "#d1d9e0"
SAME, OTHER = "#1a7f37", "#bc4c00"
# Row of the table, colour; in the order of the legend.
SERIES = (("elastic", "#8c959f"), ("elastic, pure sink", "#8250df"), ("concertina", "#0969da"))


def text(x, y, content, size=12, colour=INK, anchor="start", weight="normal"):
    return (f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{escape(content)}</text>')


def rect(x, y, width, height, fill):
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}" rx="2"/>'


def line(x1, y1, x2, y2, colour=GRID):
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}"/>'


def size_text(count):
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.0f} KiB"


def conversation_row(conversation, full, top):
    """One bar and, under it, whether each answer has the words of the full cache's."""
    left, scale = 250, 220 / full["turns"][-1]["used_bytes"]
    used = conversation["turns"][-1]["used_bytes"]
    is_full = conversation["policy"] == "full"
    label = "full cache" if is_full else f'budget {conversation["budget"]}'
    parts = [text(left - 10, top + 15, label, 13, INK, "end", "bold"),
             rect(left, top, used * scale, 20, "#8c959f" if is_full else "#0969da"),
             text(left + used * scale + 8, top + 15, size_text(used), 13)]
    names = ("describe", "where", "how many")
    for i, (name, turn, reference) in enumerate(zip(names, conversation["turns"], full["turns"])):
        same = turn["answer"] == reference["answer"]
        words = name if is_full else f'{name}: {"same" if same else "differs"}'
        colour = FAINT if is_full else SAME if same else OTHER
        parts.append(text(left + i * 108, top + 37, words, 12, colour))
    return parts


def left_panel(data):
    with open(os.path.join(ROOT, data["image"]), "rb") as file:
        image = base64.b64encode(file.read()).decode()
    full = data["conversations"][0]
    parts = [text(20, 30, "One picture, three questions: cache after the last answer", 15, weight="bold"),
             text(20, 50, f'bundled model, {data["weight_type"]}; answers against the full cache\'s', 12, FAINT),
             f'<image x="20" y="80" width="120" height="120" href="data:image/png;base64,{image}"/>']
    parts += [text(20, 222 + 18 * i, words, 12, FAINT)
              for i, words in enumerate(("Describe the image", "in detail.", "Where is the carrot?", "How many carrots",
                                         "are there?"))]
    for i, conversation in enumerate(data["conversations"]):
        parts += conversation_row(conversation, full, 78 + 62 * i)
    return parts


def right_panel(rows):
    left, right, top, bottom = 635, 915, 78, 340
    def x(budget): return left + (budget - 0.1) / 0.6 * (right - left)
    def y(value): return bottom - math.log(value) / math.log(16) * (bottom - top)
    parts = [text(600, 30, "Perplexity ÷ the full cache's, by budget", 15, weight="bold"),
             text(600, 50, "text prompts, folded after the prompt, f32; 1 is no loss", 12, FAINT)]
    for value in (1, 2, 4, 8, 16):
        parts += [line(left, y(value), right, y(value)),
                  text(left - 10, y(value) + 4, str(value), 12, FAINT, "end")]
    for budget in (0.1, 0.2, 0.3, 0.5, 0.7):
        parts.append(text(x(budget), bottom + 20, f"{budget:g}", 12, FAINT, "middle"))
    parts.append(text((left + right) / 2, bottom + 42, "budget: share of the tokens seen", 12, FAINT, "middle"))
    for i, (name, colour) in enumerate(SERIES):
        points = [(x(float(budget)), y(value)) for budget, value in rows[name].items()]
        path = " ".join(f"{px:g},{py:g}" for px, py in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts += [f'<circle cx="{px:g}" cy="{py:g}" r="3.5" fill="{colour}"/>' for px, py in points]
        parts.append(text(right, top + 20 * (i + 1), name, 13, colour, "end", "bold"))
    return parts


def main():
    with open(os.path.join(ROOT, DATA), encoding="utf-8") as file:
        data = json.load(file)
    body = "\n".join([*left_panel(data), *right_panel(data["perplexity_ratio"]["rows"])])
    with open(os.path.join(ROOT, PICTURE), "w", encoding="utf-8") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
                   f'height="{HEIGHT}" font-family="DejaVu Sans, Verdana, Arial, sans-serif">\n'
                   f'{rect(0, 0, WIDTH, HEIGHT, "#ffffff")}\n{body}\n</svg>\n')


if __name__ == "__main__":
    main()
