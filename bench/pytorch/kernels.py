"""Triton kernels of the trainer: window attention and depthwise 3x3, forward and backward, on [B, H, W, C] tokens.

The attention reads q, k and v of a window straight from the [B, H, W, 3C] projection, shift included, and never
stores the 64x64 logits; its backward pass recomputes them. The bias's and weights' gradients are accumulated in
registers by persistent programs and summed at the end.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _window_rows(window, t, height, width, shift: tl.constexpr):
    """Pixel index of token t of a window, and its region for the shift mask."""
    across = width // 8
    down = height // 8
    b = window // (down * across)
    y = (window // across) % down * 8 + t // 8
    x = window % across * 8 + t % 8
    region = 3 * ((y >= height - 8).to(tl.int32) + (y >= height - 4).to(tl.int32))
    region += (x >= width - 8).to(tl.int32) + (x >= width - 4).to(tl.int32)
    y = (y + shift) % height
    x = (x + shift) % width
    return (b * height + y) * width + x, region


@triton.jit
def _probabilities(q, k, bias, region, scale, shift: tl.constexpr):
    logits = tl.dot(q, tl.trans(k)) * scale + bias
    if shift > 0:
        logits += tl.where(region[:, None] == region[None, :], 0.0, -100.0)
    logits = tl.exp(logits - tl.max(logits, 1)[:, None])
    return logits / tl.sum(logits, 1)[:, None]


@triton.jit
def _attention_forward(
    qkv, bias, out, windows, height, width, programs, scale,
    heads: tl.constexpr, size: tl.constexpr, padded: tl.constexpr, shift: tl.constexpr,
):
    pid = tl.program_id(0)
    head = pid % heads
    t = tl.arange(0, 64)
    d = tl.arange(0, padded)
    channels = heads * size
    inside = (t[:, None] >= 0) & (d[None, :] < size)
    table = tl.load(bias + head * 4096 + t[:, None] * 64 + t[None, :]).to(tl.float32)
    for window in range(pid // heads, windows, programs):
        rows, region = _window_rows(window, t, height, width, shift)
        at = qkv + rows[:, None] * (3 * channels) + head * size + d[None, :]
        q = tl.load(at, mask=inside, other=0.0)
        k = tl.load(at + channels, mask=inside, other=0.0)
        v = tl.load(at + 2 * channels, mask=inside, other=0.0)
        p = _probabilities(q, k, table, region, scale, shift)
        o = tl.dot(p.to(v.dtype), v)
        tl.store(out + rows[:, None] * channels + head * size + d[None, :], o.to(v.dtype), mask=inside)


@triton.jit
def _attention_backward(
    qkv, bias, grad, grad_qkv, grad_bias, windows, height, width, programs, scale,
    heads: tl.constexpr, size: tl.constexpr, padded: tl.constexpr, shift: tl.constexpr,
):
    pid = tl.program_id(0)
    head = pid % heads
    t = tl.arange(0, 64)
    d = tl.arange(0, padded)
    channels = heads * size
    inside = (t[:, None] >= 0) & (d[None, :] < size)
    table_at = bias + head * 4096 + t[:, None] * 64 + t[None, :]
    total = tl.zeros((64, 64), tl.float32)
    for window in range(pid // heads, windows, programs):
        rows, region = _window_rows(window, t, height, width, shift)
        offset = rows[:, None] * (3 * channels) + head * size + d[None, :]
        q = tl.load(qkv + offset, mask=inside, other=0.0)
        k = tl.load(qkv + offset + channels, mask=inside, other=0.0)
        v = tl.load(qkv + offset + 2 * channels, mask=inside, other=0.0)
        g = tl.load(grad + rows[:, None] * channels + head * size + d[None, :], mask=inside, other=0.0)
        p = _probabilities(q, k, tl.load(table_at).to(tl.float32), region, scale, shift)
        dp = tl.dot(g, tl.trans(v))
        dv = tl.dot(tl.trans(p.to(g.dtype)), g)
        ds = p * (dp - tl.sum(p * dp, 1)[:, None])
        total += ds
        ds = (ds * scale).to(q.dtype)
        dq = tl.dot(ds, k)
        dk = tl.dot(tl.trans(ds), q)
        tl.store(grad_qkv + offset, dq.to(q.dtype), mask=inside)
        tl.store(grad_qkv + offset + channels, dk.to(q.dtype), mask=inside)
        tl.store(grad_qkv + offset + 2 * channels, dv.to(q.dtype), mask=inside)
    tl.store(grad_bias + pid * 4096 + t[:, None] * 64 + t[None, :], total)


PROGRAMS = 132 * 4


def _shape(qkv: Tensor, heads: int) -> tuple[int, int, int, int, int]:
    batch, height, width, triple = qkv.shape
    windows = batch * (height // 8) * (width // 8)
    return windows, height, width, triple // 3, max(1, min(PROGRAMS // heads, windows))


@torch.library.custom_op("smhdr::window_attention", mutates_args=())
def window_attention(qkv: Tensor, bias: Tensor, heads: int, shifted: bool) -> Tensor:
    """qkv [B, H, W, 3C], bias [heads, 64, 64] -> [B, H, W, C]."""
    windows, height, width, channels, programs = _shape(qkv, heads)
    size = channels // heads
    qkv = qkv.contiguous()
    out = qkv.new_empty(*qkv.shape[:3], channels)
    _attention_forward[(programs * heads,)](
        qkv, bias, out, windows, height, width, programs, size**-0.5,
        heads, size, max(16, triton.next_power_of_2(size)), 4 if shifted else 0, num_warps=4,
    )
    return out


@window_attention.register_fake
def _(qkv: Tensor, bias: Tensor, heads: int, shifted: bool) -> Tensor:
    return qkv.new_empty(*qkv.shape[:3], qkv.shape[3] // 3)


@torch.library.custom_op("smhdr::window_attention_backward", mutates_args=())
def window_attention_backward(
    qkv: Tensor, bias: Tensor, grad: Tensor, heads: int, shifted: bool
) -> tuple[Tensor, Tensor]:
    windows, height, width, channels, programs = _shape(qkv, heads)
    size = channels // heads
    qkv, grad = qkv.contiguous(), grad.contiguous()
    grad_qkv = torch.empty_like(qkv)
    partial = bias.new_empty(programs, heads, 64, 64, dtype=torch.float32)
    _attention_backward[(programs * heads,)](
        qkv, bias, grad, grad_qkv, partial, windows, height, width, programs, size**-0.5,
        heads, size, max(16, triton.next_power_of_2(size)), 4 if shifted else 0, num_warps=4,
    )
    return grad_qkv, partial.sum(0)


@window_attention_backward.register_fake
def _(qkv: Tensor, bias: Tensor, grad: Tensor, heads: int, shifted: bool) -> tuple[Tensor, Tensor]:
    return qkv.new_empty(qkv.shape), bias.new_empty(bias.shape, dtype=torch.float32)


def _attention_setup(ctx, inputs, output) -> None:
    qkv, bias, ctx.heads, ctx.shifted = inputs
    ctx.save_for_backward(qkv, bias)


def _attention_autograd(ctx, grad: Tensor):
    qkv, bias = ctx.saved_tensors
    grad_qkv, grad_bias = window_attention_backward(qkv, bias, grad, ctx.heads, ctx.shifted)
    return grad_qkv, grad_bias, None, None


window_attention.register_autograd(_attention_autograd, setup_context=_attention_setup)


@triton.jit
def _depthwise_forward(
    x, weight, bias, out, height, width,
    channels: tl.constexpr, padded: tl.constexpr, columns: tl.constexpr, flip: tl.constexpr, has_bias: tl.constexpr,
):
    row = tl.program_id(0)
    y = row % height
    column = tl.program_id(1) * columns + tl.arange(0, columns)
    c = tl.arange(0, padded)
    inside = (column[:, None] < width) & (c[None, :] < channels)
    total = tl.zeros((columns, padded), tl.float32)
    if has_bias:
        total += tl.load(bias + c, mask=c < channels, other=0.0).to(tl.float32)[None, :]
    for ky in tl.static_range(3):
        for kx in tl.static_range(3):
            w = tl.load(weight + c * 9 + ((8 - ky * 3 - kx) if flip else (ky * 3 + kx)), mask=c < channels, other=0.0).to(tl.float32)
            sx = column + (kx - 1)
            valid = (y + (ky - 1) >= 0) & (y + (ky - 1) < height) & (sx >= 0) & (sx < width)
            at = x + ((row + (ky - 1)) * width + sx)[:, None] * channels + c[None, :]
            total += tl.load(at, mask=inside & valid[:, None], other=0.0).to(tl.float32) * w[None, :]
    at = out + (row * width + column)[:, None] * channels + c[None, :]
    tl.store(at, total.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _depthwise_weight(
    x, grad, partial, tiles, height, width, programs,
    channels: tl.constexpr, padded: tl.constexpr, columns: tl.constexpr,
):
    """partial [programs, 10, padded]: nine taps, then the bias."""
    pid = tl.program_id(0)
    across = (width + columns - 1) // columns
    c = tl.arange(0, padded)
    lane = tl.arange(0, columns)
    a0 = tl.zeros((columns, padded), tl.float32)
    a1 = a0
    a2 = a0
    a3 = a0
    a4 = a0
    a5 = a0
    a6 = a0
    a7 = a0
    a8 = a0
    a9 = a0
    for tile in range(pid, tiles, programs):
        row = tile // across
        y = row % height
        column = tile % across * columns + lane
        inside = (column[:, None] < width) & (c[None, :] < channels)
        base = (row * width + column)[:, None] * channels + c[None, :]
        g = tl.load(grad + base, mask=inside, other=0.0).to(tl.float32)
        up = inside & (y > 0)
        down = inside & (y < height - 1)
        left = column[:, None] > 0
        right = column[:, None] < width - 1
        step = width * channels
        a0 += g * tl.load(x + base - step - channels, mask=up & left, other=0.0).to(tl.float32)
        a1 += g * tl.load(x + base - step, mask=up, other=0.0).to(tl.float32)
        a2 += g * tl.load(x + base - step + channels, mask=up & right, other=0.0).to(tl.float32)
        a3 += g * tl.load(x + base - channels, mask=inside & left, other=0.0).to(tl.float32)
        a4 += g * tl.load(x + base, mask=inside, other=0.0).to(tl.float32)
        a5 += g * tl.load(x + base + channels, mask=inside & right, other=0.0).to(tl.float32)
        a6 += g * tl.load(x + base + step - channels, mask=down & left, other=0.0).to(tl.float32)
        a7 += g * tl.load(x + base + step, mask=down, other=0.0).to(tl.float32)
        a8 += g * tl.load(x + base + step + channels, mask=down & right, other=0.0).to(tl.float32)
        a9 += g
    at = partial + pid * 10 * padded + c
    tl.store(at, tl.sum(a0, 0))
    tl.store(at + padded, tl.sum(a1, 0))
    tl.store(at + 2 * padded, tl.sum(a2, 0))
    tl.store(at + 3 * padded, tl.sum(a3, 0))
    tl.store(at + 4 * padded, tl.sum(a4, 0))
    tl.store(at + 5 * padded, tl.sum(a5, 0))
    tl.store(at + 6 * padded, tl.sum(a6, 0))
    tl.store(at + 7 * padded, tl.sum(a7, 0))
    tl.store(at + 8 * padded, tl.sum(a8, 0))
    tl.store(at + 9 * padded, tl.sum(a9, 0))


def _launch_depthwise(x: Tensor, weight: Tensor, bias: Tensor, flip: bool, has_bias: bool) -> Tensor:
    batch, height, width, channels = x.shape
    columns = 16
    out = torch.empty_like(x)
    _depthwise_forward[(batch * height, triton.cdiv(width, columns))](
        x, weight, bias, out, height, width,
        channels, triton.next_power_of_2(channels), columns, flip, has_bias, num_warps=4,
    )
    return out


@torch.library.custom_op("smhdr::depthwise3x3", mutates_args=())
def depthwise3x3(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x [B, H, W, C], weight [C, 1, 3, 3] and bias [C] (float32) -> [B, H, W, C]; zero padding."""
    return _launch_depthwise(x.contiguous(), weight, bias, False, True)


@depthwise3x3.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op("smhdr::depthwise3x3_backward", mutates_args=())
def depthwise3x3_backward(x: Tensor, weight: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x, grad = x.contiguous(), grad.contiguous()
    batch, height, width, channels = x.shape
    columns, padded = 16, triton.next_power_of_2(channels)
    tiles = batch * height * triton.cdiv(width, columns)
    programs = min(132 * 6, tiles)
    partial = torch.empty(programs, 10, padded, dtype=torch.float32, device=x.device)
    _depthwise_weight[(programs,)](
        x, grad, partial, tiles, height, width, programs, channels, padded, columns, num_warps=4
    )
    sums = partial.sum(0)[:, :channels]
    grad_x = _launch_depthwise(grad, weight, weight, True, False)
    return grad_x, sums[:9].t().reshape(weight.shape).contiguous(), sums[9].clone()


@depthwise3x3_backward.register_fake
def _(x: Tensor, weight: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), weight.new_empty(weight.shape), weight.new_empty(weight.shape[0])


def _depthwise_setup(ctx, inputs, output) -> None:
    x, weight, _ = inputs
    ctx.save_for_backward(x, weight)


def _depthwise_autograd(ctx, grad: Tensor):
    return depthwise3x3_backward(*ctx.saved_tensors, grad)


depthwise3x3.register_autograd(_depthwise_autograd, setup_context=_depthwise_setup)
