"""Exposure values that are known before a pixel is looked at: from the layers' names, else from EXIF."""

import os
import xml.etree.ElementTree

import gi

gi.require_version("Gimp", "3.0")
from gi.repository import Gimp, Gio, GLib  # noqa: E402

import exposures


def of_layers(image, layers):
    """
    For each layer its exposure value in stops and where that is from: (value, "name" | "EXIF"), or (None, None). As soon as one
    name states a value, names are what counts.
    """
    named = [exposures.from_name(layer.get_name()) for layer in layers]
    if any(value is not None for value in named):
        return [(value, None if value is None else "name") for value in named]
    stops = exposures.stops_from_settings(_camera_settings(image, layers))
    return [(None, None)] * len(layers) if stops is None else [(value, "EXIF") for value in stops]


def _camera_settings(image, layers):
    """
    What the camera wrote for each layer, or None. GIMP keeps the metadata of an image, not of layers; but layers that came in
    through "Open as Layers" are named after their files, which mostly still lie beside the image's own. One layer that is
    named after no file is what the image was opened from.
    """
    settings = [_settings(_of_file(image, layer.get_name())) for layer in layers]
    unnamed = [index for index, one in enumerate(settings) if one is None]
    if len(unnamed) == 1:
        settings[unnamed[0]] = _settings(image.get_metadata())
    return settings


def _of_file(image, name):
    file = image.get_imported_file() or image.get_file()
    if not file or not file.get_path() or os.path.basename(name) != name:
        return None
    path = os.path.join(os.path.dirname(file.get_path()), name)
    if not os.path.isfile(path):
        return None
    try:
        return Gimp.Metadata.load_from_file(Gio.File.new_for_path(path))
    except GLib.Error:
        return None


def _settings(metadata):
    """CameraSettings of Gimp.Metadata. Read from its XML: its own getters take GExiv2's typelib, which not every GIMP has."""
    try:
        root = xml.etree.ElementTree.fromstring(metadata.serialize()) if metadata else None
    except xml.etree.ElementTree.ParseError:
        return None
    if root is None:
        return None
    tags = {tag.get("name"): tag.text for tag in root.iter("tag") if not tag.get("encoding")}
    return exposures.settings_from_tags(tags.get)
