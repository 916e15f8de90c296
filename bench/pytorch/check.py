"""Compares smnet.py with the golden numbers: python check.py GOLDEN_FOLDER."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from smnet import SMNet, configuration_of

golden = Path(sys.argv[1])
only = sys.argv[2:]
manifest = json.loads((golden / "manifest.json").read_text())


def mu_law(x: torch.Tensor) -> torch.Tensor:
    return torch.log1p(5000 * x) / torch.log1p(torch.tensor(5000.0))


failures = 0
for name, entry in manifest["configs"].items():
    weights = load_file(golden / f"{name}_weights.safetensors")
    model = SMNet(**configuration_of(weights)).eval()
    model.load_state_dict(weights)
    for case in entry["cases"]:
        if only and f"{name}_{case}" not in only:
            continue
        data = load_file(golden / f"{name}_{case}.safetensors")
        gradients_file = golden / f"{name}_{case}_grads.safetensors"
        gradients = load_file(gradients_file) if gradients_file.exists() else {}
        stages = len(model.layers)
        for mode in ("nomask", "importance", "hardmask"):
            source = data["input"].clone().requires_grad_(True)
            mask = None if mode == "nomask" else data["mask_map"]
            use = torch.full((stages,), 1.0 if mode == "hardmask" else 0.0)
            out = model(source, mask, use)
            error = (out - data[f"out_{mode}"]).abs().max().item()
            worst, where = 0.0, ""
            if gradients:
                model.zero_grad()
                ((mu_law(out) - mu_law(data["gt"])) * data["loss_map"]).abs().mean().backward()
                found = {k: p.grad for k, p in model.named_parameters()} | {"__input__": source.grad}
                for key, value in found.items():
                    true = gradients.get(f"{mode}/{key}")
                    if true is None:
                        continue
                    value = torch.zeros_like(true) if value is None else value
                    excess = (value - true).abs().max().item() / (1e-4 * true.abs().max().item() + 1e-9)
                    if excess > worst:
                        worst, where = excess, key
            bad = error > 5e-6 or worst > 1
            failures += bad
            gradient_text = f"gradients {worst:.3f} of 1e-4 ({where})" if gradients else ""
            print(f"{name}_{case} {mode}: output {error:.1e} {gradient_text}{'  BAD' if bad else ''}", flush=True)
sys.exit(1 if failures else 0)
