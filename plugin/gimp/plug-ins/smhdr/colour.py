"""What the numbers of an image mean, as far as the plug-in must know."""

import struct

SRGB = {"transfer": "srgb", "primaries": "srgb"}
# Adobe RGB (1998)'s curve is v^(563/256).
ADOBE = {"transfer": {"gamma": 563 / 256}, "primaries": "adobe-rgb"}

# sRGB's red, green and blue in XYZ relative to D50, as ICC profiles hold them.
_COLORANTS = {
    b"rXYZ": (0.4361, 0.2225, 0.0139),
    b"gXYZ": (0.3851, 0.7169, 0.0971),
    b"bXYZ": (0.1431, 0.0606, 0.7142),
}
_TOLERANCE = 0.004


def has_srgb_primaries(profile):
    """Whether an ICC profile (bytes; None: no profile, or a grey one) has sRGB's primaries, whatever its curve."""
    if profile is None:
        return True
    try:
        (count,) = struct.unpack_from(">I", profile, 128)
        tags = {}
        for index in range(min(count, 200)):
            name, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * index)
            tags[name] = offset
        if any(name.startswith((b"A2B", b"D2B")) for name in tags):
            return False  # tables rule over colorants
        for name, expected in _COLORANTS.items():
            found = [value / 65536 for value in struct.unpack_from(">3i", profile, tags[name] + 8)]
            if any(abs(a - b) > _TOLERANCE for a, b in zip(found, expected)):
                return False
        return True
    except (struct.error, KeyError):
        return False


def to_rgb(data, channels):
    """Interleaved bytes of 1 (grey), 2 (grey, alpha), 3 or 4 channels as RGB; alpha is dropped."""
    if channels == 3:
        return bytes(data)
    out = bytearray(len(data) // channels * 3)
    for channel in range(3):
        out[channel::3] = data[channel if channels == 4 else 0 :: channels]
    return bytes(out)
