"""SmolLM2 with frozen weights and a low-rank adapter, made to train on a CPU.

A batch row is one prefix (system prompt and pictures) followed by lanes: short stretches of tokens that see the
prefix and themselves, never each other. Pictures are paid for once and attention stays small. Frozen matrices are
packed once for oneDNN, forward and transposed, so that the input's gradient is a packed product too.
"""
import torch
import torch.nn.functional as F
from torch import nn

HIDDEN, HEADS, KV_HEADS, HEAD, LAYERS = 576, 9, 3, 64, 30
GROUP = HEADS // KV_HEADS
EPS, THETA = 1e-5, 100000.
RANK = 16
HIDDEN_PARTS = dict(q=HIDDEN, k=KV_HEADS * HEAD, v=KV_HEADS * HEAD, o=HIDDEN)
MASKED = -1e4


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, forward, backward):
        ctx.backward_weight = backward
        return torch.ops.mkldnn._linear_pointwise(x, forward, None, "none", [], "")

    @staticmethod
    def backward(ctx, gradient):
        return torch.ops.mkldnn._linear_pointwise(gradient.contiguous(), ctx.backward_weight, None, "none", [],
                                                  ""), None, None


class Frozen:
    """x [..., in] bf16 -> x W^T [..., out]"""

    def __init__(self, weight):
        weight = weight.to(torch.bfloat16)
        self.out = len(weight)
        pack = torch.ops.mkldnn._reorder_linear_weight
        self.forward, self.backward = pack(weight.contiguous()), pack(weight.T.contiguous())

    def __call__(self, x):
        y = _Product.apply(x.reshape(-1, x.shape[-1]), self.forward, self.backward)
        return y.view(*x.shape[:-1], self.out)


class _Norm(torch.autograd.Function):
    """RMSNorm that keeps one tensor for its backward instead of five."""

    @staticmethod
    def forward(ctx, x, weight):
        square = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32).square_()
        scale = torch.rsqrt(square.mul_(1. / x.shape[-1]).add_(EPS)).to(x.dtype)
        normal = x * scale
        ctx.save_for_backward(normal, scale, weight)
        return normal * weight

    @staticmethod
    def backward(ctx, gradient):
        normal, scale, weight = ctx.saved_tensors
        gradient = gradient * weight
        mean = (gradient * normal).mean(-1, keepdim=True)
        return torch.addcmul(gradient, normal, mean, value=-1).mul_(scale), None


class _Gate(torch.autograd.Function):
    """silu(gate) * up of one matrix [gate | up], with a backward that makes one matrix again."""

    @staticmethod
    def forward(ctx, both):
        ctx.save_for_backward(both)
        gate, up = both.chunk(2, -1)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx, gradient):
        gate, up = ctx.saved_tensors[0].chunk(2, -1)
        out = torch.empty_like(ctx.saved_tensors[0])
        left, right = out.chunk(2, -1)
        left.copy_(torch.ops.aten.silu_backward(gradient * up, gate))
        right.copy_(gradient * F.silu(gate))
        return out


def rotate(x, cos, sin):
    """RoPE; `sin` carries the sign of the half that moves."""
    half = x.shape[-1] // 2
    return torch.addcmul(x * cos, torch.cat([x[..., half:], x[..., :half]], -1), sin)


def attend(q, k, v, prefix, lanes, masks):
    """q [B, T, HEADS, HEAD], k and v [B, T, KV_HEADS, HEAD], T = prefix + lanes x lane -> [B, T, HIDDEN]"""
    batch, rows = q.shape[:2]
    causal, lane_mask, dropped = masks
    q = q.view(batch, rows, KV_HEADS, GROUP, HEAD).permute(0, 2, 3, 1, 4) * HEAD ** -.5
    k, v = k.transpose(1, 2), v.transpose(1, 2)
    kp, vp = k[:, :, :prefix].contiguous(), v[:, :, :prefix].contiguous()
    qp = q[:, :, :, :prefix].reshape(batch, KV_HEADS, -1, HEAD)
    scores = (qp @ kp.transpose(-1, -2)).view(batch, KV_HEADS, GROUP, prefix, prefix) + causal
    yp = torch.softmax(scores, -1).view(batch, KV_HEADS, -1, prefix) @ vp
    yp = yp.view(batch, KV_HEADS, GROUP, prefix, HEAD)
    if not lanes:
        return yp.permute(0, 3, 1, 2, 4).reshape(batch, rows, HIDDEN)
    lane = (rows - prefix) // lanes
    # [B, KV, lanes, group, lane, HEAD]
    ql = q[:, :, :, prefix:].view(batch, KV_HEADS, GROUP, lanes, lane, HEAD).transpose(2, 3).contiguous()
    kl = k[:, :, prefix:].reshape(batch, KV_HEADS, lanes, lane, HEAD)
    vl = v[:, :, prefix:].reshape(batch, KV_HEADS, lanes, lane, HEAD)
    far = ql.view(batch, KV_HEADS, -1, HEAD) @ kp.transpose(-1, -2)
    near = (ql.view(batch, KV_HEADS, lanes, -1, HEAD) @ kl.transpose(-1, -2)).view(
        batch, KV_HEADS, lanes, GROUP, lane, lane) + lane_mask
    far = far.view(batch, KV_HEADS, lanes, GROUP, lane, prefix)
    if dropped is not None:
        far = far.masked_fill(dropped, MASKED)
    far, near = torch.softmax(torch.cat([far, near], -1), -1).split([prefix, lane], -1)
    yl = (far.reshape(batch, KV_HEADS, -1, prefix) @ vp).view(batch, KV_HEADS, lanes, -1, HEAD)
    yl = yl + near.reshape(batch, KV_HEADS, lanes, -1, lane) @ vl
    yl = yl.view(batch, KV_HEADS, lanes, GROUP, lane, HEAD).permute(0, 2, 4, 1, 3, 5)
    return torch.cat([yp.permute(0, 3, 1, 2, 4).reshape(batch, prefix, HIDDEN),
                      yl.reshape(batch, rows - prefix, HIDDEN)], 1)


class Block(nn.Module):
    def __init__(self, state, index):
        super().__init__()
        def weight(name):
            return state[f"model.layers.{index}.{name}.weight"]
        self.qkv = Frozen(torch.cat([weight(f"self_attn.{n}_proj") for n in "qkv"]))
        self.o = Frozen(weight("self_attn.o_proj"))
        self.gate_up = Frozen(torch.cat([weight("mlp.gate_proj"), weight("mlp.up_proj")]))
        self.down = Frozen(weight("mlp.down_proj"))
        self.norm1 = weight("input_layernorm").to(torch.bfloat16)
        self.norm2 = weight("post_attention_layernorm").to(torch.bfloat16)
        self.lora_A = nn.ParameterDict({n: torch.randn(RANK, HIDDEN) * HIDDEN ** -.5 for n in "qkvo"})
        self.lora_B = nn.ParameterDict({n: torch.zeros(out, RANK) for n, out in HIDDEN_PARTS.items()})

    def _low_rank_qkv(self, x):
        down = F.linear(x, torch.cat([self.lora_A[n] for n in "qkv"]).to(torch.bfloat16)).split(RANK, -1)
        return torch.cat([F.linear(d, self.lora_B[n].to(torch.bfloat16)) for d, n in zip(down, "qkv")], -1)

    def forward(self, x, cos, sin, prefix, lanes, masks):
        batch, rows, _ = x.shape
        normal = _Norm.apply(x, self.norm1)
        qkv = (self.qkv(normal) + self._low_rank_qkv(normal)).view(batch, rows, HEADS + 2 * KV_HEADS, HEAD)
        qk = rotate(qkv[:, :, :HEADS + KV_HEADS], cos, sin)
        y = attend(qk[:, :, :HEADS], qk[:, :, HEADS:], qkv[:, :, HEADS + KV_HEADS:], prefix, lanes, masks)
        low = F.linear(F.linear(y, self.lora_A["o"].to(torch.bfloat16)), self.lora_B["o"].to(torch.bfloat16))
        x = x + self.o(y) + low
        return x + self.down(_Gate.apply(self.gate_up(_Norm.apply(x, self.norm2))))


class Language(nn.Module):
    """Trainable: the low-rank adapter only."""

    def __init__(self, state):
        super().__init__()
        self.embedding = state["model.embed_tokens.weight"].float()
        self.head = Frozen(self.embedding)
        self.blocks = nn.ModuleList(Block(state, index) for index in range(LAYERS))
        self.norm = state["model.norm.weight"].to(torch.bfloat16)
        self.frequency = 1. / THETA ** (torch.arange(0, HEAD, 2).float() / HEAD)

    def forward(self, x, positions, prefix, branches, dropped=None):
        """x [B, T, HIDDEN], positions [B, T], branches [B, lanes, lane] (who is who in a lane), dropped [B, lanes, prefix]
        (what a lane does not see, as if evicted after prefill) -> last hidden states"""
        angle = positions[..., None].float() * self.frequency
        cos = angle.cos().repeat(1, 1, 2)[:, :, None].to(torch.bfloat16)
        sin = torch.cat([-angle.sin(), angle.sin()], -1)[:, :, None].to(torch.bfloat16)
        x = x.to(torch.bfloat16)
        masks = *_masks(prefix, branches), None if dropped is None else dropped[:, None, :, None, None]
        for block in self.blocks:
            x = block(x, cos, sin, prefix, branches.shape[1], masks)
        return _Norm.apply(x, self.norm)


def _masks(prefix, branches):
    causal = torch.full((prefix, prefix), MASKED, dtype=torch.bfloat16).triu(1)
    lane = branches.shape[2]
    same = (branches[..., :, None] == branches[..., None, :]) & torch.ones(lane, lane, dtype=torch.bool).tril()
    return causal, torch.where(same, 0., MASKED).to(torch.bfloat16)[:, None, :, None]
