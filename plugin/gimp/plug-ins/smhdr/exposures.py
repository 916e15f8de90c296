"""Exposure values in stops: read from a layer's name, or from what the camera wrote into a file's EXIF."""

import math
import re

# "+2", "-0,7", "1/3", "1 2/3"; a true minus or a dash counts as a minus.
_NUMBER = r"(?:\d+\s+\d/\d|\d+/\d+|\d+(?:[.,]\d+)?)"
_SIGN = "[+\\-\u2212\u2013]"
_VALUE_FIRST = re.compile(rf"(?:({_SIGN})\s*|(?<![A-Za-z0-9.,/]))({_NUMBER})\s*_?(?:EV|stops?)(?![A-Za-z])", re.IGNORECASE)
_VALUE_LAST = re.compile(rf"(?<![A-Za-z])EV\s*[:=_]?\s*({_SIGN})?\s*({_NUMBER})(?![\d/])", re.IGNORECASE)

LARGEST = 40.0


def from_name(name):
    """The exposure value that a layer's name states ("-2EV", "IMG_7 +1 1/3 EV.tif", "EV: 0,7"), or None."""
    match = _VALUE_FIRST.search(name) or _VALUE_LAST.search(name)
    if not match:
        return None
    sign, number = match.groups()
    value = sum(_fraction(part) for part in number.replace(",", ".").split())
    if not math.isfinite(value) or value > LARGEST:
        return None
    return -value if sign and sign != "+" and value else value


def _fraction(text):
    numerator, slash, denominator = text.partition("/")
    if not slash:
        return float(numerator)
    return float(numerator) / float(denominator) if float(denominator) else math.nan


def parse(text):
    """What a person typed into a field: stops, or None for an empty field. Raises ValueError for anything else."""
    text = text.strip()
    if not text:
        return None
    stated = from_name(text if re.search("ev|stop", text, re.IGNORECASE) else text + " EV")
    if stated is None or not re.fullmatch(rf"(?:EV)?\s*{_SIGN}?\s*{_NUMBER}\s*(?:EV|stops?)?", text, re.IGNORECASE):
        raise ValueError(text)
    return stated


def show(value):
    """Stops for people: "+2", "-0.67", "0"."""
    text = f"{value:+.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("+0", "-0") else text


class CameraSettings:
    """Exposure time in seconds, f-number and ISO; each None where it is not stated or makes no sense."""

    def __init__(self, time=None, f_number=None, iso=None):
        self.time, self.f_number, self.iso = time, f_number, iso


def settings_from_tags(tag):
    """Reads CameraSettings through `tag`, a function from an Exiv2 key to its text or None."""
    time = _sensible(_rational(tag("Exif.Photo.ExposureTime")), 1e-7, 1e5)
    if time is None:  # some cameras state APEX units only
        shutter = _rational(tag("Exif.Photo.ShutterSpeedValue"))
        time = _sensible(2.0**-shutter, 1e-7, 1e5) if shutter is not None and abs(shutter) < 64 else None
    f_number = _sensible(_rational(tag("Exif.Photo.FNumber")), 0.3, 512)
    if f_number is None:
        aperture = _rational(tag("Exif.Photo.ApertureValue"))
        f_number = _sensible(2.0 ** (aperture / 2), 0.3, 512) if aperture is not None and abs(aperture) < 64 else None
    # 65535 in ISOSpeedRatings means: more than 16 bits hold, see the other tags.
    iso = _sensible(_rational(tag("Exif.Photo.ISOSpeedRatings")), 1, 65534)
    if iso is None:
        iso = _sensible(_rational(tag("Exif.Photo.RecommendedExposureIndex")), 1, 1e8)
    return CameraSettings(time, f_number, iso)


def stops_from_settings(settings):
    """
    Light in stops, log2(time * ISO / f-number^2), relative to the least of them; None unless every exposure time is
    known. An ISO or f-number that any photograph lacks is taken as the same for all, as the command `smhdr` does.
    """
    if not settings or any(one is None or one.time is None for one in settings):
        return None
    isos = all(one.iso is not None for one in settings)
    f_numbers = all(one.f_number is not None for one in settings)
    light = [
        math.log2(one.time * (one.iso if isos else 1) / (one.f_number**2 if f_numbers else 1)) for one in settings
    ]
    return [value - min(light) for value in light]


def _rational(text):
    if not text:
        return None
    try:
        value = _fraction(text.strip())
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _sensible(value, low, high):
    return value if value is not None and low <= value <= high else None
