"""One model in training: the whole step (forward, loss, backward, clipping, Adam, averaging) as one CUDA graph."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from smnet import Settings, SMNet

MU = 5000.0


def mu_law(x: Tensor) -> Tensor:
    return torch.log1p(MU * x) / math.log1p(MU)


def loss_of(pred: Tensor, truth: Tensor, gradient_weight: float) -> Tensor:
    """Mean |T(pred) - T(truth)|; in place of the perceptual term, the same of the differences between neighbours."""
    error = mu_law(pred) - mu_law(truth)
    loss = error.abs().mean()
    if gradient_weight > 0:
        across = (error[..., 1:] - error[..., :-1]).abs().mean()
        down = (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
        loss = loss + gradient_weight * (across + down)
    return loss


class Learner:
    def __init__(
        self, name: str, configuration: dict, batch: int, rate: float, patch: int = 128, exposures: int = 3,
        drop_path: float = 0.1, gradient_weight: float = 0.1, decay: float = 0.999, clip: float = 1.0,
        bias: float = -2.0, device: str = "cuda",
    ) -> None:
        self.name, self.configuration, self.rate = name, configuration, rate
        self.gradient_weight, self.decay, self.clip, self.device = gradient_weight, decay, clip, device
        self.model = SMNet(**configuration, drop_path=drop_path).to(device)
        with torch.no_grad():
            # The first guess: an even, rather dark picture.
            self.model.conv_end.bias.fill_(bias)
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.parameters = [p for k, p in self.model.named_parameters() if "norm1_y" not in k]
        self.averages = [p for k, p in self.average.named_parameters() if "norm1_y" not in k]
        cuda = device == "cuda"
        self.adam = torch.optim.AdamW(
            self.parameters, lr=torch.tensor(0.0, device=device), betas=(0.9, 0.99), weight_decay=0.0,
            fused=True, capturable=cuda,
        )
        shape = (batch, 6 * exposures, patch, patch)
        self.x = torch.rand(shape, device=device).contiguous(memory_format=torch.channels_last)
        self.truth = torch.rand(batch, 3, patch, patch, device=device).contiguous(memory_format=torch.channels_last)
        self.loss = torch.zeros((), device=device)
        self.norm = torch.zeros((), device=device)
        self.skipped = torch.zeros((), device=device)
        self.graph = None

    def _step(self) -> None:
        for p in self.parameters:
            p.grad = None
        self.model.train()
        loss = loss_of(self.model(self.x), self.truth, self.gradient_weight)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.clip, foreach=True)
        # Adam leaves everything as it is where found_inf is 1.
        self.adam.found_inf = (~torch.isfinite(norm)).float().reshape(())
        self.adam.step()
        torch._foreach_lerp_(self.averages, self.parameters, 1 - self.decay)
        self.loss.copy_(loss.detach())
        self.norm.copy_(norm)
        self.skipped.add_(self.adam.found_inf)

    def capture(self) -> None:
        """Compiles and warms up on noise at rate 0, forgets what Adam saw, then records the step."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self._step()
        self.skipped.zero_()
        for state in self.adam.state.values():
            for value in state.values():
                value.zero_()

    def load(self, path: Path) -> None:
        weights = load_file(path)
        self.model.load_state_dict(weights)
        self.average.load_state_dict(weights)

    def set_rate(self, factor: float) -> None:
        self.adam.param_groups[0]["lr"].fill_(self.rate * factor)

    def step(self) -> None:
        if self.graph is None:
            self._step()
        else:
            self.graph.replay()


def configure(device: str) -> None:
    if device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
        Settings.dtype = torch.bfloat16
        Settings.compiled = Settings.triton_attention = Settings.triton_depthwise = True
        torch._dynamo.config.recompile_limit = 64
    else:
        torch.set_num_threads(2)


CONFIGURATIONS = {
    "smhdr": {"width": 60, "stages": 4, "blocks": 6, "heads": 6},
    "smhdr-s": {"width": 24, "stages": 3, "blocks": 2, "heads": 2},
}
