"""SMNet in PyTorch: a peer to measure against and the trainer of the first shipped weights.

Tokens are kept as [B, H, W, C] throughout. Parameter names are those of the published checkpoints. Three operators
(window attention, depthwise 3x3, and its weight gradient) have Triton kernels in kernels.py for NVIDIA GPUs;
elsewhere plain PyTorch computes the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WINDOW = 8


class Settings:
    """How the same function is computed. dtype: type of the branches; the residual stream stays float32."""

    dtype = torch.float32
    triton_attention = False
    triton_depthwise = False
    compiled = False

    _cache: dict[Callable, Callable] = {}

    @staticmethod
    def run(function: Callable) -> Callable:
        """The function itself or its compiled form. Parts are compiled, not the whole: 24 blocks share two graphs."""
        if not Settings.compiled:
            return function
        if function not in Settings._cache:
            Settings._cache[function] = torch.compile(function, dynamic=False)
        return Settings._cache[function]


def tokens_to_image(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def image_to_tokens(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    dtype = Settings.dtype
    return F.linear(x.to(dtype), layer.weight.to(dtype), None if layer.bias is None else layer.bias.to(dtype))


def convolve(x: Tensor, layer: nn.Conv2d, dtype: torch.dtype, reflect: bool = False) -> Tensor:
    image = tokens_to_image(x.to(dtype))
    radius = layer.kernel_size[0] // 2
    if reflect:
        image = F.pad(image, (radius,) * 4, mode="reflect")
    weight = layer.weight.to(dtype)
    if image.is_cuda:
        weight = weight.contiguous(memory_format=torch.channels_last)
    bias = None if layer.bias is None else layer.bias.to(dtype)
    return image_to_tokens(F.conv2d(image, weight, bias, padding=0 if reflect else radius))


def depthwise(x: Tensor, layer: nn.Conv2d) -> Tensor:
    if Settings.triton_depthwise:
        from kernels import depthwise3x3

        return depthwise3x3(x, layer.weight, layer.bias)
    image = tokens_to_image(x)
    return image_to_tokens(
        F.conv2d(image, layer.weight.to(x.dtype), layer.bias.to(x.dtype), padding=1, groups=image.shape[1])
    )


class Mlp(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        return linear(F.gelu(linear(x, self.fc1)), self.fc2)


class ChannelGate(nn.Module):
    """CCA: f sigmoid(2 m), m from the mean over all pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Conv2d(channels, channels // 4, 1), nn.ReLU(), nn.Conv2d(channels // 4, channels, 1))

    def gate(self, f: Tensor) -> Tensor:
        pooled = f.float().mean((1, 2))
        first, _, second = self.mlp
        hidden = F.relu(F.linear(pooled, first.weight.flatten(1), first.bias))
        return torch.sigmoid(2 * F.linear(hidden, second.weight.flatten(1), second.bias))[:, None, None, :]


class SpatialGate(nn.Module):
    """CSA: sigmoid(7x7 convolution of the mean and the maximum over channels)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(2, 1, 7, padding=3)

    def gate(self, f: Tensor) -> Tensor:
        statistics = torch.stack((f.float().mean(-1), f.amax(-1).float()), 1)
        return torch.sigmoid(self.conv2d(statistics))[:, 0, :, :, None]


def position_index(device: torch.device) -> Tensor:
    y, x = torch.meshgrid(torch.arange(WINDOW, device=device), torch.arange(WINDOW, device=device), indexing="ij")
    y, x = y.flatten(), x.flatten()
    return (y[:, None] - y[None, :] + 7) * 15 + (x[:, None] - x[None, :] + 7)


def shift_mask(height: int, width: int, device: torch.device) -> Tensor:
    """[windows, 64, 64]: -100 between tokens that were no neighbours before the shift."""
    region_y = (torch.arange(height, device=device) >= height - 8).int() + (
        torch.arange(height, device=device) >= height - 4
    ).int()
    region_x = (torch.arange(width, device=device) >= width - 8).int() + (
        torch.arange(width, device=device) >= width - 4
    ).int()
    region = region_y[:, None] * 3 + region_x[None, :]
    region = region.view(height // 8, 8, width // 8, 8).transpose(1, 2).reshape(-1, 64)
    return torch.where(region[:, :, None] == region[:, None, :], 0.0, -100.0)


def window_attention_plain(qkv: Tensor, bias: Tensor, heads: int, shifted: bool) -> Tensor:
    """qkv [B, H, W, 3C] (unshifted), bias [heads, 64, 64] -> [B, H, W, C]."""
    batch, height, width, triple = qkv.shape
    channels = triple // 3
    if shifted:
        qkv = torch.roll(qkv, (-4, -4), (1, 2))
    windows = qkv.view(batch, height // 8, 8, width // 8, 8, 3, heads, channels // heads)
    windows = windows.permute(5, 0, 1, 3, 6, 2, 4, 7).reshape(3, batch, -1, heads, 64, channels // heads)
    q, k, v = windows.unbind(0)
    logits = (q * (channels // heads) ** -0.5) @ k.transpose(-2, -1)
    logits = logits + bias.to(logits.dtype)
    if shifted:
        logits = logits + shift_mask(height, width, qkv.device).to(logits.dtype)[None, :, None]
    out = torch.softmax(logits, -1, dtype=torch.float32).to(v.dtype) @ v
    out = out.view(batch, height // 8, width // 8, heads, 8, 8, channels // heads)
    out = out.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, height, width, channels)
    return torch.roll(out, (4, 4), (1, 2)) if shifted else out


class WindowAttention(nn.Module):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros(15 * 15, heads))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, y: Tensor, shifted: bool) -> Tensor:
        index = position_index(y.device).flatten()
        bias = self.relative_position_bias_table.index_select(0, index).view(64, 64, self.heads).permute(2, 0, 1)
        qkv = linear(y, self.qkv)
        if Settings.triton_attention:
            from kernels import window_attention

            out = window_attention(qkv, bias.contiguous(), self.heads, shifted)
        else:
            out = window_attention_plain(qkv, bias, self.heads, shifted)
        return linear(out, self.proj)


def keep_scale(x: Tensor, rate: Tensor) -> Tensor:
    """Drop path: per sample 0 with probability rate, else 1 / (1 - rate)."""
    draw = torch.rand(x.shape[0], 1, 1, 1, device=x.device)
    return (draw >= rate) / (1 - rate)


class HybridBlock(nn.Module):
    """MHAB. `multiplier` scales the normalised input of the attention; None where nothing is masked."""

    def __init__(self, channels: int, heads: int, shifted: bool) -> None:
        super().__init__()
        self.shifted = shifted
        self.norm1 = nn.LayerNorm(channels)
        self.conv_cnn1 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.cab = ChannelGate(channels)
        self.sab = SpatialGate()
        self.conv_cnn2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.attn = WindowAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, 2 * channels)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, use_mask: Tensor | None = None, rate: Tensor | None = None
    ) -> Tensor:
        """mask [B, H, W, 1] and use_mask, a 0-d 0 or 1: the mask map or the importance map; rate: of drop path."""
        y = self.norm1(x).to(Settings.dtype)
        f = depthwise(y, self.conv_cnn1)
        local = depthwise((f * (self.cab.gate(f) + self.sab.gate(f))).to(Settings.dtype), self.conv_cnn2)
        if mask is not None:
            importance = torch.sigmoid(y.float().mean(-1, keepdim=True))
            y = (y * torch.where(use_mask > 0, mask, importance)).to(Settings.dtype)
        attended = self.attn(y, self.shifted)
        if rate is None:
            x = x + attended
            return x + self.mlp(self.norm2(x)) + local
        x = x + attended * keep_scale(x, rate)
        return x + self.mlp(self.norm2(x)) * keep_scale(x, rate) + local


class ResidualGroup(nn.Module):
    def __init__(self, channels: int, blocks: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(HybridBlock(channels, heads, b % 2 == 1) for b in range(blocks))


class Stage(nn.Module):
    def __init__(self, channels: int, blocks: int, heads: int) -> None:
        super().__init__()
        self.residual_group = ResidualGroup(channels, blocks, heads)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)


class BiasedNorm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.LayerNorm(channels)


def part_start(part: int, parts: int, channels: int) -> int:
    """Where part `part` of C channels shared out among `parts` begins (docs/exposures.md)."""
    return part * channels // parts


def exposure_heads(channels: int, exposures: int) -> int:
    """4n heads, but none of a single channel unless 4n = C."""
    published, most = 4 * exposures, max(1, channels // 2)
    return published if published == channels else min(published, most)


class ChannelAttention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.q = nn.Conv2d(channels, channels, 1, bias=False)
        self.k = nn.Conv2d(channels, channels, 1, bias=False)
        self.v = nn.Conv2d(channels, channels, 1, bias=False)
        self.project_out = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, z: Tensor, exposures: int) -> Tensor:
        """As Gram matrices: softmax(q k^T) v and the projection fold into one C x C product per image."""
        batch, height, width, channels = z.shape
        flat = z.reshape(batch, height * width, channels)
        heads, reference = exposure_heads(channels, exposures), exposures // 2
        first = part_start(reference, exposures, channels)
        slot = part_start(reference + 1, exposures, channels) - first
        channel = torch.arange(channels, device=z.device)
        gram = flat.transpose(1, 2).float() @ flat.float()
        # The reference slot tiled over the query's channels: its weights' columns act on the slot's channels.
        weight = self.q.weight.flatten(1)
        q_weight = torch.zeros_like(weight).index_add(1, first + channel % slot, weight)
        k_weight, v_weight = self.k.weight.flatten(1), self.v.weight.flatten(1)
        qk = q_weight @ gram @ k_weight.t()
        q_norm = ((q_weight @ gram) * q_weight).sum(-1).clamp_min(1e-24).sqrt()
        k_norm = ((k_weight @ gram) * k_weight).sum(-1).clamp_min(1e-24).sqrt()
        head = ((channel + 1) * heads - 1) // channels
        logits = qk / (q_norm[:, :, None] * k_norm[:, None, :])
        logits = logits.masked_fill(head[:, None] != head[None, :], float("-inf"))
        folded = self.project_out.weight.flatten(1) @ torch.softmax(logits, -1) @ v_weight
        return (flat @ folded.transpose(1, 2).to(flat.dtype)).view(batch, height, width, channels)


class InterExposureBlock(nn.Module):
    """ICAB."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1_x = BiasedNorm(channels)
        self.norm1_y = BiasedNorm(channels)
        self.attn = ChannelAttention(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, 4 * channels)

    def forward(self, x: Tensor, exposures: int) -> Tensor:
        x = x + self.attn(self.norm1_x.body(x).to(Settings.dtype), exposures)
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)


def fold(features: Tensor) -> Tensor:
    """[n, B, H, W, C] features of the exposures -> [B, H, W, C]: channel j of a slot is the mean over the groups that have one."""
    exposures, channels = features.shape[0], features.shape[-1]
    starts = [part_start(i, exposures, channels) for i in range(exposures + 1)]
    common = channels // exposures
    groups = torch.stack([features[..., start : start + common] for start in starts[:-1]]).mean(0)
    wide = [start + common for start, end in zip(starts, starts[1:]) if end - start > common]
    if not wide:
        return torch.cat(groups.unbind(0), -1)
    last = torch.stack([features[..., c] for c in wide]).mean(0)
    return torch.cat(
        [x for i in range(exposures) for x in (groups[i], last[i, ..., None])[: 1 + (starts[i] + common in wide)]], -1
    )


def enter(norm: nn.LayerNorm, mlp: Mlp, features: Tensor) -> tuple[Tensor, Tensor]:
    start = norm(features)
    return start, mlp(start).float()


def leave_stage(
    conv: nn.Conv2d, channel_layer: InterExposureBlock, mlp: Mlp, x: Tensor, stage_input: Tensor, start: Tensor, exposures: int
) -> Tensor:
    x = convolve(x, conv, Settings.dtype) + stage_input
    return mlp(channel_layer(x + start, exposures)).float()


class LearntFold(nn.Module):
    """fold.weight [slots, widest slot, n, C]: what the features of each exposure give to the channels of each slot."""

    def __init__(self, channels: int, slots: int, exposures: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(slots, -(-channels // slots), exposures, channels))

    def forward(self, features: Tensor) -> Tensor:
        """[n, B, H, W, C] -> [B, H, W, C]."""
        channels, slots = features.shape[-1], self.weight.shape[0]
        starts = [part_start(i, slots, channels) for i in range(slots + 1)]
        rows = torch.cat([self.weight[i, : end - start] for i, (start, end) in enumerate(zip(starts, starts[1:]))])
        return torch.einsum("nbhwc,onc->bhwo", features, rows)


def prior_logits(radiance: Tensor) -> Tensor:
    """Of a prior's radiance [..., 3] (PriorArgs in native/ops/ops.h)."""
    h = radiance.clamp(0, 1)
    return torch.log((h + 1 / 5000) / (1 + 1 / 200 - h))


class SMNet(nn.Module):
    def __init__(
        self,
        width: int = 60,
        stages: int = 4,
        blocks: int = 6,
        heads: int = 6,
        drop_path: float = 0.1,
        prior: bool = False,
        learnt_fold: tuple[int, int] | None = None,
    ) -> None:
        """`prior`: the last exposure is a merge, the others' radiance without a network. `learnt_fold`: slots, exposures."""
        super().__init__()
        self.width, self.blocks = width, blocks
        self.prior = prior
        self.fold = None if learnt_fold is None else LearntFold(width, *learnt_fold)
        self.conv_first = nn.Sequential(
            nn.Conv2d(6, width, 3), nn.Conv2d(width, width, 3), nn.Conv2d(width, width, 3)
        )
        self.patch_embed = PatchEmbed(width)
        self.mlp = Mlp(width, width)
        self.layers = nn.ModuleList(Stage(width, blocks, heads) for _ in range(stages))
        self.channel_layers = nn.ModuleList(InterExposureBlock(width) for _ in range(stages))
        self.mlps = nn.ModuleList(Mlp(width, width) for _ in range(stages))
        self.norm = nn.LayerNorm(width)
        self.conv_after_body = nn.Conv2d(width, width, 3, padding=1)
        self.conv_skip = nn.Conv2d(width, width, 3, padding=1)
        self.conv_end = nn.Conv2d(width, 4 if prior else 3, 3, padding=1)
        rates = torch.linspace(0, drop_path, stages * blocks)
        self.register_buffer("drop_rates", rates, persistent=False)
        self.drop_path = drop_path
        self.reset_parameters()
        if prior:  # the gate begins all but open
            nn.init.zeros_(self.conv_end.weight[3])
            nn.init.constant_(self.conv_end.bias[3], math.log(9))

    def reset_parameters(self) -> None:
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d):
                bound = 1 / math.sqrt(module.weight[0].numel())
                nn.init.uniform_(module.weight, -bound, bound)
                if module.bias is not None:
                    nn.init.uniform_(module.bias, -bound, bound)
            elif isinstance(module, WindowAttention):
                nn.init.trunc_normal_(module.relative_position_bias_table, std=0.02)

    def extract(self, x: Tensor, exposures: int) -> tuple[Tensor, Tensor]:
        """[B, H, W, 6n] -> features [B, H, W, C] and the reference's anchor."""
        batch, height, width, _ = x.shape
        stacked = x.view(batch, height, width, exposures, 6).permute(3, 0, 1, 2, 4).reshape(-1, height, width, 6)
        for layer in self.conv_first:
            stacked = convolve(stacked, layer, Settings.dtype, reflect=True)
        features = stacked.reshape(exposures, batch, height, width, self.width)
        folded = fold(features.float()) if self.fold is None else self.fold(features.float())
        return folded, features[(exposures - self.prior) // 2]

    def finish(self, x: Tensor, anchor: Tensor, prior: Tensor | None = None) -> Tensor:
        out = convolve(self.norm(x), self.conv_after_body, torch.float32)
        out = out + convolve(anchor, self.conv_skip, torch.float32)
        logits = convolve(out, self.conv_end, torch.float32)
        if prior is not None:
            own, gate = logits[..., :3], torch.sigmoid(logits[..., 3:])
            logits = own + gate * (prior - own)
        return torch.sigmoid(logits)

    def forward(self, x: Tensor, mask: Tensor | None = None, use_mask: Tensor | None = None) -> Tensor:
        """x [B, 6n, H, W], the prior counted in n -> radiance [B, 3, H, W]. mask [B, 1, H, W]; use_mask [stages] of 0 (importance map) or 1."""
        exposures, run = x.shape[1] // 6, Settings.run
        prior = prior_logits(image_to_tokens(x[:, -6:-3])) if self.prior else None
        features, anchor = run(SMNet.extract)(self, image_to_tokens(x), exposures)
        slots = exposures if self.fold is None else self.fold.weight.shape[0]
        start, x = run(enter)(self.patch_embed.norm, self.mlp, features)
        mask = None if mask is None else image_to_tokens(mask)
        dropping = self.training and self.drop_path > 0
        for s, stage in enumerate(self.layers):
            stage_input = x
            for b, block in enumerate(stage.residual_group.blocks):
                rate = self.drop_rates[s * self.blocks + b] if dropping else None
                if b == 0 and mask is not None:
                    x = run(HybridBlock.forward)(block, x, mask, use_mask[s], rate)
                else:
                    x = run(HybridBlock.forward)(block, x, None, None, rate)
            x = run(leave_stage)(
                stage.conv, self.channel_layers[s], self.mlps[s], x, stage_input, start, slots
            )
        return tokens_to_image(run(SMNet.finish)(self, x, anchor, prior))


def configuration_of(weights: dict[str, Tensor]) -> dict[str, object]:
    """The configuration that a set of weights implies."""
    stages = 1 + max(int(k.split(".")[1]) for k in weights if k.startswith("layers."))
    blocks = 1 + max(int(k.split(".")[4]) for k in weights if k.startswith("layers.0.residual_group.blocks."))
    table = weights["layers.0.residual_group.blocks.0.attn.relative_position_bias_table"]
    fold = weights.get("fold.weight")
    return {
        "width": weights["norm.weight"].shape[0],
        "stages": stages,
        "blocks": blocks,
        "heads": table.shape[1],
        "prior": weights["conv_end.bias"].shape[0] == 4,
        "learnt_fold": None if fold is None else (fold.shape[0], fold.shape[2]),
    }
