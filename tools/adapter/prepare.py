"""Writes what training needs of the language model into a folder: its weights in f32 and its tokenizer.

    python tools/adapter/prepare.py --gguf .models/SmolLM2-135M-Instruct.Q4_1.gguf --work build/adapter
"""
import argparse
import pathlib

import torch


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    args = parser.parse_args()
    from transformers import AutoModelForCausalLM, AutoTokenizer
    source = dict(pretrained_model_name_or_path=str(args.gguf.parent), gguf_file=args.gguf.name)
    tokenizer = AutoTokenizer.from_pretrained(**source)
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    args.work.mkdir(parents=True, exist_ok=True)
    state = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}
    torch.save(state, args.work / "language.pt")
    tokenizer.save_pretrained(args.work / "language")
    print(f"{sum(v.numel() for v in state.values()) / 1e6:.1f} M parameters in {args.work}")


if __name__ == "__main__":
    main()
