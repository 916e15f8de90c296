"""Makes test/golden/any_inputs.safetensors: python any_inputs.py ../../test/golden.

Numbers of exposures that do not divide the width, on the weights of the golden configurations D (width 12) and B
(width 24). Per case: `input`, `out`, `grad_out` and the gradients of sum(out grad_out): of the input, of the extractor
and of the attention between exposures.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from smnet import SMNet, configuration_of

CASES = [("D", 2, 8, 16), ("D", 4, 8, 8), ("D", 7, 8, 8), ("D", 9, 8, 8), ("B", 4, 8, 16), ("B", 7, 8, 8), ("B", 9, 8, 8)]
KEPT = ("conv_first.0.weight", "conv_first.2.bias", "channel_layers.1.attn.q.weight", "channel_layers.1.attn.k.weight")

folder = Path(sys.argv[1])
torch.manual_seed(1)
numbers = {}
for name, exposures, height, width in CASES:
    weights = load_file(folder / f"{name}_weights.safetensors")
    model = SMNet(**configuration_of(weights)).eval()
    model.load_state_dict(weights)
    source = torch.rand(1, 6 * exposures, height, width, requires_grad=True)
    out = model(source)
    grad_out = torch.randn_like(out)
    (out * grad_out).sum().backward()
    case = f"{name}_n{exposures}"
    numbers |= {f"{case}/input": source.detach(), f"{case}/out": out.detach(), f"{case}/grad_out": grad_out}
    numbers[f"{case}/grad/input"] = source.grad
    parameters = dict(model.named_parameters())
    numbers |= {f"{case}/grad/{key}": parameters[key].grad.clone() for key in KEPT}
save_file({key: value.contiguous() for key, value in numbers.items()}, folder / "any_inputs.safetensors")
