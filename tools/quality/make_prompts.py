#!/usr/bin/env python3
"""Writes the prompts of the quality test to stdout; see README.md. Needs a running server."""

import argparse
import json
import os
import pathlib
import sys

from command_line import CommandLine

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ANSWER_TOKENS = 97  # the first is given, 96 are scored
SYSTEM = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n"
)
USER, ASSISTANT = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"


class Server(CommandLine):
    def tokenize(self, text):
        return self.call("tokenize", "--allow-special", "--", text)

    def ids(self, text):
        return self.tokenize(text)["ids"]

    def greedy_answer(self, question):
        flags = ["--policy", "full", "--budget", "1", "--max-tokens", str(ANSWER_TOKENS)]
        return self.call("ask", *flags, "--", question)["token_ids"]


def head(server, text, tokens):
    """The first so many tokens of a text, as text."""
    return "".join(server.tokenize(text)["pieces"][:tokens])


def prose(server, source, text, prompt_tokens=440):
    ids = server.ids(text)
    answer = ids[prompt_tokens : prompt_tokens + ANSWER_TOKENS]
    return {"task": "prose", "src": source, "prompt": ids[:prompt_tokens], "ans": answer}


def copy(server, source, text, start, text_tokens=420, quote_tokens=10):
    """Asks for the text from a given quotation on; the answer is what follows the quotation."""
    pieces = server.tokenize(text)["pieces"][:text_tokens]
    while not pieces[start].startswith(" "):
        start += 1
    end = start + quote_tokens
    quote = "".join(pieces[start:end]).strip()
    question = (
        f"Here is a text:\n\n{''.join(pieces)}\n\n"
        f'Repeat the text above word for word, starting from "{quote}".'
    )
    prompt = server.ids(SYSTEM + USER + question + ASSISTANT + quote)
    answer = server.ids("".join(pieces[end:]))[:ANSWER_TOKENS]
    return {"task": "copy", "src": source, "prompt": prompt, "ans": answer}


def own_answer(server, source, text, request, text_tokens=460):
    question = f"Here is a text:\n\n{head(server, text, text_tokens)}\n\n{request}"
    prompt = server.ids(SYSTEM + USER + question + ASSISTANT)
    return {
        "task": "self",
        "src": source,
        "prompt": prompt,
        "ans": server.greedy_answer(question)[:ANSWER_TOKENS],
    }


def make(server):
    texts = {file.stem: file.read_text() for file in sorted((HERE / "texts").glob("*.txt"))}
    license_text = " ".join((ROOT / "LICENSE").read_text().split())
    grant = license_text[license_text.index("2. Grant of Copyright License") :]
    yield prose(server, "accordion", texts["accordion"])
    yield prose(server, "tide", texts["tide"])
    yield copy(server, "LICENSE", grant, start=120)
    yield copy(server, "tide", texts["tide"], start=200)
    yield own_answer(
        server, "accordion", texts["accordion"], "Summarize the text above in a few sentences."
    )
    yield own_answer(
        server, "LICENSE", grant, "Explain the text above in simple words for a beginner."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default=os.environ.get("CONCERTINA_TARGET", "127.0.0.1:50051"))
    parser.add_argument("--program", default=str(ROOT / "build/release/client/concertina"))
    options = parser.parse_args()
    server = Server(options.program, options.target)
    prompts = [dict(prompt, i=i) for i, prompt in enumerate(make(server))]
    for prompt, scored in zip(prompts, server.score(prompts)):
        prompt["full_nll"] = round(scored["full_nll"], 5)
    lines = ",\n".join(json.dumps(prompt, separators=(",", ":")) for prompt in prompts)
    sys.stdout.write(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
