"""Stage 1: teaches the tower and the projector to spell scenes (spelling.py), without the language model's layers.

    MALLOC_MMAP_MAX_=0 python tools/adapter/train_tower.py --work build/adapter --minutes 40
"""
import random
import time

import numpy as np
import torch
import torch.nn.functional as F

from painter import Painter
from spelling import spell
from training import (Average, common_arguments, language_embedding, pixels_of, save_checkpoint, schedule, start_ranks,
                      tokenizer, average_gradients)
from spelling import entry_embeddings
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
    steps, opts, average, began = 0, optimizers(eye, args.rate), Average(), time.time()
    while True:
        rate = schedule(args, began, steps, warmup=100)
        if rate is None:
            break
        for optimizer in opts:
            for group in optimizer.param_groups:
                group["lr"] = args.rate * rate
        pixels, wanted = batch(painter, rng, noise, args.batch)
        with torch.autocast("cpu", torch.bfloat16):
            tokens = eye(pixels)
        loss, distance, right = spelling_loss(tokens, wanted, entries)
        for optimizer in opts:
            optimizer.zero_grad(set_to_none=True)
        (loss + distance).backward()
        average_gradients(args, eye.parameters())
        torch.nn.utils.clip_grad_norm_(eye.parameters(), 1.)
        for optimizer in opts:
            optimizer.step()
        steps += 1
        average.add(loss=loss, distance=distance, right=right)
        if args.rank == 0 and steps % 25 == 0:
            pace = steps * args.batch * args.ranks / (time.time() - began)
            print(steps, average, f"pictures/s {pace:.1f} minute {(time.time() - began) / 60:.1f}", flush=True)
        if args.rank == 0 and steps % 200 == 0:
            save_checkpoint(path, eye=eye.state_dict())
    if args.rank == 0:
        save_checkpoint(path, eye=eye.state_dict())


if __name__ == "__main__":
    main()
