"""OpenCV's AlignMTB and MergeDebevec over many brackets: opencv_batch.py PROCESSES; on stdin a bracket a line, OUTPUT.hdr and
its photographs, separated by tabs. Not smhdr's merge, but a cheaper one: it shifts only and rejects no ghosts (opencv_same_merge.py does
what smhdr does). The exposure times (three stops apart) and the camera's curve are given: finding them would take longer.
"""

import sys
from multiprocessing import Pool

import cv2
import numpy as np

cv2.setNumThreads(1)
response = np.repeat(((np.arange(256) / 255) ** 2.2).astype(np.float32)[:, None, None], 3, axis=2)
response[0] = response[1] / 4  # its logarithm is taken


def merge(line: str) -> None:
    output, *paths = line.split("\t")
    images = [cv2.imread(path, cv2.IMREAD_COLOR) for path in paths]
    times = np.array([8.0**i / 512 for i in range(len(paths))], np.float32)
    cv2.createAlignMTB().process(images, images)
    radiance = cv2.createMergeDebevec().process(images, times, response)
    radiance = np.nan_to_num(radiance, nan=0.0, posinf=0.0, neginf=0.0)
    if not cv2.imwrite(output, radiance):
        raise OSError(f"{output}: not written")


if __name__ == "__main__":
    with Pool(int(sys.argv[1])) as pool:
        pool.map(merge, sys.stdin.read().splitlines(), chunksize=1)
