"""SMNet in PyTorch (../pytorch/smnet.py) as a contender of `smhdr bench`: a pass of the network, or a training step."""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lines import serve

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "pytorch"))


def prepare(task: dict) -> tuple[str, Callable[[bool], float]]:
    import numpy as np
    import torch

    from smnet import Settings, SMNet, configuration_of

    torch.set_num_threads(task["threads"])
    if task["precision"] == "bf16":
        Settings.dtype = torch.bfloat16

    def load_weights() -> dict[str, torch.Tensor]:
        """A safetensors file of float32 tensors, without needing the package."""
        data = Path(task["model"]).read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        weights = {}
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = (8 + length + offset for offset in entry["data_offsets"])
                values = np.frombuffer(data[begin:end], np.float32).reshape(entry["shape"])
                weights[name] = torch.from_numpy(values.copy())
        return weights

    exposures, batch, height, width = (task[key] for key in ("exposures", "batch", "height", "width"))

    def images(path: str, *shape: int) -> torch.Tensor:
        return torch.from_numpy(np.fromfile(path, np.float32).reshape(shape))

    weights = load_weights()
    model = SMNet(**configuration_of(weights), drop_path=0)
    model.load_state_dict(weights)
    # [exposures, batch, height, width, 6] -> [batch, 6 exposures, height, width]
    x = images(task["input"], exposures, batch, height, width, 6)
    x = x.permute(1, 0, 4, 2, 3).reshape(batch, 6 * exposures, height, width).contiguous()

    def leave(values: np.ndarray) -> None:
        np.ascontiguousarray(values, np.float32).tofile(task["output"])

    def infer(check: bool) -> float:
        with torch.inference_mode():
            start = time.perf_counter()
            out = model(x)
            seconds = time.perf_counter() - start
        if check:
            leave(out[0].permute(1, 2, 0).numpy())
        return seconds

    if task["kind"] == "network":
        model.eval()
        return f"torch {torch.__version__}", infer

    from learner import loss_of

    truth = images(task["truth"], batch, height, width, 3).permute(0, 3, 1, 2).contiguous()
    adam = torch.optim.Adam(model.parameters(), lr=5e-4)
    model.train()

    def step(check: bool) -> float:
        start = time.perf_counter()
        adam.zero_grad()
        loss = loss_of(model(x), truth, 0)
        loss.backward()
        adam.step()
        seconds = time.perf_counter() - start
        if check:
            squares = sum(p.grad.square().sum().item() for p in model.parameters() if p.grad is not None)
            leave(np.array([loss.item(), squares**0.5]))
        return seconds

    return f"torch {torch.__version__}", step


serve(prepare)
