"""Stage 1: teaches the tower and the projector to spell scenes (spelling.py), without the language model's layers.

    MALLOC_MMAP_MAX_=0 python tools/adapter/train_tower.py --work build/adapter --minutes 40
"""
import random

import numpy as np
import torch
import torch.nn.functional as F

from painter import Painter
from spelling import entry_embeddings, spell
from training import (Average, Clock, common_arguments, language_embedding, pixels_of, save_checkpoint, start_ranks,
                      tokenizer)
from tower import Eye, load_hub_names
from world import make_scene

TEMPERATURE = 12.  # of the cosine between a token and what it could say


def spelling_loss(tokens, wanted, entries):
    """Cross-entropy of the nearest entry, and distance to the right one; -> loss, share of right tokens"""
    unit = F.normalize(entries, dim=-1)
    flat = tokens.float().flatten(0, 1)
    logits = TEMPERATURE * F.normalize(flat, dim=-1).to(torch.bfloat16) @ unit.T.to(torch.bfloat16)
    target = wanted.flatten()
    loss = F.cross_entropy(logits.float(), target)
    right = entries[target]
    distance = (flat - right).square().mean(-1) / right.square().mean(-1)
    return loss, distance.mean(), (logits.argmax(-1) == target).float().mean()


def batch(painter, rng, noise, size):
    scenes = [make_scene(rng) for _ in range(size)]
    wanted = torch.from_numpy(np.stack([spell(scene) for scene in scenes]))
    return pixels_of([painter.render(scene, noise) for scene in scenes]), wanted


def optimizers(eye, rate):
    matrices = [p for n, p in eye.named_parameters() if p.ndim == 2 and "position" not in n]
    ids = {id(p) for p in matrices}
    rest = [p for p in eye.parameters() if id(p) not in ids]
    return [torch.optim.Muon(matrices, lr=rate, weight_decay=.05, momentum=.95, adjust_lr_fn="match_rms_adamw",
                             ns_steps=4),
            torch.optim.AdamW(rest, lr=rate, betas=(.9, .98), weight_decay=.01)]


def main():
    parser = common_arguments(__doc__)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--init", help="adapter.safetensors whose tower to start from")
    args = parser.parse_args()
    start_ranks(args)
    eye = Eye()
    if args.init:
        from safetensors.torch import load_file
        load_hub_names(eye, load_file(args.init))
    path = args.work / "tower.pt"
    if path.exists():
        eye.load_state_dict(torch.load(path)["eye"])
    entries = entry_embeddings(language_embedding(args.work), tokenizer(args.work))
    painter, rng, noise = Painter(), random.Random(args.seed), np.random.default_rng(args.seed)
    opts, average = optimizers(eye, args.rate), Average()
    clock = Clock(args, eye.parameters(), warmup=100)
    while (factor := clock.factor()) is not None:
        for optimizer in opts:
            for group in optimizer.param_groups:
                group["lr"] = args.rate * factor
            optimizer.zero_grad(set_to_none=True)
        pixels, wanted = batch(painter, rng, noise, args.batch)
        with torch.autocast("cpu", torch.bfloat16):
            tokens = eye(pixels)
        loss, distance, right = spelling_loss(tokens, wanted, entries)
        (loss + distance).backward()
        torch.nn.utils.clip_grad_norm_(eye.parameters(), 1.)
        for optimizer in opts:
            optimizer.step()
        clock.step()
        average.add(loss=loss, distance=distance, right=right)
        if clock.steps % 25 == 0:
            print(clock.steps, average, clock.pace(args.batch), flush=True)
        if args.rank == 0 and clock.steps % 100 == 0:
            save_checkpoint(path, eye=eye.state_dict())
    if args.rank == 0:
        save_checkpoint(path, eye=eye.state_dict())


if __name__ == "__main__":
    main()
