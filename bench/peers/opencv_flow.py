"""OpenCV's dense inverse search, there at full resolution and back at half: opencv_flow.py WIDTH HEIGHT A B, two files of 8-bit
pixels. For each line on stdin it finds both flows once and prints the seconds. The least of what following movement needs: no levels are matched, nothing is judged.
"""

import sys
import time

import cv2
import numpy as np

width, height = int(sys.argv[1]), int(sys.argv[2])
a, b = (np.fromfile(path, np.uint8).reshape(height, width) for path in sys.argv[3:5])
there, back = (cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM) for _ in range(2))
there.setFinestScale(0)
back.setFinestScale(1)
for _ in sys.stdin:
    begin = time.perf_counter()
    there.calc(a, b, None)
    back.calc(b, a, None)
    print(time.perf_counter() - begin, flush=True)
