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
    parser.add_argument("--ranks", type=int, default=1, help="data-parallel processes; this one is $RANK")
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


def schedule(args, began, steps, warmup):
    """The rate's factor now, the same in every rank; None at the end."""
    part = (time.time() - began) / (args.minutes * 60)
    if args.ranks > 1:
        shared = torch.tensor([part])
        torch.distributed.broadcast(shared, 0)
        part = shared.item()
    if part >= 1:
        return None
    falling = 1 if part < 1 - args.decay else max(.02, (1 - part) / args.decay)
    return min(1, (steps + 1) / warmup) * falling


def average_gradients(args, parameters):
    if args.ranks == 1:
        return
    with_gradient = [p for p in parameters if p.grad is not None]
    flat = torch.cat([p.grad.flatten() for p in with_gradient])
    torch.distributed.all_reduce(flat)
    flat /= args.ranks
    for p, gradient in zip(with_gradient, flat.split([p.numel() for p in with_gradient])):
        p.grad.copy_(gradient.view_as(p))


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
