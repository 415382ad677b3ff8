"""What both stages of training share: arguments, the learning-rate schedule, data-parallel ranks, checkpoints."""
import argparse
import os
import pathlib
import time

import numpy as np
import torch


def common_arguments(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("build/adapter"),
                        help="folder of prepare.py, also for checkpoints; an existing one is resumed")
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--decay", type=float, default=.4, help="last part of the time, in which the rate falls to 2 %%")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ranks", type=int, default=1, help="processes that train together; this one is $RANK")
    parser.add_argument("--meet", type=float, default=60, help="seconds between averages of the ranks' parameters")
    return parser


def start_ranks(args):
    args.rank = int(os.environ.get("RANK", 0))
    if args.ranks > 1:
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        os.environ.setdefault("MASTER_PORT", "29533")
        torch.distributed.init_process_group("gloo", rank=args.rank, world_size=args.ranks)
    args.seed += 100000 * args.rank
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)


class Clock:
    """Time left, the rate's factor, and when ranks meet.

    Ranks train on their own pictures at their own pace, and every `--meet` seconds take the average of their
    parameters, weighted by the steps each has done since: cores that others use too do not hold up the rest.
    """

    def __init__(self, args, parameters, warmup):
        self.args, self.parameters, self.warmup = args, list(parameters), warmup
        self.steps, self.since = 0, 0
        if args.ranks > 1:
            with torch.no_grad():
                for parameter in self.parameters:
                    torch.distributed.broadcast(parameter, 0)
        self.began, self.met = time.time(), 0

    def part(self):
        return (time.time() - self.began) / (self.args.minutes * 60)

    def factor(self):
        """Of the learning rate; None at the end."""
        part = self.part()
        if part >= 1:
            self._meet_until(int(self.args.minutes * 60 / self.args.meet) + 1)
            return None
        falling = 1 if part < 1 - self.args.decay else max(.02, (1 - part) / self.args.decay)
        return min(1, (self.steps + 1) / self.warmup) * falling

    def step(self):
        self.steps += 1
        self.since += 1
        self._meet_until(int(min(self.part(), 1) * self.args.minutes * 60 / self.args.meet))

    def _meet_until(self, turn):
        """Every rank meets as often as the others, one that missed a turn makes up for it."""
        while self.met < turn:
            self.met += 1
            if self.args.ranks > 1:
                self._meet()

    @torch.no_grad()
    def _meet(self):
        total = torch.tensor([float(self.since)])
        torch.distributed.all_reduce(total)
        if total.item() == 0:
            return
        flat = torch.cat([p.flatten() for p in self.parameters]) * (self.since / total.item())
        torch.distributed.all_reduce(flat)
        for p, mean in zip(self.parameters, flat.split([p.numel() for p in self.parameters])):
            p.copy_(mean.view_as(p))
        self.since = 0

    def pace(self, pictures):
        seconds = time.time() - self.began
        return f"pictures/s {self.steps * pictures / seconds:.2f} minute {seconds / 60:.1f}"


def save_checkpoint(path, **parts):
    """Whole or not at all."""
    torch.save(parts, f"{path}.tmp")
    os.replace(f"{path}.tmp", path)


class Average:
    """Running averages to print."""

    def __init__(self):
        self.values = {}

    def add(self, **values):
        for name, value in values.items():
            value = float(value.detach())
            self.values[name] = .95 * self.values.get(name, value) + .05 * value

    def __str__(self):
        return " ".join(f"{name} {value:.3f}" for name, value in self.values.items())


def pixels_of(pictures):
    """uint8 pictures -> f32 [B, 3, H, W] in -1..1"""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def tokenizer(work):
    """text -> ids, special tokens of the chat template understood"""
    from transformers import AutoTokenizer
    inner = AutoTokenizer.from_pretrained(work / "language")
    return lambda text: inner(text, add_special_tokens=False).input_ids


def language_state(work):
    return torch.load(work / "language.pt", mmap=True)


def language_embedding(work):
    return language_state(work)["model.embed_tokens.weight"].float().clone()
