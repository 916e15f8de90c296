"""OpenCV's AlignMTB and MergeDebevec over brackets: opencv_debevec.py FOLDER...

A FOLDER holds 0.png .. n-1.png (8 bits, gamma 2.2) and exposure.txt (stops); the result goes to debevec.raw beside
them (float32, interleaved RGB, rows top to bottom). The camera's true curve is given: the best case for Debevec.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

response = np.repeat(((np.arange(256) / 255) ** 2.2).astype(np.float32)[:, None, None], 3, axis=2)
response[0] = response[1] / 4  # its logarithm is taken

for folder in map(Path, sys.argv[1:]):
    stops = [float(line) for line in (folder / "exposure.txt").read_text().split()]
    images = [cv2.imread(str(folder / f"{i}.png"), cv2.IMREAD_COLOR) for i in range(len(stops))]
    times = np.array([2.0**stop for stop in stops], np.float32)
    cv2.createAlignMTB().process(images, images)
    radiance = cv2.createMergeDebevec().process(images, times, response)
    radiance = np.nan_to_num(radiance, nan=0.0, posinf=0.0, neginf=0.0)
    np.ascontiguousarray(radiance[..., ::-1]).astype(np.float32).tofile(folder / "debevec.raw")
