"""Layers as exposures: which can be read, their common area, their pixels in strips."""

import gi

gi.require_version("Gimp", "3.0")
gi.require_version("Gegl", "0.4")
from gi.repository import Gegl, Gimp  # noqa: E402

import colour


class Refused(Exception):
    """A layer that cannot be an exposure, or layers that cannot be a bracket; the message says what to do."""


def problem(layer):
    """Why a layer cannot be read as it is shown, without looking at its pixels; None where it can."""
    name = layer.get_name()
    if not isinstance(layer, Gimp.Layer):
        return f'"{name}" is not a layer: choose layers as exposures.'
    mask = layer.get_mask()
    if mask and layer.get_apply_mask():
        return f'The layer "{name}" has a mask. Apply or delete it (Layer > Mask), then merge again.'
    if any(effect.get_visible() for effect in layer.get_filters()):
        return f'The layer "{name}" has layer effects. Merge or delete them (the fx icon in the Layers dialog), then merge again.'
    return None


def all_layers(image):
    """Every layer of the image from top to bottom; the layers inside a group follow it."""

    def inside(layers):
        for layer in layers:
            yield layer
            if layer.is_group():
                yield from inside(layer.get_children())

    return list(inside(image.get_layers()))


def exposures_of(image):
    """The layers that are taken where nobody chooses: those shown at the top level."""
    return [layer for layer in image.get_layers() if layer.get_visible()]


def common_area(layers):
    """(x, y, width, height) in the image where all layers overlap, and a note where that is less than any of them."""
    boxes = [_box(layer) for layer in layers]
    x, y = max(box[0] for box in boxes), max(box[1] for box in boxes)
    right, bottom = min(box[2] for box in boxes), min(box[3] for box in boxes)
    if right <= x or bottom <= y:
        for other, box in zip(layers[1:], boxes[1:]):
            if min(box[2], boxes[0][2]) <= max(box[0], boxes[0][0]) or min(box[3], boxes[0][3]) <= max(box[1], boxes[0][1]):
                raise Refused(
                    f'The layers "{layers[0].get_name()}" and "{other.get_name()}" do not overlap: '
                    "move them onto each other, then merge again."
                )
        raise Refused("The layers have no area that all of them cover: move them onto each other, then merge again.")
    note = None
    if any(box != (x, y, right, bottom) for box in boxes):
        note = f"The layers differ in size or place; the {right - x} x {bottom - y} pixels that all of them cover were merged."
    return (x, y, right - x, bottom - y), note


def _box(layer):
    _, x, y = layer.get_offsets()
    return x, y, x + layer.get_width(), y + layer.get_height()


class Pictures:
    """The layers' common area as `merging.merge` reads it. Closed, it frees what it made; the image is never changed."""

    def __init__(self, image, layers):
        if not 2 <= len(layers) <= 16:
            raise Refused(f"Choose 2 to 16 layers as exposures; {len(layers)} {'is' if len(layers) == 1 else 'are'} chosen.")
        for layer in layers:
            why = problem(layer)
            if why:
                raise Refused(why)
        self.layers = layers
        self.names = [layer.get_name() for layer in layers]
        (self.x, self.y, self.width, self.height), note = common_area(layers)
        self.notes = [{"code": "area", "message": note}] if note else []
        self.wide = not colour.has_srgb_primaries(_profile(image))
        eight = (Gimp.Precision.U8_NON_LINEAR, Gimp.Precision.U8_PERCEPTUAL)
        self.format = "uint8" if image.get_precision() in eight and not self.wide else "uint16"
        self.encoding = colour.ADOBE if self.wide else colour.SRGB
        self._babl = None if self.wide else "R'G'B' u8" if self.format == "uint8" else "R'G'B' u16"
        self._image = image
        self._open = None  # index, the buffer of a layer that may be transparent, the buffer to read, what must be deleted then

    def rows(self, index, row, rows):
        layer = self.layers[index]
        if not layer.is_valid() or not self._image.is_valid():
            raise Refused(f'The layer "{self.names[index]}" is no longer there: the image was closed or changed. Nothing was merged.')
        if self._open is None or self._open[0] != index:
            self.close()
            self._open = self._buffer(index, layer)
        _, transparent, buffer, _ = self._open
        _, x, y = layer.get_offsets()
        area = Gegl.Rectangle.new(self.x - x, self.y - y + row, self.width, rows)
        if transparent:
            self._require_opaque(transparent, area, layer)
        return buffer.get(area, 1.0, self._babl, Gegl.AbyssPolicy.NONE)

    def _buffer(self, index, layer):
        own = layer.get_buffer()
        if not self.wide:
            return index, own if layer.has_alpha() else None, own, None
        # A named format would mean sRGB, and clip to it: a copy is converted to Adobe RGB and its numbers are read as they lie.
        copy = Gimp.Image.new_with_precision(
            self._image.get_width(), self._image.get_height(), Gimp.ImageBaseType.RGB, Gimp.Precision.U16_NON_LINEAR
        )
        copy.undo_disable()
        copy.set_color_profile(Gimp.ColorProfile.new_rgb_adobe())
        converted = Gimp.Layer.new_from_drawable(layer, copy)
        copy.insert_layer(converted, None, 0)
        if converted.has_alpha():
            converted.flatten()
        return index, own if layer.has_alpha() else None, converted.get_buffer(), copy

    def _require_opaque(self, buffer, area, layer):
        alpha = buffer.get(area, 1.0, "A u8", Gegl.AbyssPolicy.NONE)
        if alpha.count(b"\xff") != len(alpha):
            at = next(i for i, value in enumerate(alpha) if value != 255)
            raise Refused(
                f'The layer "{layer.get_name()}" is transparent in places (first at x {self.x + at % self.width}, '
                f"y {area.y + layer.get_offsets().offset_y + at // self.width}). Crop the image to where it is opaque, or remove its "
                "alpha channel (Layer > Transparency > Remove Alpha Channel), then merge again."
            )

    def close(self):
        if self._open:
            copy = self._open[3]
            self._open = None
            if copy:
                copy.delete()

    def small(self, index, side=1024):
        """(width, height, bytes): a layer's common area reduced to at most `side` pixels (GIMP gives no more than 1024) a side, sRGB of 8 bits."""
        scale = min(1, side / max(self.width, self.height))
        width, height = max(1, round(self.width * scale)), max(1, round(self.height * scale))
        _, x, y = self.layers[index].get_offsets()
        area = (self.x - x, self.y - y, self.width, self.height)
        data, width, height, channels = self.layers[index].get_sub_thumbnail_data(*area, width, height)
        return width, height, colour.to_rgb(data.get_data(), channels)


def _profile(image):
    profile = image.get_effective_color_profile()
    return bytes(profile.get_icc_profile()) if profile and profile.is_rgb() else None
