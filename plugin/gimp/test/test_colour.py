import struct
import unittest

import colour


def profile(red, green, blue, *more):
    """An ICC profile as far as its colorants are concerned."""
    tags = [(name, b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in xyz)))
            for name, xyz in ((b"rXYZ", red), (b"gXYZ", green), (b"bXYZ", blue))]  # fmt: skip
    tags += [(name, b"\0" * 8) for name in more]
    directory, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags:
        directory += struct.pack(">4sII", name, start + len(data), len(content))
        data += content
    return b"\0" * 128 + directory + data


SRGB = (0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141)
ADOBE = (0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)


class Primaries(unittest.TestCase):
    def test_knows_srgb_whoever_wrote_it(self):
        self.assertTrue(colour.has_srgb_primaries(profile(*SRGB)))
        self.assertTrue(colour.has_srgb_primaries(None))

    def test_takes_everything_else_for_something_else(self):
        self.assertFalse(colour.has_srgb_primaries(profile(*ADOBE)))
        self.assertFalse(colour.has_srgb_primaries(profile(*SRGB, b"A2B0")), "tables rule over colorants")
        for broken in (b"", b"\0" * 140, profile(*SRGB)[:150], b"\0" * 128 + b"\xff\xff\xff\xff"):
            self.assertFalse(colour.has_srgb_primaries(broken))


class ToRgb(unittest.TestCase):
    def test_repeats_grey_and_drops_alpha(self):
        self.assertEqual(colour.to_rgb(b"\1\2", 1), b"\1\1\1\2\2\2")
        self.assertEqual(colour.to_rgb(b"\1\xff\2\xff", 2), b"\1\1\1\2\2\2")
        self.assertEqual(colour.to_rgb(b"\1\2\3", 3), b"\1\2\3")
        self.assertEqual(colour.to_rgb(b"\1\2\3\xff\4\5\6\xff", 4), b"\1\2\3\4\5\6")


if __name__ == "__main__":
    unittest.main()
