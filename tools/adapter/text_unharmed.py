#!/usr/bin/env python3
"""Shows that conversations without a picture are those of the language model alone, to the last bit.

    python tools/adapter/text_unharmed.py

Asks a server with the adapter and one without the same: log-probabilities of texts and greedy answers over two turns,
alone and beside conversations about a picture. Ends with 1 if anything differs.
"""
import argparse
import concurrent.futures
import math
import pathlib

from held_out import conversation
from painter import Painter
from serving import Client, Server, server_arguments, server_of

LICENCES = pathlib.Path("/usr/share/common-licenses")  # Debian's
TEXTS = ("GPL-3", "LGPL-2.1", "GFDL-1.3")
WINDOW, STEP, WINDOWS = 1500, 5000, 4  # characters, half of each window scored
CHATS = [["What is gravity?", "Who found that out?"], ["Where is the capital of France?", "How many people live there?"],
         ["Describe the image in detail.", "What color is the background?"], ["Count from one to ten.", "And backwards?"],
         ["Write a poem about a cat and a dog.", "What is to the left of the cat?"]]


def asked(target, pictures):
    """Everything that is to be the same"""
    client = Client(target)
    scored = []
    for name in TEXTS:
        text = (LICENCES / name).read_text()
        for start in range(STEP, STEP * (WINDOWS + 1), STEP):
            half = start + WINDOW // 2
            scored.append(client.score(text[start:half], text[half:start + WINDOW]))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        chats = [pool.submit(client.converse, [], chat) for chat in CHATS]
        for picture in pictures:
            pool.submit(client.converse, [picture], ["What is in the picture?", "And where?"])
        answers = [[text for text, _ in chat.result()] for chat in chats]
    return scored, answers


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    server_arguments(parser)
    args = parser.parse_args()
    weights = ["--weights", "f32"]  # the same answers whatever runs beside them
    painter = Painter()
    pictures = [conversation("new", index).pictures(painter)[0] for index in range(3)]
    with server_of(args, *weights) as target:
        seeing = asked(target, pictures)
    with Server(args.build, [*args.server_flags.split(), *weights, "--vision", "none"]) as target:
        blind = asked(target, [])
    logprobs = [value for window in blind[0] for value in window]
    perplexity = math.exp(-sum(logprobs) / len(logprobs))
    print(f"{len(logprobs)} tokens scored, perplexity {perplexity:.4f}; {sum(map(len, CHATS))} answers")
    if seeing != blind:
        raise SystemExit("the adapter changes text")
    print("the same to the last bit with the adapter and without")


if __name__ == "__main__":
    main()
