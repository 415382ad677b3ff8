"""Writes what the server loads, from the checkpoints: configuration, preprocessing, weights in bf16.

    python tools/adapter/export.py --work build/adapter --out models/bundled/smollm2-135m-vision
"""
import argparse
import json
import pathlib

import torch
from safetensors.torch import save_file

import language as lm
import tower as vision
from painter import SIZE
from spelling import PATCH, TOKENS

IMAGE_TOKEN = 16  # <empty_output>, a reserved SmolLM2 token that no chat uses
MAX_BYTES = 16_000_000


def config():
    text = dict(
        model_type="llama", hidden_size=lm.HIDDEN, intermediate_size=1536, num_hidden_layers=lm.LAYERS,
        num_attention_heads=lm.HEADS, num_key_value_heads=lm.KV_HEADS, head_dim=lm.HEAD, vocab_size=49152,
        max_position_embeddings=8192, rms_norm_eps=lm.EPS, rope_theta=lm.THETA, hidden_act="silu",
        tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=2, attention_bias=False, mlp_bias=False)
    sight = dict(
        model_type="clip_vision_model", hidden_size=vision.WIDTH, intermediate_size=vision.MLP,
        num_hidden_layers=vision.LAYERS, num_attention_heads=vision.HEADS, image_size=SIZE, patch_size=PATCH,
        num_channels=3, hidden_act="gelu", layer_norm_eps=vision.EPS, projection_dim=lm.HIDDEN)
    return dict(
        architectures=["LlavaForConditionalGeneration"], model_type="llava", image_token_index=IMAGE_TOKEN,
        image_seq_length=TOKENS, projector_hidden_act="gelu", multimodal_projector_bias=True, vision_feature_layer=-1,
        vision_feature_select_strategy="default", tie_word_embeddings=True, torch_dtype="bfloat16", text_config=text,
        vision_config=sight)


def preprocessor():
    return dict(
        image_processor_type="CLIPImageProcessor", processor_class="LlavaProcessor", do_resize=True,
        size=dict(shortest_edge=SIZE), resample=3, do_center_crop=True, crop_size=dict(height=SIZE, width=SIZE),
        do_rescale=True, rescale_factor=1 / 255, do_normalize=True, image_mean=[.5] * 3, image_std=[.5] * 3,
        do_convert_rgb=True)


def weights(work):
    eye = vision.Eye()
    eye.load_state_dict(torch.load(work / "tower.pt")["eye"])
    tensors = vision.hub_names(eye)
    for name, value in torch.load(work / "language_adapter.pt")["adapter"].items():
        _, layer, part, projection = name.split(".")  # blocks.3.lora_A.q
        tensors[f"language_model.model.layers.{layer}.self_attn.{projection}_proj.{part}.weight"] = value
    return {name: value.to(torch.bfloat16).contiguous() for name, value in tensors.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("build/adapter"))
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, value in (("config.json", config()), ("preprocessor_config.json", preprocessor())):
        (args.out / name).write_text(json.dumps(value, indent=2) + "\n")
    path = args.out / "adapter.safetensors"
    save_file(weights(args.work), path, metadata={"format": "pt", "lora": "W += lora_B @ lora_A (scale 1)"})
    path.chmod(0o644)
    size = path.stat().st_size
    print(f"{path}: {size / 1e6:.1f} MB")
    if size > MAX_BYTES:
        raise SystemExit(f"above {MAX_BYTES} bytes: too much to commit")


if __name__ == "__main__":
    main()
