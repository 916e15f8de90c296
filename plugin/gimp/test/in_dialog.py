"""What runs inside a GIMP with windows: opens the dialog, which dialog.test.ts uses with a keyboard. See in_gimp.py."""

import json
import os

from gi.repository import Gimp, Gio, GLib

HERE = os.path.dirname(os.environ["SMHDR_TEST_OUT"])


def opened(size=None):
    """The example as a person has it after "Open as Layers"."""
    image = None
    for number in (3, 2, 1):
        file = Gio.File.new_for_path(os.path.join(HERE, f"exposure-{number}.jpg"))
        if image is None:
            image = Gimp.file_load(Gimp.RunMode.NONINTERACTIVE, file)
        else:
            layer = Gimp.file_load_layer(Gimp.RunMode.NONINTERACTIVE, image, file)
            image.insert_layer(layer, None, len(image.get_layers()))
    image.get_layers()[0].set_name("exposure-3.jpg")
    image.set_selected_layers(image.get_layers()[1:2])
    image.set_file(Gio.File.new_for_path(os.path.join(HERE, "room.xcf")))
    if size:
        image.scale(*size)
    return image


def run(scene, image):
    display = Gimp.Display.new(image)
    procedure = Gimp.get_pdb().lookup_procedure("plug-in-smhdr-merge")
    config = procedure.create_config()
    config.set_property("image", image)
    config.set_property("run-mode", Gimp.RunMode.INTERACTIVE)
    config.set_core_object_array("drawables", image.get_selected_layers())
    with open(os.path.join(HERE, "phase"), "w") as file:
        file.write(scene)
    values = procedure.run(config)
    made = values.index(1) if values.index(0) == Gimp.PDBStatusType.SUCCESS else None
    told = {
        "name": scene,
        "status": values.index(0).value_nick,
        "size": [made.get_width(), made.get_height()] if made else None,
        "precision": made.get_precision().value_nick if made else None,
        "comment": bytes(made.get_parasite("gimp-comment").get_data()).decode() if made else None,
        "images": len(Gimp.get_images()),
    }
    with open(os.environ["SMHDR_TEST_OUT"], "a") as out:
        out.write(json.dumps(told) + "\n")
    return display


def main():
    run("merge", opened())
    with open(os.path.join(HERE, "phase"), "w") as file:
        file.write("look")  # dialog.test.ts takes the phase away when it has
    while os.path.exists(os.path.join(HERE, "phase")):
        GLib.usleep(100000)
    without_exif = opened()
    for layer in without_exif.get_layers():
        layer.set_name("photograph")
    run("estimate", without_exif)
    large = opened((3000, 2000))
    run("cancel", large)
    run("killed", large)


main()
