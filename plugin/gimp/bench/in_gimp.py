"""Times the plug-in inside GIMP; race.ts runs it. Prints one JSON object."""

import json
import os
import time

from gi.repository import Gimp, Gio

image = None
for path in os.environ["SMHDR_BENCH_FILES"].split(":"):
    file = Gio.File.new_for_path(path)
    if image is None:
        image = Gimp.file_load(Gimp.RunMode.NONINTERACTIVE, file)
    else:
        image.insert_layer(Gimp.file_load_layer(Gimp.RunMode.NONINTERACTIVE, image, file), None, 0)
layers = list(reversed(image.get_layers()))
procedure = Gimp.get_pdb().lookup_procedure("plug-in-smhdr-merge")
config = procedure.create_config()
config.set_property("image", image)
config.set_property("run-mode", Gimp.RunMode.NONINTERACTIVE)
config.set_property("exposure-values", os.environ["SMHDR_BENCH_EV"])
config.set_core_object_array("drawables", layers)
start = time.time()
values = procedure.run(config)
seconds = time.time() - start
if values.index(0) != Gimp.PDBStatusType.SUCCESS:
    raise RuntimeError(Gimp.get_pdb().get_last_error())
print("SMHDR_BENCH " + json.dumps({"seconds": seconds}), flush=True)
