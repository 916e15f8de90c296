"""Dynamic brackets of another make than `smhdr synthesize`'s, to see what is owed to that synthesiser alone:

    python3 bench/quality/other_scenes.py OUT SEED COUNT PANORAMA.hdr ...
    node dist/cli/smhdr.js evaluate OUT --align auto

Blobs, figures and boxes cut from other panoramas move, turn and grow, or are in some of the exposures alone; the hands shake
not at all, a little or much; 8 or 16 bits, gamma 2.2, little noise. Three exposures two stops apart, in the layout of data
sets (exposure.txt, HDRImg.hdr). Needs cv2 and numpy.
"""

import os
import sys

import cv2
import numpy as np

WIDTH, HEIGHT, MARGIN = 448, 238, 24


def shape(random, radius):
    """Coverage of something of about this radius, in the middle of a square of twice that."""
    side = int(radius * 2)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    kind = random.integers(3)
    if kind == 0:  # a blob
        angle, distance = np.arctan2(y - radius, x - radius), np.hypot(y - radius, x - radius)
        waves = sum(0.1 * random.normal() * np.cos(k * angle + random.uniform(0, 6.3)) for k in range(2, 6))
        inside = distance < radius * (0.7 + waves)
    elif kind == 1:  # a figure: head, body, legs
        inside = (x - radius) ** 2 + (y - 0.3 * radius) ** 2 < (0.22 * radius) ** 2
        inside |= (abs(x - radius) < 0.38 * radius) & (y > 0.5 * radius) & (y < 1.25 * radius)
        for leg in (0.78, 1.22):
            inside |= (abs(x - leg * radius) < 0.14 * radius) & (y >= 1.2 * radius) & (y < 1.95 * radius)
    else:  # a box
        inside = (abs(x - radius) < 0.9 * radius) & (abs(y - radius) < 0.45 * radius)
    return cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 0.7)


def crop(random, image, width, height):
    """Of a panorama, near the horizon."""
    rows, columns = image.shape[:2]
    top, bottom = int(rows * 0.22), int(rows * 0.78) - height
    y = random.integers(top, bottom) if bottom > top else top
    across = (np.arange(width) + random.integers(0, columns)) % columns
    return image[y : y + height][:, across]


def thing(random, images, background):
    """Coverage, light, where it is in the middle exposure, and what becomes of it by the next."""
    radius = random.uniform(18, 55)
    coverage = shape(random, radius)
    side = coverage.shape[0]
    light = crop(random, images[random.integers(len(images))], side, side)[:side, :side]
    if light.shape[0] < side:
        light = cv2.resize(light, (side, side))
    median, target = np.median(light), np.median(background) * 2 ** random.uniform(-2, 2.5)
    light = np.minimum(light * target / max(median, 1e-6), 4)
    place = np.array([random.uniform(0, WIDTH), random.uniform(0, HEIGHT)])
    speed = random.normal(size=2) * random.choice([4, 15, 40])
    turn, growth = random.uniform(-0.12, 0.12), random.uniform(0.94, 1.06)
    seen_in = random.choice([7, 7, 7, 7, 1, 2, 4])  # a bit for each exposure
    return coverage, light, place, speed, turn, growth, seen_in


def with_things(background, things, exposure):
    out, size = background.copy(), background.shape[1::-1]
    later = exposure - 1
    for coverage, light, place, speed, turn, growth, seen_in in things:
        if not (seen_in >> exposure) & 1:
            continue
        half = coverage.shape[0] / 2
        pose = cv2.getRotationMatrix2D((half, half), np.degrees(turn * later), growth**later)
        pose[:, 2] += place + speed * later + MARGIN - half
        share = cv2.warpAffine(coverage, pose, size)[..., None]
        shown = cv2.warpAffine(light, pose, size, borderMode=cv2.BORDER_REPLICATE)
        out = out * (1 - share) + shown * share
    return out


def write_scene(random, images, image, folder):
    background = crop(random, image, WIDTH + 2 * MARGIN, HEIGHT + 2 * MARGIN)
    white = np.percentile(background.mean(2), random.uniform(82, 95))  # what clips in the middle exposure
    background = background * (1 / (4 * np.maximum(white, 1e-6)))
    things = [thing(random, images, background) for _ in range(random.integers(1, 4))]
    shake = random.choice([0, 2, 8])
    os.makedirs(folder, exist_ok=True)
    bits, electrons = random.choice([8, 16]), random.choice([5000, 20000, 60000])
    size = background.shape[1::-1]
    for i in range(3):
        seen = with_things(background, things, i)
        if i != 1:
            hands = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), random.normal() * shake * 0.06, 1)
            hands[:, 2] += random.normal(size=2) * shake
            seen = cv2.warpAffine(seen, hands, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        seen = np.maximum(seen[MARGIN:-MARGIN, MARGIN:-MARGIN], 0)
        if i == 1:
            truth = np.clip(seen, 0, 1)
        light = seen * 4.0**i
        light = light + np.sqrt(light / electrons + (4 / electrons) ** 2) * random.normal(size=light.shape)
        value = np.clip(light, 0, 1) ** (1 / 2.2)
        codes = np.round(value * 255) * 257 if bits == 8 else np.round(value * 65535)
        cv2.imwrite(f"{folder}/{i}.tif", codes.astype(np.uint16))
    cv2.imwrite(f"{folder}/HDRImg.hdr", truth.astype(np.float32))
    with open(f"{folder}/exposure.txt", "w", encoding="ascii") as file:
        file.write("0\n2\n4\n")


def main():
    if len(sys.argv) < 5:
        sys.exit("Expected OUT SEED COUNT PANORAMA.hdr ...")
    out, random, count = sys.argv[1], np.random.default_rng(int(sys.argv[2])), int(sys.argv[3])
    images = [np.maximum(cv2.imread(path, cv2.IMREAD_UNCHANGED)[..., :3].astype(np.float32), 0) for path in sys.argv[4:]]
    for k in range(count):
        write_scene(random, images, images[k % len(images)], f"{out}/Test/{k:05d}")


main()
