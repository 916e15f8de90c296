"""The same merge as `smhdr batch --method radiance`, written with OpenCV and numpy: opencv_same_merge.py PROCESSES [ALIGN]; on
stdin a bracket a line, OUTPUT.hdr and its photographs, shortest first, separated by tabs. Exposures three stops apart.

Homographies at half size: ORB features matched between exposures brought to one brightness and equalised, MAGSAC, then refined by
eight steps of findTransformECC (ALIGN "ecc", the default; more made them no better) or left as they are ("orb"). The radiance is that of
native/ops/reference/radiance_merge.cpp for three exposures with the middle one as reference, its tuning copied from
native/merge/merge_model.h; moved exposures by OpenCV's own cubic, in the root of light as ours, without our bounds. Left out, to the peer's advantage: reading EXIF, finding the tone curve, gains and noise from the
pixels (the noise of 8-bit codes is assumed), and judging whether a warp helps before it is taken.
"""

import sys
from multiprocessing import Pool

import cv2
import numpy as np

cv2.setNumThreads(1)
STOPS = 3.0
codes = np.arange(256) / 255
table = np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4).astype(np.float32)
to_srgb = lambda v: np.where(v <= 0.0031308, 12.92 * v, 1.055 * np.power(v, 1 / 2.4) - 0.055)
# merge_model.h
RELATIVE, CLIP_TOLERANCE, EDGE, LIMIT, INDEPENDENT = 0.08, 0.35, 0.35, 10.0, 12.0
REGION, DETAIL, REJECTION, CLIP_START, CLIP_END = 3.0, 4.0, 2.0, 0.80, 0.96
# radiance_merger.cpp, quantisation() of 8-bit files.
FLOOR = max(0.5 * table[1] ** 2, 1e-9)
SLOPE = max(0.5 * (table[154] - table[153]) ** 2 / max(0.05, table[153]), 1e-6)
BLACK = max(table[6], 0.5 * FLOOR**0.5)


def at_most(x, limit):
    """cv2's, which takes a scalar for the first channel alone."""
    return cv2.min(x.reshape(x.shape[0], -1), limit).reshape(x.shape)


def at_least(x, limit):
    return cv2.max(x.reshape(x.shape[0], -1), limit).reshape(x.shape)


def smoothstep(start, end, x):
    t = at_most(at_least((x - np.float32(start)) * np.float32(1 / (end - start)), 0.0), 1.0)
    return t * t * (3 - 2 * t)



def brighten(grey, stops):
    """Codes of the same scene with `stops` more light."""
    return cv2.LUT(grey, np.clip(to_srgb(np.minimum(table * 2.0**stops, 1)) * 255 + 0.5, 0, 255).astype(np.uint8))


def find_warp(fixed, moving, stops, method):
    """Homography from pixels of `fixed` to those of `moving`, which has `stops` more light; both grey, half size."""
    if stops > 0:
        fixed = brighten(fixed, stops)
    else:
        moving = brighten(moving, -stops)
    fixed, moving = cv2.equalizeHist(fixed), cv2.equalizeHist(moving)
    detector = cv2.ORB_create(800, fastThreshold=8)
    keys_f, words_f = detector.detectAndCompute(fixed, None)
    keys_m, words_m = detector.detectAndCompute(moving, None)
    warp = np.eye(3)
    if words_f is not None and words_m is not None:
        matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(words_f, words_m)
        if len(matches) >= 12:
            a = np.float32([keys_f[m.queryIdx].pt for m in matches])
            b = np.float32([keys_m[m.trainIdx].pt for m in matches])
            found, _ = cv2.findHomography(a, b, cv2.USAC_MAGSAC, 1.5)
            warp = warp if found is None else found
    if method == "ecc":
        # What clips shows nothing.
        mask = ((fixed > 8) & (fixed < 240)).astype(np.uint8)
        stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 8, 1e-4)
        try:
            _, refined = cv2.findTransformECC(fixed, moving, warp.astype(np.float32), cv2.MOTION_HOMOGRAPHY, stop, mask, 3)
            warp = refined.astype(np.float64)
        except cv2.error:
            pass  # it did not converge: what the features say stays
    to_half = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])
    return np.linalg.inv(to_half) @ warp @ to_half


def agreement(a, b, edge, scale_a, scale_b):
    """How far exposure a shows at each pixel what its anchor b shows; each is (radiance, clipping, seen)."""
    (ra, ca, seen), (rb, cb, _) = a, b
    difference = ra - rb
    difference = at_least(difference, 0.0) * (1 - cb) + at_most(difference, 0.0) * (1 - ca)
    if seen is not None:
        difference *= seen[:, :, None]
    mean = cv2.addWeighted(ra, 0.5, rb, 0.5, 0)
    noise = np.float32(FLOOR * (scale_a**2 + scale_b**2)) + np.float32(SLOPE * (scale_a + scale_b)) * mean
    bias = (np.float32(RELATIVE**2) + np.float32(CLIP_TOLERANCE**2) * (ca + cb)) * mean * mean
    bias += np.float32((EDGE * 0.5) ** 2) * edge
    bias += np.float32((BLACK * (scale_a + scale_b)) ** 2)
    variance = noise + bias
    deviation = at_most(at_least(difference / cv2.sqrt(variance), -LIMIT), LIMIT)
    third = np.full((1, 3), 1 / 3, np.float32)
    energy = cv2.transform(deviation * deviation, third)
    systematic = cv2.transform(bias / variance, third)
    border = cv2.BORDER_REPLICATE
    window = cv2.blur(deviation, (7, 7), borderType=border)
    share = cv2.blur(systematic, (7, 7), borderType=border)
    window *= window
    red, green, blue = cv2.split(window)
    region = cv2.max(cv2.max(red, green), blue) / ((1 - share) * np.float32(1 / INDEPENDENT) + share)
    detail = cv2.blur(energy, (3, 3), borderType=border)
    doubt = cv2.max(region * np.float32(1 / REGION), detail * np.float32(1 / DETAIL))
    return 1 - smoothstep(1, REJECTION, doubt)


def merge(job):
    line, method = job
    output, *paths = line.split("\t")
    images = [cv2.imread(path, cv2.IMREAD_COLOR) for path in paths]
    count, reference = len(images), len(images) // 2
    height, width = images[0].shape[:2]
    half = [cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for image in images]
    scales = [2.0 ** (-STOPS * i) for i in range(count)]
    light, seen = [], []
    for i, image in enumerate(images):
        linear = cv2.LUT(image, table)
        visible = None
        if i != reference:
            warp = find_warp(half[reference], half[i], STOPS * (i - reference), method)
            size = (width, height)
            flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
            root = cv2.warpPerspective(np.sqrt(linear), warp, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
            linear = np.square(np.clip(root, 0, 1))
            visible = np.ones((height, width), np.float32)
            visible = cv2.warpPerspective(visible, warp, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
            visible = (visible > 0.999).astype(np.float32)
        light.append(linear)
        seen.append(visible)
    radiance = [linear * np.float32(scale) for linear, scale in zip(light, scales)]
    clipping = [smoothstep(CLIP_START, CLIP_END, linear) for linear in light]
    anchor = radiance[reference]
    kernel = np.array([[-1, 0, 1]], np.float32)
    across = cv2.filter2D(anchor, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    along = cv2.filter2D(anchor, -1, kernel.T, borderType=cv2.BORDER_REPLICATE)
    edge = cv2.max(across * across, along * along)
    trust = []
    for i in range(count):
        if i == reference:
            trust.append(np.ones((height, width), np.float32))
            continue
        parts = ((radiance[i], clipping[i], seen[i]), (radiance[reference], clipping[reference], None))
        trust.append(agreement(*parts, edge, scales[i], scales[reference]) * seen[i])
    mean = np.zeros((height, width), np.float32)
    total = np.zeros((height, width), np.float32)
    usable = []
    last = np.zeros((height, width, 3), np.float32)
    for i in range(count - 1, -1, -1):
        b, g, r = cv2.split(light[i])
        lightest, darkest = cv2.max(cv2.max(r, g), b), cv2.min(cv2.min(r, g), b)
        use = trust[i] * (1 - smoothstep(CLIP_START, CLIP_END, lightest))
        usable.insert(0, use)
        precision = use * np.float32(1 / (FLOOR * scales[i] ** 2))
        mean += precision * darkest * np.float32(scales[i])
        total += precision
        if i <= reference:
            neutral = smoothstep(CLIP_START, CLIP_END, darkest)[:, :, None]
            brightest = (lightest * np.float32(scales[i]))[:, :, None]
            last += trust[i][:, :, None] * (radiance[i] + neutral * (brightest - radiance[i]) - last)
    mean = np.where(total > 0, mean / cv2.max(total, 1e-30), 1).astype(np.float32)
    weights = 1e-4 / (np.float32(FLOOR * scales[0] ** 2) + np.float32(SLOPE * scales[0]) * mean)
    result = last * weights[:, :, None]
    for i in range(count):
        weight = usable[i] / (np.float32(FLOOR * scales[i] ** 2) + np.float32(SLOPE * scales[i]) * mean)
        weights += weight
        result += radiance[i] * weight[:, :, None]
    result /= weights[:, :, None]
    if not cv2.imwrite(output, at_most(at_least(result, 0.0), 1.0)):
        raise OSError(f"{output}: not written")


if __name__ == "__main__":
    method = sys.argv[2] if len(sys.argv) > 2 else "ecc"
    with Pool(int(sys.argv[1])) as pool:
        pool.map(merge, [(line, method) for line in sys.stdin.read().splitlines()], chunksize=1)
