"""Stage 2: teaches the language model's low-rank adapter to answer questions about pictures.

    MALLOC_MMAP_MAX_=0 python tools/adapter/train_language.py --work build/adapter --sight oracle --minutes 30
    MALLOC_MMAP_MAX_=0 python tools/adapter/train_language.py --work build/adapter --minutes 60

With `--sight oracle` image tokens are what the tower is taught to say, plus noise: the adapter can be trained beside
the tower. With `--sight follow` they come from the tower that another process is training, as it is on disk. With
`--sight tower` they come from the tower, which is trained on, by the language model's own loss.
"""
import pathlib
import random
import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import pairs
from lanes import IGNORED, Packer
from language import HIDDEN_PARTS, Language
from painter import Painter
from questions import KINDS, questions
from spelling import TOKENS, entry_embeddings, spell
from tower import Eye, load_hub_names
from train_tower import spelling_loss
from training import (Average, Clock, common_arguments, language_embedding, language_state, pixels_of, save_checkpoint,
                      start_ranks, tokenizer)
from world import make_scene

TURNS = range(1, 5)
TURN_SHARES = [.55, .2, .15, .1]


class Teacher:
    """Draws batches and computes losses."""

    def __init__(self, args):
        tokenize = tokenizer(args.work)
        self.args = args
        self.language = Language(language_state(args.work))
        self.eye = Eye()
        self.entries = entry_embeddings(language_embedding(args.work), tokenize)
        self.packer = Packer(tokenize, lanes=args.lanes)
        self.painter = Painter()
        self.seen = None  # when the tower on disk was written

    def draw(self, size, rng, noise, pictures=1):
        """`size` conversations about one or two pictures -> filled lanes, pixels, what the tokens should say"""
        if pictures == 1:
            subjects, ask = [make_scene(rng) for _ in range(size)], questions
            scenes = subjects
        else:
            subjects, ask = [pairs.make_pair(rng) for _ in range(size)], pairs.questions
            scenes = [scene for first, second, _ in subjects for scene in (first, second)]
        rows = [self.packer.fill(lambda s=subject: ask(s, rng, rng.choices(TURNS, TURN_SHARES)[0]))
                for subject in subjects]
        return rows, *self.show(scenes, noise)

    def show(self, scenes, noise):
        """-> pixels (None for the oracle), what the tokens should say"""
        wanted = torch.from_numpy(np.stack([spell(scene) for scene in scenes]))
        pixels = None if self.args.sight == "oracle" else pixels_of([self.painter.render(s, noise) for s in scenes])
        return pixels, wanted

    def oracle(self, wanted, noisy=True):
        """Image tokens as a good tower would give them: a few wrong ones, others off by a little."""
        if not noisy:
            return self.entries[wanted]
        wrong = torch.rand(wanted.shape) < .03 * torch.rand(len(wanted), 1)
        tokens = self.entries[torch.where(wrong, torch.randint(len(self.entries), wanted.shape), wanted)]
        spread = tokens.square().mean().sqrt() * .4 * torch.rand(len(wanted), 1, 1)
        return tokens * (1 + .1 * torch.randn(*wanted.shape, 1)) + spread * torch.randn_like(tokens)

    def hidden(self, rows, image):
        """-> hidden states that predict, what they should predict, which conversation"""
        ids, labels, offsets, branches = self.packer.batch(rows)
        batch = len(rows)
        start, places = self.packer.prefix(len(image) // batch)
        words = F.embedding(torch.tensor(start), self.language.embedding).repeat(batch, 1, 1)
        words[:, places] = image.float().reshape(batch, len(places), -1)
        x = torch.cat([words, F.embedding(ids.flatten(1), self.language.embedding)], 1)
        positions = torch.cat([torch.arange(len(start)).expand(batch, -1), offsets.flatten(1) + len(start)], 1)
        dropped = self.evicted(batch, len(start), places) if torch.is_grad_enabled() else None
        hidden = self.language(x, positions, len(start), branches, dropped)[:, len(start):].view(*ids.shape, -1)
        target = F.pad(labels[..., 1:], (0, 1), value=IGNORED)
        return hidden, target, branches

    def evicted(self, batch, prefix, places):
        """bool [batch, lanes, prefix]: image tokens that a lane must answer without, up to 70 % in a share of the lanes,
        so that answers do not hang on single entries of the cache"""
        share = .7 * torch.rand(batch, self.args.lanes, 1) * (torch.rand(batch, self.args.lanes, 1) < self.args.drop)
        dropped = torch.zeros(batch, self.args.lanes, prefix, dtype=torch.bool)
        dropped[..., places] = torch.rand(batch, self.args.lanes, len(places)) < share
        return dropped

    def answer_loss(self, rows, image):
        """Cross-entropy of the answers, each weighted by the root of its length; share of right tokens"""
        hidden, target, branches = self.hidden(rows, image)
        asked = target != IGNORED
        logits, wanted = self.language.head(hidden[asked]).float(), target[asked]
        who = (torch.arange(len(rows))[:, None, None] * 1000 + branches)[asked]
        _, inverse, counts = who.unique(return_inverse=True, return_counts=True)
        weight = counts.float()[inverse] ** -.5
        loss = F.cross_entropy(logits, wanted, reduction="none")
        return (loss * weight).sum() / weight.sum(), (logits.argmax(-1) == wanted).float().mean()

    @torch.no_grad()
    def evaluate(self, scenes, seed=999, size=4):
        """Share of answers right to the last token given the right ones before, by kind."""
        rng, noise = random.Random(seed), np.random.default_rng(seed)
        right, total = dict.fromkeys(KINDS + pairs.KINDS, 0), dict.fromkeys(KINDS + pairs.KINDS, 0)
        for batch in range(scenes // size):
            rows, pixels, wanted = self.draw(size, rng, noise, 1 + (batch % 4 == 3 and self.args.pairs > 0))
            hidden, target, branches = self.hidden(rows, self.see(pixels, wanted, noisy=False))
            asked = target != IGNORED
            good = torch.ones_like(asked)
            good[asked] = self.language.head(hidden[asked]).argmax(-1) == target[asked]
            for row, ok, need, who in zip(rows, good, asked, branches):
                self._count(row[4], ok, need, who, right, total)
        shares = {kind: round(right[kind] / total[kind], 2) for kind in total if total[kind]}
        return {**shares, "all": round(sum(right.values()) / sum(total.values()), 3)}

    @staticmethod
    def _count(conversations, ok, need, who, right, total):
        for index, turns in enumerate(conversations):
            mine = who == index
            answers, fine = need[mine].tolist(), ok[mine].tolist()
            place = 0
            for kind, _, _ in turns:
                while not answers[place]:
                    place += 1
                all_right = True
                while answers[place]:
                    all_right = all_right and fine[place]
                    place += 1
                total[kind] += 1
                right[kind] += all_right

    def see(self, pixels, wanted, noisy=True):
        if self.args.sight == "oracle":
            return self.oracle(wanted, noisy)
        with torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(
                self.args.sight == "tower" and torch.is_grad_enabled()):
            return self.eye(pixels)

    def follow(self):
        path = self.args.work / "tower.pt"
        written = path.stat().st_mtime
        if written != self.seen:
            self.seen = written
            self.eye.load_state_dict(torch.load(path)["eye"])

    def loss(self, rng, noise, average):
        args = self.args
        pictures = 1 + (rng.random() < args.pairs)
        rows, pixels, wanted = self.draw(args.batch, rng, noise, pictures)
        if args.sight != "tower":
            if args.sight == "follow":
                self.follow()
            loss, right = self.answer_loss(rows, self.see(pixels, wanted))
            average.add(loss=loss, right=right)
            return loss
        if args.extra:
            more = self.show([make_scene(rng) for _ in range(args.extra)], noise)
            pixels, wanted = torch.cat([pixels, more[0]]), torch.cat([wanted, more[1]])
        tokens = self.see(pixels, wanted)
        spelling, distance, spelled = spelling_loss(tokens, wanted, self.entries)
        loss, right = self.answer_loss(rows, tokens[:args.batch * pictures])
        average.add(loss=loss, right=right, spelling=spelling, spelled=spelled)
        return loss + args.spelling * (spelling + distance)


def main():
    parser = common_arguments(__doc__)
    parser.add_argument("--sight", choices=["tower", "follow", "oracle"], default="tower")
    parser.add_argument("--batch", type=int, default=3, help="pictures a step and rank")
    parser.add_argument("--lanes", type=int, default=3, help="of 128 tokens a picture")
    parser.add_argument("--extra", type=int, default=12, help="more pictures a step and rank, for the tower alone")
    parser.add_argument("--pairs", type=float, default=.0, help="share of steps about two pictures")
    parser.add_argument("--drop", type=float, default=.3, help="share of lanes that lose some image tokens")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--eye-rate", type=float, default=3e-4)
    parser.add_argument("--spelling", type=float, default=1., help="weight of the spelling loss")
    parser.add_argument("--init", type=pathlib.Path, help="folder of an export to start from when there is no checkpoint")
    parser.add_argument("--scenes", type=int, default=24, help="pictures of an evaluation")
    parser.add_argument("--evaluate", type=float, default=6, help="minutes between evaluations")
    args = parser.parse_args()
    start_ranks(args)
    teacher = Teacher(args)
    path, tower = args.work / "language_adapter.pt", args.work / "tower.pt"
    if path.exists():
        teacher.language.load_state_dict(torch.load(path)["adapter"])
    elif args.init:
        start_from(teacher, load_file(args.init / "adapter.safetensors"), tower)
    if args.sight != "oracle":
        teacher.follow()
    train(args, teacher, path, tower)


def start_from(teacher, tensors, tower):
    """Takes the weights that export.py wrote, and the tower as a checkpoint."""
    load_hub_names(teacher.eye, tensors)
    save_checkpoint(tower, eye=teacher.eye.state_dict())
    for index, block in enumerate(teacher.language.blocks):
        for part in HIDDEN_PARTS:
            name = f"language_model.model.layers.{index}.self_attn.{part}_proj."
            block.lora_A[part].data.copy_(tensors[name + "lora_A.weight"])
            block.lora_B[part].data.copy_(tensors[name + "lora_B.weight"])


def train(args, teacher, path, tower):
    adamw = dict(betas=(.9, .98), weight_decay=.01)
    opts = [torch.optim.AdamW(teacher.language.parameters(), lr=args.rate, **adamw)]
    rates = [args.rate, args.eye_rate]
    if args.sight == "tower":
        opts.append(torch.optim.AdamW(teacher.eye.parameters(), lr=args.eye_rate, **adamw))
    clock = Clock(args, [p for o in opts for g in o.param_groups for p in g["params"]], warmup=30)
    rng, noise = random.Random(args.seed), np.random.default_rng(args.seed)
    average, evaluated = Average(), time.time()

    def save():
        save_checkpoint(path, adapter=teacher.language.state_dict())
        if args.sight == "tower":
            save_checkpoint(tower, eye=teacher.eye.state_dict())

    while (factor := clock.factor()) is not None:
        for optimizer, rate in zip(opts, rates):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.zero_grad(set_to_none=True)
        teacher.loss(rng, noise, average).backward()
        for optimizer in opts:
            torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], 1.)
            optimizer.step()
        clock.step()
        if clock.steps % 10 == 0:
            print(clock.steps, average, clock.pace(args.batch), flush=True)
        if args.rank == 0 and clock.steps % 30 == 0:
            save()
        if args.rank == 0 and time.time() - evaluated > args.evaluate * 60:
            print("evaluated", teacher.evaluate(args.scenes), flush=True)
            evaluated = time.time()
    if args.rank == 0:
        save()
        print("evaluated", teacher.evaluate(4 * args.scenes), flush=True)


if __name__ == "__main__":
    main()
