#!/usr/bin/env python3
"""Measures what the server answers about held-out pictures: exact match by kind of question, and objects in captions.

    python tools/adapter/evaluate.py --out build/adapter/evaluation
    python tools/adapter/evaluate.py --out build/adapter/folded --policy concertina --budget 0.2 --per-kind 200

Greedy, through gRPC, with many conversations at once, every picture in one conversation only. Writes answers.jsonl (all
answers, in order of arrival; an existing one is continued), summary.json and summary.md.
"""
import argparse
import concurrent.futures
import hashlib
import json
import pathlib
import sys
import threading
import time

from held_out import ABSENT, LATER, SETS, conversation, detail_of, kinds_of
from painter import Painter
from scores import compare_objects, share
from serving import BUNDLED_VISION, Client, server_arguments, server_of


class Answers:
    """answers.jsonl: whole conversations only. Thread-safe."""

    def __init__(self, path, settings):
        self.path, self.lock, self.rows = path, threading.Lock(), []
        if path.exists():
            kept, *lines = path.read_text().splitlines()
            if json.loads(kept) != settings:
                raise SystemExit(f"{path} was made with {kept}, not with {json.dumps(settings)}")
            self.rows = [row for line in lines for row in _whole(line)]
        lines = [json.dumps(settings)] + [json.dumps(row, ensure_ascii=False) for row in self.rows]
        path.write_text("\n".join(lines) + "\n")
        self.file = path.open("a")

    def add(self, rows):
        with self.lock:
            self.rows.append(rows)
            self.file.write(json.dumps(rows, ensure_ascii=False) + "\n")
            self.file.flush()

    def done(self):
        return {rows[0]["id"].rpartition("/")[0] for rows in self.rows}


def _whole(line):
    """A line's conversation, unless a stop cut it."""
    try:
        return [json.loads(line)]
    except json.JSONDecodeError:
        return []


def graded(talk, answers):
    rows = []
    for turn, ((kind, question, expected), (answer, cache)) in enumerate(zip(talk.turns, answers), 1):
        row = dict(id=f"{talk.name}/{turn}", turn=turn, kind=kind, detail=detail_of(kind, expected),
                   objects=sum(len(scene.things) for scene in talk.scenes), question=question, expected=expected, answer=answer,
                   right=answer.strip() == expected, used_bytes=cache.used_bytes, full_bytes=cache.full_bytes)
        if kind == "caption":
            row["named"] = compare_objects(answer, expected)
        rows.append(row)
    return rows


class Run:
    """The conversations that are not answered yet, several at once, with a line of progress."""

    def __init__(self, client, answers, wanted, seed):
        self.client, self.answers, self.seed = client, answers, seed
        done = answers.done()
        self.wanted = [(name, index) for name, index in wanted if f"{name}/{index}" not in done]
        self.total = sum(len(kinds_of(*each)) for each in self.wanted)
        self.painter, self.painting = Painter(), threading.Lock()
        self.begun, self.shown = time.time(), 0.
        self.asked = self.right = 0

    def one(self, name, index):
        talk = conversation(name, index, self.seed)
        with self.painting:
            pictures = talk.pictures(self.painter)
        rows = graded(talk, self.client.converse(pictures, [turn[1] for turn in talk.turns]))
        self.answers.add(rows)
        with self.answers.lock:
            self.asked += len(rows)
            self.right += sum(row["right"] for row in rows)
            self.progress()

    def progress(self, last=False):
        now = time.time()
        if not last and now - self.shown < 5:
            return
        self.shown = now
        left = (now - self.begun) / max(1, self.asked) * (self.total - self.asked) / 60
        print(f"\r{self.asked}/{self.total} questions, {self.right / max(1, self.asked):.3f} right, {left:.0f} minutes "
              "left ", end="\n" if last else "", file=sys.stderr, flush=True)

    def all(self, threads):
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            futures = [pool.submit(self.one, *each) for each in self.wanted]
            try:
                for future in concurrent.futures.as_completed(futures):
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        self.progress(last=True)


def _rights(rows):
    return share(sum(row["right"] for row in rows), len(rows))


def _objects(rows):
    hit, said, there = (sum(row["named"][part] for row in rows) for part in range(3))
    return dict(recall=share(hit, there), precision=share(hit, said))


def _figures(rows, kinds):
    """Of one set, of first or of later questions."""
    by_kind = {kind: [row for row in rows if row["kind"] == kind] for kind in kinds}
    details = {}
    for kind, mine in by_kind.items():
        for detail in sorted({row["detail"] for row in mine} - {""}):
            details[f"{kind}: {detail}"] = _rights([row for row in mine if row["detail"] == detail])
    out = dict(kinds={kind: _rights(mine) for kind, mine in by_kind.items()}, details=details,
               all=_rights([row for row in rows if row["kind"] != ABSENT]))
    if "count" in kinds:
        few = [row for row in by_kind["count"] if row["detail"] not in ("five", "six")]
        out |= dict(count_up_to_four=_rights(few), caption_objects=_objects(by_kind["caption"]))
    return out


def summary(rows, settings, model):
    out = dict(settings=settings, model=model)
    for name, kinds in SETS.items():
        mine = [row for row in rows if row["id"].startswith(name + "/")]
        if mine:
            later = [row for row in mine if row["turn"] > 1]
            out[name] = dict(first=_figures([row for row in mine if row["turn"] == 1], kinds),
                             later=_figures(later, kinds),
                             by_turn={turn: _rights([r for r in mine if r["turn"] == turn])
                                      for turn in range(1, LATER + 2)},
                             by_objects={n: _rights([r for r in mine if r["objects"] == n])
                                         for n in sorted({r["objects"] for r in mine})},
                             used_share=sum(r["used_bytes"] for r in mine) / sum(r["full_bytes"] for r in mine))
    return out


def _cell(value):
    if not value["total"]:
        return "–"
    return f"{100 * value['share']:.1f} ({100 * value['low']:.1f}–{100 * value['high']:.1f}), {value['total']}"


def _lines(figures):
    """label -> share, in the order of the table"""
    out = dict(figures["kinds"])
    if "caption_objects" in figures:
        objects = figures["caption_objects"]
        out |= {"count up to four": figures["count_up_to_four"], "caption objects, recall": objects["recall"],
                "caption objects, precision": objects["precision"]}
    return {**out, f"all but {ABSENT}" if ABSENT in out else "all": figures["all"]}


def _table(found, names, lines_of):
    """Sets side by side; first of their kinds' figures, or of the right answers'"""
    columns = [(name, part) for name in names for part in ("first", "later")]
    lines = [lines_of(found[name][part]) for name, part in columns]
    table = ["| question | " + " | ".join(f"{name}, {part}" for name, part in columns) + " |",
             "|---" * (len(columns) + 1) + "|"]
    for label in dict.fromkeys(label for column in lines for label in column):
        cells = [_cell(column[label]) if label in column else "–" for column in lines]
        table.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(table) + "\n"


def markdown(found):
    text = ["Percent right with 95 % interval, and how many; first: the question that comes with the picture, later: the "
            "three after it.\n"]
    one, two = [name for name in ("new", "held") if name in found], [name for name in ("two",) if name in found]
    text += [_table(found, names, _lines) for names in (one, two) if names]
    text += ["By what the right answer is:\n"]
    text += [_table(found, names, lambda figures: figures["details"]) for names in (one, two) if names]
    return "\n".join(text)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--target", help="HOST:PORT of a running server; default: one is started")
    server_arguments(parser)
    parser.add_argument("--policy", default="full")
    parser.add_argument("--budget", default="", help="0.2, 256t or 64MiB; default: the server's")
    parser.add_argument("--pure-sink", action="store_true")
    parser.add_argument("--per-kind", type=int, default=1002, help="first questions of each kind about new layouts, and "
                        "as many later ones (rounded up to threes)")
    parser.add_argument("--held", type=int, help="the same about held-out pairs; default: a third of it")
    parser.add_argument("--two", type=int, help="the same about two pictures; default: a third of it")
    parser.add_argument("--threads", type=int, default=12, help="conversations at once")
    parser.add_argument("--seed", type=int, default=0, help="other pictures and questions; never those of training")
    return parser.parse_args()


def measure(args, answers, target, settings):
    client = Client(target, args.policy, args.budget, args.pure_sink)
    third = args.per_kind // 3
    asked = dict(new=args.per_kind, held=third if args.held is None else args.held,
                 two=third if args.two is None else args.two)
    counts = {name: -(-count // LATER) * LATER * len(SETS[name]) for name, count in asked.items()}
    wanted = [(name, index) for name, count in counts.items() for index in range(count)]
    wanted.sort(key=lambda each: (each[1] / counts[each[0]], each[0]))  # all sets at once
    Run(client, answers, wanted, args.seed).all(args.threads)
    model = client.model()
    names = {f"{name}/{index}" for name, index in wanted}
    rows = [row for talk in answers.rows for row in talk if row["id"].rpartition("/")[0] in names]
    about = dict(name=model.name, weights=model.weight_type, image_tokens=model.image_tokens, device=model.device)
    return summary(rows, settings, about)


def adapter_digest(args):
    path = pathlib.Path(args.vision or BUNDLED_VISION, "adapter.safetensors")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main():
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    settings = dict(policy=args.policy, budget=args.budget, pure_sink=args.pure_sink, seed=args.seed,
                    server=args.target or args.server_flags, adapter_sha256=None if args.target else adapter_digest(args))
    answers = Answers(args.out / "answers.jsonl", settings)
    if args.target:
        found = measure(args, answers, args.target, settings)
    else:
        with server_of(args) as target:
            found = measure(args, answers, target, settings)
    (args.out / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    (args.out / "summary.md").write_text(markdown(found))
    print(markdown(found))


if __name__ == "__main__":
    main()
