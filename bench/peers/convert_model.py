#!/usr/bin/env python3
"""Writes the weights of a GGUF file as a bf16 folder that transformers loads: the same numbers.

usage: convert_model.py FILE.gguf FOLDER
"""

import os
import shutil
import sys

import torch
import transformers


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, folder = sys.argv[1:]
    model = transformers.AutoModelForCausalLM.from_pretrained(
        os.path.dirname(os.path.abspath(source)), gguf_file=os.path.basename(source),
        dtype=torch.bfloat16, local_files_only=True)
    part = folder + ".part"
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(part)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)


if __name__ == "__main__":
    main()
