"""Vision tower and projector in the layout of Hugging Face's CLIPVisionModel and LLaVA.

Forward passes only what the server runs: CLIP without class token's output and without the last norm, then
linear, GELU, linear. Names of the parameters are Hugging Face's, so that export is a copy.
"""
import torch
import torch.nn.functional as F
from torch import nn

from spelling import PATCH, PATCHES, TOKENS

WIDTH, LAYERS, HEADS, MLP = 256, 6, 4, 1024
LANGUAGE_WIDTH = 576
EPS = 1e-5


class Embeddings(nn.Module):
    def __init__(self):
        super().__init__()
        self.class_embedding = nn.Parameter(torch.randn(WIDTH) * .02)
        self.patch_embedding = nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False)
        self.position_embedding = nn.Embedding(TOKENS + 1, WIDTH)

    def forward(self, pixels):
        batch = pixels.shape[0]
        cut = pixels.reshape(batch, 3, PATCHES, PATCH, PATCHES, PATCH).permute(0, 2, 4, 1, 3, 5)
        rows = F.linear(cut.reshape(batch, TOKENS, -1), self.patch_embedding.weight.flatten(1))
        first = self.class_embedding.expand(batch, 1, -1).to(rows.dtype)
        return torch.cat([first, rows], 1) + self.position_embedding.weight


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, nn.Linear(WIDTH, WIDTH))

    def forward(self, x):
        batch, rows, _ = x.shape
        q, k, v = (f(x).view(batch, rows, HEADS, -1).transpose(1, 2) for f in (self.q_proj, self.k_proj, self.v_proj))
        # Plain products: on a CPU the fused backward of so few rows is slower.
        y = torch.softmax(q * (WIDTH // HEADS) ** -.5 @ k.transpose(-1, -2), -1) @ v
        return self.out_proj(y.transpose(1, 2).reshape(batch, rows, WIDTH))


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(WIDTH, MLP), nn.Linear(MLP, WIDTH)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(WIDTH, EPS), nn.LayerNorm(WIDTH, EPS)
        self.self_attn, self.mlp = Attention(), Mlp()

    def forward(self, x):
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class VisionModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embeddings = Embeddings()
        self.pre_layrnorm = nn.LayerNorm(WIDTH, EPS)
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.post_layernorm = nn.LayerNorm(WIDTH, EPS)  # in the file, never used

    def forward(self, pixels):
        x = self.pre_layrnorm(self.embeddings(pixels))
        for layer in self.encoder.layers:
            x = layer(x)
        return x[:, 1:]


class Projector(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear_1 = nn.Linear(WIDTH, LANGUAGE_WIDTH)
        self.linear_2 = nn.Linear(LANGUAGE_WIDTH, LANGUAGE_WIDTH)

    def forward(self, x):
        return self.linear_2(F.gelu(self.linear_1(x)))


class Eye(nn.Module):
    """pixels [B, 3, SIZE, SIZE] in -1..1 -> image tokens [B, TOKENS, LANGUAGE_WIDTH]"""

    def __init__(self):
        super().__init__()
        self.vision_model = VisionModel()
        self.multi_modal_projector = Projector()
        for layer in (m for m in self.modules() if isinstance(m, nn.Linear)):
            nn.init.normal_(layer.weight, std=.7 * layer.in_features ** -.5)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.vision_model.embeddings.patch_embedding.weight, std=.02)
        nn.init.normal_(self.vision_model.embeddings.position_embedding.weight, std=.02)

    def forward(self, pixels):
        return self.multi_modal_projector(self.vision_model(pixels))


def load_hub_names(eye, tensors):
    """Fills `eye` from Hugging Face's names; position embeddings of another grid are resampled."""
    state = {}
    for name, tensor in tensors.items():
        if name.startswith("vision_tower."):
            state[name[len("vision_tower."):]] = tensor.float()
        elif name.startswith("multi_modal_projector."):
            state[name] = tensor.float()
    key = "vision_model.embeddings.position_embedding.weight"
    if len(state[key]) != TOKENS + 1:
        side = int((len(state[key]) - 1) ** .5)
        grid = state[key][1:].T.reshape(1, WIDTH, side, side)
        grid = F.interpolate(grid, (PATCHES, PATCHES), mode="bicubic", align_corners=False)
        state[key] = torch.cat([state[key][:1], grid.reshape(WIDTH, TOKENS).T])
    eye.load_state_dict(state)


def hub_names(eye):
    """Hugging Face's names -> tensors, for a file"""
    return {("vision_tower." if name.startswith("vision_model.") else "") + name: value.detach()
            for name, value in eye.state_dict().items()}
