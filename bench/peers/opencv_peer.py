"""OpenCV's MergeDebevec over photographs in memory as a contender of `smhdr bench`. The true curve is given."""

from __future__ import annotations

import time
from collections.abc import Callable

from lines import serve


def prepare(task: dict) -> tuple[str, Callable[[bool], float]]:
    import cv2
    import numpy as np

    cv2.setNumThreads(task["threads"])
    response = np.repeat(((np.arange(256) / 255) ** 2.2).astype(np.float32)[:, None, None], 3, axis=2)
    response[0] = response[1] / 4  # its logarithm is taken
    times = np.array([2.0**stop for stop in task["exposureValues"]], np.float32)
    pixels = np.fromfile(task["input"], np.uint8).reshape(len(times), task["height"], task["width"], 3)
    images = list(pixels)
    merger = cv2.createMergeDebevec()

    def run(_check: bool) -> float:
        start = time.perf_counter()
        merger.process(images, times, response)
        return time.perf_counter() - start

    return f"OpenCV {cv2.__version__}", run


serve(prepare)
