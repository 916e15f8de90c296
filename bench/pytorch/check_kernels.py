"""Compares kernels.py with plain PyTorch. Without a GPU: TRITON_INTERPRET=1 python check_kernels.py."""

import torch
import torch.nn.functional as F

from kernels import depthwise3x3, window_attention
from smnet import window_attention_plain

device = "cuda" if torch.cuda.is_available() else "cpu"
dtype = torch.bfloat16 if device == "cuda" else torch.float32
limit = 2e-2 if device == "cuda" else 1e-4
torch.manual_seed(1)


def compare(name, found, expected):
    for label, a, b in zip(("out", "d0", "d1", "d2"), found, expected):
        error = ((a.double() - b.double()).norm() / b.double().norm()).item()
        print(f"{name} {label}: {error:.2e}")
        assert error < limit, name


def outcome(function, inputs, weight):
    inputs = [i.clone().requires_grad_(True) for i in inputs]
    out = function(*inputs)
    (out * weight.to(out.dtype)).sum().backward()
    return [out.detach()] + [i.grad for i in inputs]


for batch, height, width, heads, size in ((2, 16, 24, 6, 10), (1, 8, 8, 2, 12), (1, 16, 8, 4, 10)):
    channels = heads * size
    for shifted in (False, True):
        qkv = torch.randn(batch, height, width, 3 * channels, device=device).to(dtype)
        bias = torch.randn(heads, 64, 64, device=device)
        weight = torch.randn(batch, height, width, channels, device=device)
        found = outcome(lambda q, b: window_attention(q, b, heads, shifted), [qkv, bias], weight)
        expected = outcome(
            lambda q, b: window_attention_plain(q, b, heads, shifted), [qkv.float(), bias], weight
        )
        compare(f"attention {height}x{width} heads {heads} shifted {shifted}", found, expected)
    x = torch.randn(batch, height, width, channels, device=device).to(dtype)
    kernel, bias = torch.randn(channels, 1, 3, 3, device=device), torch.randn(channels, device=device)

    def plain(x, kernel, bias):
        return F.conv2d(x.permute(0, 3, 1, 2), kernel, bias, padding=1, groups=channels).permute(0, 2, 3, 1)

    found = outcome(depthwise3x3, [x, kernel, bias], weight)
    compare(f"depthwise {height}x{width}x{channels}", found, outcome(plain, [x.float(), kernel, bias], weight))
