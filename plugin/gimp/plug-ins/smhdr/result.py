"""The result of a merge as a new image of GIMP's."""

import gi

gi.require_version("Gimp", "3.0")
gi.require_version("Gegl", "0.4")
from gi.repository import Gegl, Gimp  # noqa: E402


class Result:
    """The new image: 32-bit floating point, linear light. It is seen by nobody until it is finished, or discarded."""

    def __init__(self, source, pictures, job):
        result = job["result"]
        self.width = result["width"]
        self.image = Gimp.Image.new_with_precision(
            result["width"], result["height"], Gimp.ImageBaseType.RGB, Gimp.Precision.FLOAT_LINEAR
        )
        try:
            self.image.undo_disable()
            if source.is_valid():
                resolution = source.get_resolution()
                self.image.set_resolution(resolution.xresolution, resolution.yresolution)
            name = f"HDR of {len(pictures.names)} exposures"
            self.layer = Gimp.Layer.new(
                self.image, name, result["width"], result["height"], Gimp.ImageType.RGB_IMAGE, 100, Gimp.LayerMode.NORMAL
            )
            self.image.insert_layer(self.layer, None, 0)
            self._buffer = self.layer.get_buffer()
        except BaseException:
            self.discard()
            raise

    def take(self, row, rows, data):
        self._buffer.set(Gegl.Rectangle.new(0, row, self.width, rows), "RGB float", data)

    def finish(self, wide, comment):
        self._buffer.flush()
        self._buffer = None
        if wide:  # the numbers are linear Adobe RGB: say so, convert nothing
            self.image.set_color_profile(Gimp.ColorProfile.new_linear_from_color_profile(Gimp.ColorProfile.new_rgb_adobe()))
        self.layer.update(0, 0, self.width, self.layer.get_height())
        self.image.attach_parasite(Gimp.Parasite.new("gimp-comment", Gimp.PARASITE_PERSISTENT, list(comment.encode())))
        self.image.undo_enable()
        return self.image

    def discard(self):
        self._buffer = None
        if self.image.is_valid():
            self.image.delete()
