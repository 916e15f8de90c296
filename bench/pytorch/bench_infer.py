"""Times inference on this GPU: python bench_infer.py NAME HEIGHT WIDTH. bf16 with the Triton kernels; plain fp32 (tf32 off) too."""

from __future__ import annotations

import sys

import torch

from bench_step import seconds
from learner import CONFIGURATIONS, configure
from smnet import Settings, SMNet

name, height, width = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
configure("cuda")
model = SMNet(**CONFIGURATIONS[name]).cuda().eval()
x = torch.rand(1, 18, height, width, device="cuda").contiguous(memory_format=torch.channels_last)


def row(label: str, compiled: bool, kernels: bool, dtype: torch.dtype, tf32: bool) -> None:
    Settings.compiled, Settings.dtype = compiled, dtype
    Settings.triton_attention = Settings.triton_depthwise = kernels
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    torch.cuda.reset_peak_memory_stats()
    with torch.no_grad():
        for _ in range(3):
            model(x)
        median = seconds(lambda: model(x))
    peak = torch.cuda.max_memory_allocated() / 2**30
    print(f"{name} {width}x{height} {label}: {median * 1000:.1f} ms, peak {peak:.2f} GiB", flush=True)


row("eager fp32, plain PyTorch", False, False, torch.float32, False)
row("eager bf16, plain PyTorch", False, False, torch.bfloat16, True)
row("compiled bf16, plain PyTorch", True, False, torch.bfloat16, True)
row("compiled bf16, Triton kernels", True, True, torch.bfloat16, True)
