"""Trains SMNet from the synthesiser's stream: python train.py --help. See feed.ts for the records."""

from __future__ import annotations

import argparse
import json
import math
import os
import queue
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from learner import CONFIGURATIONS, Learner, configure, mu_law
from smnet import Settings

EXPOSURES = 3


class Records:
    """Where the parts of a record of S x S pixels lie, in bytes."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.codes_at = 4 * EXPOSURES
        self.truth_at = self.codes_at + EXPOSURES * side * side * 6
        self.moving_at = self.truth_at + side * side * 12
        self.size = self.moving_at + side * side

    def views(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """raw uint8 [N, size] -> exposure values [N, n], codes as int16 [N, n, S, S, 3], truth [N, S, S, 3]."""
        side = self.side
        values = raw[:, : self.codes_at].view(torch.float32)
        codes = raw[:, self.codes_at : self.truth_at].view(torch.int16).unflatten(1, (EXPOSURES, side, side, 3))
        truth = raw[:, self.truth_at : self.moving_at].view(torch.float32).unflatten(1, (side, side, 3))
        return values, codes, truth


def network_input(values: Tensor, codes: Tensor) -> Tensor:
    """[B, n], int16 codes [B, n, H, W, 3] -> [B, 6n, H, W]: per exposure the radiance, then the encoded value."""
    encoded = (codes.to(torch.int32) & 0xFFFF).float() / 65535
    radiance = encoded**2.2 / (torch.exp2(values) + 1e-8)[:, :, None, None, None]
    x = torch.cat((radiance, encoded), -1)
    batch, n, height, width, _ = x.shape
    return x.permute(0, 1, 4, 2, 3).reshape(batch, 6 * n, height, width)


class Pool:
    """The latest brackets, as raw records on the device; patches are cut from them at random."""

    def __init__(self, records: Records, capacity: int, device: str) -> None:
        self.records, self.capacity, self.device = records, capacity, device
        self.raw = torch.empty(capacity, records.size, dtype=torch.uint8, device=device)
        self.values, self.codes, self.truth = records.views(self.raw)
        self.filled, self.next = 0, 0

    def add(self, record: Tensor) -> None:
        self.raw[self.next].copy_(record, non_blocking=True)
        self.next = (self.next + 1) % self.capacity
        self.filled = min(self.capacity, self.filled + 1)

    def patches(self, count: int, patch: int) -> tuple[Tensor, Tensor]:
        """Random places, flips, turns and, for a third, an order of the colours."""
        device, room = self.device, self.records.side - patch + 1
        which = torch.randint(self.filled, (count,), device=device)
        steps = torch.arange(patch, device=device)

        def places() -> Tensor:
            start = torch.randint(room, (count, 1), device=device)
            flip = torch.rand(count, 1, device=device) < 0.5
            return start + torch.where(flip, patch - 1 - steps, steps)

        ys, xs = places()[:, :, None], places()[:, None, :]
        order = torch.rand(count, 3, device=device).argsort(1)
        keep = torch.rand(count, 1, device=device) < 0.67
        order = torch.where(keep, torch.arange(3, device=device), order)
        turn = torch.rand(count, device=device) < 0.5

        def augment(image: Tensor) -> Tensor:
            lead = (slice(None),) + (None,) * (image.dim() - 2)
            image = torch.where(turn[lead + (None,)], image.transpose(-2, -3), image)
            return torch.gather(image, -1, order[lead].expand_as(image))

        n = torch.arange(EXPOSURES, device=device)[None, :, None, None]
        codes = self.codes[which[:, None, None, None], n, ys[:, None], xs[:, None]]
        truth = self.truth[which[:, None, None], ys, xs]
        x = network_input(self.values[which], augment(codes))
        return x, augment(truth).permute(0, 3, 1, 2)


class Feed:
    """Reads the synthesiser's pipes into pinned buffers, one thread a pipe."""

    def __init__(self, command: list[str], pipe: str, workers: int, records: Records, buffers: int, pin: bool) -> None:
        self.free: queue.Queue[int] = queue.Queue()
        self.full: queue.Queue[int] = queue.Queue()
        self.memory = torch.empty(buffers, records.size, dtype=torch.uint8, pin_memory=pin)
        for k in range(buffers):
            self.free.put(k)
        self.received = 0
        for k in range(workers):
            path = f"{pipe}.{k}"
            if os.path.exists(path):
                os.unlink(path)
            os.mkfifo(path)
            threading.Thread(target=self._read, args=(path,), daemon=True).start()
        self.process = subprocess.Popen(command)

    def _read(self, path: str) -> None:
        with open(path, "rb", buffering=0) as file:
            while True:
                k = self.free.get()
                rest = memoryview(self.memory[k].numpy())
                while len(rest) > 0:
                    got = file.readinto(rest)
                    if not got:
                        return
                    rest = rest[got:]
                self.received += 1
                self.full.put(k)

    def drain(self, pool: Pool, limit: int) -> list[int]:
        """Copies what has arrived to the pool; the buffers are free again once the copies are done."""
        used = []
        while len(used) < limit:
            try:
                k = self.full.get_nowait()
            except queue.Empty:
                break
            pool.add(self.memory[k])
            used.append(k)
        return used


def read_records(path: str, workers: int, records: Records) -> Tensor:
    """What feed.ts wrote to files OUT.0, OUT.1, ..., in the order of the seeds."""
    parts = [np.fromfile(f"{path}.{k}", dtype=np.uint8).reshape(-1, records.size) for k in range(workers)]
    total = sum(len(p) for p in parts)
    return torch.from_numpy(np.stack([parts[i % workers][i // workers] for i in range(total)]))


def psnr(a: Tensor, b: Tensor) -> Tensor:
    return -10 * torch.log10((a - b).square().flatten(1).mean(1).clamp_min(1e-12))


@torch.no_grad()
def evaluate(model: torch.nn.Module | None, raw: Tensor, records: Records, device: str, batch: int = 4) -> list[float]:
    """Mean PSNR-mu and PSNR-l of the model, or without one of the reference exposure alone."""
    compiled, Settings.compiled = Settings.compiled, False
    results = []
    for part in raw.split(batch):
        values, codes, truth = records.views(part.to(device))
        x, truth = network_input(values, codes), truth.permute(0, 3, 1, 2)
        reference = EXPOSURES // 2
        out = x[:, 6 * reference : 6 * reference + 3] if model is None else model(x)
        out = out.float().clamp(0, 1)
        results.append(torch.stack((psnr(mu_law(out), mu_law(truth)), psnr(out, truth)), 1).cpu())
    Settings.compiled = compiled
    return [round(v, 3) for v in torch.cat(results).mean(0).tolist()]


def save(learner: Learner, path: Path, summary: dict) -> None:
    weights = {k: v.detach().float().cpu().contiguous() for k, v in learner.average.named_parameters()}
    metadata = {"configuration": json.dumps(learner.configuration), "exposures": str(EXPOSURES)}
    metadata |= {k: str(v) for k, v in summary.items()}
    save_file(weights, path.with_suffix(".part"), metadata)
    path.with_suffix(".part").rename(path)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--node", default="node")
    parser.add_argument("--feed", required=True, help="feed.ts, bundled")
    parser.add_argument("--sources", required=True, help="folder of HDR images to train on")
    parser.add_argument("--validation", help="records written by feed.ts with COUNT, in files NAME.k")
    parser.add_argument("--validation-workers", type=int, default=1)
    parser.add_argument("--workers", type=int, default=14)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--models", default="smhdr,smhdr-s")
    parser.add_argument("--batch", default="16,16")
    parser.add_argument("--rate", default="6e-4,1.5e-3")
    parser.add_argument("--repeat", default="1,1", help="steps of each model per round")
    parser.add_argument("--drop-path", default="0.05,0")
    parser.add_argument("--minutes", type=float, required=True, help="length of the run, from its launch")
    parser.add_argument("--start", help="folder with NAME.safetensors to go on from")
    parser.add_argument("--start-progress", type=float, default=0.0, help="where on the schedule to go on")
    parser.add_argument("--capacity", type=int, default=12000, help="brackets kept on the device")
    parser.add_argument("--buffers", type=int, default=1536)
    parser.add_argument("--out", required=True)
    parser.add_argument("--device", default="cuda")
    a = parser.parse_args()

    out = Path(a.out)
    out.mkdir(parents=True, exist_ok=True)
    log = (out / "log.jsonl").open("a")
    began = time.time()

    def say(**values: object) -> None:
        line = json.dumps({"at": round(time.time() - began, 1)} | values)
        print(line, flush=True)
        log.write(line + "\n")
        log.flush()

    device, cuda = a.device, a.device == "cuda"
    torch.manual_seed(a.seed)
    configure(device)
    records = Records(a.side)
    options = json.dumps({"width": a.side, "height": a.side, "exposures": EXPOSURES})
    pipe = f"/dev/shm/smhdr-{os.getpid()}"
    command = [a.node, a.feed, a.sources, pipe, str(a.workers), str(a.seed * 1_000_000), options]
    feed = Feed(["nice", *command], pipe, a.workers, records, a.buffers, cuda)

    names = a.models.split(",")
    floats = lambda text: [float(v) for v in text.split(",")]
    batches, repeats = [int(v) for v in floats(a.batch)], [int(v) for v in floats(a.repeat)]
    learners = [
        Learner(name, CONFIGURATIONS[name], batch, rate, a.patch, EXPOSURES, drop, device=device)
        for name, batch, rate, drop in zip(names, batches, floats(a.rate), floats(a.drop_path))
    ]
    for learner in learners:
        if a.start:
            learner.load(Path(a.start) / f"{learner.name}.safetensors")
        if cuda:
            learner.capture()
        say(captured=learner.name, parameters=sum(p.numel() for p in learner.model.parameters()), received=feed.received)
    pool = Pool(records, a.capacity, device)
    while feed.received < min(256, a.buffers // 2):
        time.sleep(0.1)
    validation = read_records(a.validation, a.validation_workers, records) if a.validation else None
    if validation is not None:
        say(validation=len(validation), reference_alone=evaluate(None, validation, records, device))

    start = time.time()
    budget = a.minutes * 60 - (start - began)
    steps, last_say, last_check, said_steps = 0, start, start, 0
    in_flight: list[tuple[list[int], torch.cuda.Event | None]] = []
    while True:
        progress = (time.time() - start) / budget
        if progress >= 1:
            break
        used = feed.drain(pool, 256 if steps == 0 else 64)
        event = torch.cuda.Event() if cuda else None
        if event:
            event.record()
        in_flight.append((used, event))
        while in_flight and (in_flight[0][1] is None or in_flight[0][1].query()):
            for k in in_flight.pop(0)[0]:
                feed.free.put(k)
        position = min(1, a.start_progress + (1 - a.start_progress) * progress)
        factor = min(1, (steps + 1) / 300) * 0.5 * (1 + math.cos(math.pi * position))
        for learner, batch, repeat in zip(learners, batches, repeats):
            learner.set_rate(factor)
            for _ in range(repeat):
                x, truth = pool.patches(batch, a.patch)
                learner.x.copy_(x)
                learner.truth.copy_(truth)
                learner.step()
        steps += 1
        if cuda and steps % 4 == 0:
            torch.cuda.synchronize()
        now = time.time()
        if now - last_say > 10:
            say(
                step=steps, progress=round(progress, 4), rounds_per_second=round((steps - said_steps) / (now - last_say), 2),
                received=feed.received, pool=pool.filled,
                **{v.name: [round(v.loss.item(), 5), round(v.norm.item(), 3), int(v.skipped.item())] for v in learners},
            )
            last_say, said_steps = now, steps
        if now - last_check > 75:
            last_check = now
            summary = {"step": steps, "minutes": round((now - start) / 60, 2)}
            for learner in learners:
                result = evaluate(learner.average, validation, records, device) if validation is not None else []
                say(step=steps, model=learner.name, psnr_mu_l=result)
                save(learner, out / f"{learner.name}.safetensors", summary | {"validation_psnr_mu_l": result})
    minutes = round((time.time() - start) / 60, 2)
    for learner, batch, repeat in zip(learners, batches, repeats):
        result = evaluate(learner.average, validation, records, device) if validation is not None else []
        summary = {
            "training": f"{steps * repeat} steps of {batch} patches of {a.patch}x{a.patch} in {minutes} minutes, "
            f"{feed.received} synthesised brackets, PyTorch re-implementation, phase one only (no masks)",
            "validation_psnr_mu_l": result,
        }
        say(done=learner.name, psnr_mu_l=result, **summary)
        save(learner, out / f"{learner.name}.safetensors", summary)
    feed.process.terminate()


if __name__ == "__main__":
    main()
