"""Times training steps on this GPU: python bench_step.py NAME:BATCH[:plain][:profile] ..."""

from __future__ import annotations

import statistics
import sys
import time

import torch

from learner import CONFIGURATIONS, Learner, configure
from smnet import Settings


def seconds(run, repeats: int = 10) -> float:
    times = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1000)
    return statistics.median(times)


def main() -> None:
    configure("cuda")
    print(torch.cuda.get_device_name(0), "torch", torch.__version__, flush=True)
    for argument in sys.argv[1:]:
        name, batch, *flags = argument.split(":")
        Settings.triton_attention = "plain" not in flags and "plain_attention" not in flags
        Settings.triton_depthwise = "plain" not in flags and "plain_depthwise" not in flags
        torch.cuda.reset_peak_memory_stats()
        began = time.time()
        learner = Learner(name, CONFIGURATIONS[name], int(batch), 1e-3)
        learner.capture()
        ready = time.time() - began
        median = seconds(learner.step)
        peak = torch.cuda.max_memory_allocated() / 2**30
        print(
            f"{argument}: step {median * 1000:.1f} ms, {int(batch) / median:.0f} patches/s, compiled in {ready:.0f} s, "
            f"peak {peak:.1f} GiB, loss {learner.loss.item():.4f}, norm {learner.norm.item():.3f}",
            flush=True,
        )
        if "profile" in flags:
            from torch.profiler import ProfilerActivity, profile

            with profile(activities=[ProfilerActivity.CUDA]) as trace:
                learner.step()
                torch.cuda.synchronize()
            for event in sorted(trace.key_averages(), key=lambda e: -e.device_time_total)[:32]:
                print(f"  {event.device_time_total / 1000:8.2f} ms {event.count:4d}x {event.key[:150]}")
        del learner
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
