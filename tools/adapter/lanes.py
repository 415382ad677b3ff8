"""Packs conversations about a picture into the lanes that language.py trains on."""
import torch

from spelling import TOKENS

SYSTEM = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
USER, ASSISTANT, END = "<|im_start|>user\n", "<|im_start|>assistant\n", "<|im_end|>"
IGNORED = -100
PAD = 2


class Packer:
    """`tokenize`: text -> ids."""

    def __init__(self, tokenize, lane=128, lanes=3):
        self.tokenize, self.lane, self.lanes = tokenize, lane, lanes
        self.memory = {}

    def ids(self, text):
        if text not in self.memory:
            if len(self.memory) > 300000:
                self.memory.clear()
            self.memory[text] = self.tokenize(text)
        return self.memory[text]

    def prefix(self, pictures):
        """ids up to the first question, 0 in the places of image tokens; and those places"""
        ids, places = list(self.ids(SYSTEM + USER)), []
        for _ in range(pictures):
            places += range(len(ids), len(ids) + TOKENS)
            ids += [0] * TOKENS + self.ids("\n")
        return ids, places

    def conversation(self, turns):
        """turns [(kind, question, answer)] -> ids and what is to be predicted"""
        ids, labels = [], []
        for index, (_, question, answer) in enumerate(turns):
            asked = self.ids(("" if index == 0 else USER) + question + END + "\n" + ASSISTANT)
            answered, after = self.ids(answer + END), self.ids("\n")
            ids += asked + answered + after
            labels += [IGNORED] * len(asked) + answered + [IGNORED] * len(after)
        return ids, labels

    def fill(self, draw):
        """One row of lanes. `draw()` gives the turns of one conversation. -> ids, labels, offsets, branches, turns"""
        ids, labels, offsets, branches, kept = [], [], [], [], []
        for _ in range(self.lanes):
            row = [[], [], [], []]
            for _ in range(12):
                turns = draw()
                tokens, wanted = self.conversation(turns)
                if len(row[0]) + len(tokens) > self.lane:
                    continue
                for part, values in zip(row, (tokens, wanted, range(len(tokens)), [len(kept)] * len(tokens))):
                    part += values
                kept.append(turns)
            space = self.lane - len(row[0])
            for part, values, filler in zip((ids, labels, offsets, branches), row, (PAD, IGNORED, 0, -1)):
                part.append(values + [filler] * space)
        return ids, labels, offsets, branches, kept

    def batch(self, rows):
        """fill()'s rows -> tensors [B, lanes, lane] ids, labels, offsets, branches"""
        return [torch.tensor([row[part] for row in rows]) for part in range(4)]
