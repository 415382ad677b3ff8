"""bundled-model: the bundled model with its low-rank adapter merged, in transformers, on scenes of the adapter's generator.

No weights are written: language model and adapter are read from where the server reads them. Scenes are drawn until the
smallest margin between the two likeliest tokens of every greedy answer is large enough that an 8-bit vision tower gives
the same ones.

    python tests/goldens/gen/gen_bundled.py --gguf .models/SmolLM2-135M-Instruct.Q4_1.gguf
"""
import argparse
import json
import pathlib
import random
import shutil
import sys

import common as C  # noqa: F401  (settings of torch)
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tools/adapter"))

import pairs  # noqa: E402
from lanes import ASSISTANT, END, SYSTEM, USER  # noqa: E402
from painter import Painter  # noqa: E402
from questions import ask  # noqa: E402
from world import make_scene  # noqa: E402

EOS = 2
ANSWER_TOKENS = 72  # as in bundled_folder.cpp
KINDS = ["describe", "where", "count", "left", "at"]  # of the turns about one picture
SCENES = 4
PAIR_TURNS = 3  # about two pictures
MAX_OBJECTS = 5  # more do not fit ANSWER_TOKENS


def load_model(gguf, vision):
    """LlavaForConditionalGeneration in f32 and its tokenizer"""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlavaConfig, LlavaForConditionalGeneration
    source = dict(pretrained_model_name_or_path=str(gguf.parent), gguf_file=gguf.name)
    model = LlavaForConditionalGeneration(LlavaConfig(**json.loads((vision / "config.json").read_text()))).float().eval()
    own, adapter = dict(model.named_parameters()), load_file(vision / "adapter.safetensors")

    def put(suffix, value):
        names = [name for name in own if name.endswith(suffix)]
        assert len(names) == 1, (suffix, names)
        own[names[0]].data.copy_(value.float())

    language = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32).state_dict()
    for name, value in language.items():
        if name == "lm_head.weight":  # the embedding again
            continue
        low = f"language_model.{name.removesuffix('.weight')}.lora_"
        if low + "A.weight" in adapter:
            value = value + adapter[low + "B.weight"].float() @ adapter[low + "A.weight"].float()
        put("language_model." + name.removeprefix("model."), value)
    for name, value in adapter.items():
        if name.startswith("vision_tower."):
            put(name if any("vision_model" in n for n in own) else name.replace("vision_model.", ""), value)
        elif name.startswith("multi_modal_projector."):
            put(name, value)
    model.tie_weights()
    return model, AutoTokenizer.from_pretrained(**source)


def image_processor(vision):
    try:
        from transformers import CLIPImageProcessorPil as Processor
    except ImportError:
        from transformers import CLIPImageProcessor as Processor
    settings = json.loads((vision / "preprocessor_config.json").read_text())
    return Processor(**{k: v for k, v in settings.items() if not k.endswith(("_type", "_class"))})


class Reference:
    """Answers as transformers gives them, with everything the goldens hold."""

    def __init__(self, gguf, vision):
        self.model, tokenizer = load_model(gguf, vision)
        self.decode = tokenizer.decode
        self.ids = lambda text: tokenizer(text, add_special_tokens=False).input_ids
        self.processor, config = image_processor(vision), self.model.config
        self.image_token = config.image_token_id
        self.image_tokens = (config.vision_config.image_size // config.vision_config.patch_size) ** 2

    @torch.no_grad()
    def talk(self, name, pictures, turns):
        """turns [(question, expected)] about all `pictures` (paths) -> case, tensors, smallest margin"""
        pixels = torch.cat([self.processor(images=Image.open(p).convert("RGB"), return_tensors="pt").pixel_values
                            for p in pictures])
        features = self.model.get_image_features(pixel_values=pixels)
        features = getattr(features, "pooler_output", features)
        features = torch.cat(list(features)) if isinstance(features, (list, tuple)) else features
        tensors = {f"{name}/pixel_values": pixels.contiguous(),
                   f"{name}/image_features": features.reshape(-1, features.shape[-1]).float().contiguous()}
        ids = self.ids(SYSTEM + USER)
        for index in range(len(pictures)):
            ids = ids + [self.image_token] * self.image_tokens + (self.ids("\n") if index + 1 < len(pictures) else [])
        rows = []
        for turn, (question, expected) in enumerate(turns):
            ids = ids + self.ids(("\n" if turn == 0 else USER) + question + END + "\n" + ASSISTANT)
            answer, margin = self._turn(f"{name}/turn{turn}", ids, pixels, tensors)
            text = self.decode(answer, skip_special_tokens=True)
            rows.append(dict(question=question, expected=expected, greedy_text=text, greedy_min_margin=round(margin, 5)))
            ids = ids + answer + self.ids("\n")
        case = dict(name=name, images=[f"images/{p.name}" for p in pictures], turns=rows)
        return case, tensors, min(row["greedy_min_margin"] for row in rows)

    def _turn(self, prefix, ids, pixels, tensors):
        x = torch.tensor([ids])
        out = self.model.generate(
            input_ids=x, attention_mask=torch.ones_like(x), pixel_values=pixels, do_sample=False, eos_token_id=EOS,
            pad_token_id=EOS, max_new_tokens=ANSWER_TOKENS, output_logits=True, return_dict_in_generate=True)
        answer, top = out.sequences[0, x.shape[1]:], out.logits[0][0].float().topk(20)
        tensors |= {f"{prefix}/input_ids": x[0].clone(), f"{prefix}/greedy_ids": answer.clone(),
                    f"{prefix}/top20_ids": top.indices, f"{prefix}/top20_logits": top.values.contiguous()}
        margins = [float(step[0].float().topk(2).values.diff().abs()) for step in out.logits]
        return answer.tolist(), min(margins) if int(answer[-1]) == EOS else 0.


class Scenes:
    """Pictures and questions, a new draw at each call."""

    def __init__(self, seed, folder):
        self.rng, self.noise = random.Random(f"goldens/{seed}"), np.random.default_rng([seed, 20])
        self.painter, self.folder = Painter(), folder

    def draw(self):
        while True:
            scene = make_scene(self.rng, pairs="any")
            if len(scene.things) <= MAX_OBJECTS:
                return scene

    def save(self, scene, name, odd):
        """Other sizes, aspect ratios and formats than those of training too."""
        picture = Image.fromarray(self.painter.render(scene, self.noise))
        if odd:
            picture = picture.resize((picture.width * 3 // 2 + 7, picture.height * 2), Image.BICUBIC)
        path = self.folder / f"{name}.{'png' if odd else 'jpg'}"
        picture.save(path, **({} if odd else dict(quality=92)))
        return path

    def single(self, index):
        """One picture and a turn of every kind"""
        while True:
            scene = self.draw()
            turns = [ask(scene, self.rng, kind) for kind in KINDS]
            if all(turns):
                return [self.save(scene, f"scene{index}", index % 2)], [turn[1:] for turn in turns]

    def pair(self, index):
        """Two pictures in one message, the second with one change"""
        pair = pairs.make_pair(self.rng)
        paths = [self.save(scene, f"scene{index}{'ab'[i]}", i) for i, scene in enumerate(pair[:2])]
        return paths, [turn[1:] for turn in pairs.questions(pair, self.rng, PAIR_TURNS)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", type=pathlib.Path, required=True)
    parser.add_argument("--vision", type=pathlib.Path, default=ROOT / "models/bundled/smollm2-135m-vision")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "tests/goldens/bundled-model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--margin", type=float, default=.2, help="least margin of every greedy token")
    args = parser.parse_args()
    shutil.rmtree(args.out, ignore_errors=True)
    (args.out / "images").mkdir(parents=True)
    reference, scenes = Reference(args.gguf, args.vision), Scenes(args.seed, args.out / "images")
    cases, tensors = [], {}
    while len(cases) <= SCENES:
        name = f"scene{len(cases)}"
        pictures, turns = (scenes.single if len(cases) < SCENES else scenes.pair)(len(cases))
        case, made, margin = reference.talk(name, pictures, turns)
        print(f"{name}: margin {margin:.3f}", "kept" if margin >= args.margin else "", flush=True)
        if margin >= args.margin:
            cases.append(case)
            tensors |= made
    save_file(tensors, args.out / "golden.safetensors")
    (args.out / "golden.safetensors").chmod(0o644)
    versions = dict(torch=torch.__version__, transformers=__import__("transformers").__version__)
    about = dict(cases=cases, eos=EOS, image_token_index=reference.image_token, versions=versions)
    (args.out / "cases.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
