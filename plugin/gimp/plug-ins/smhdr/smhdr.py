#!/usr/bin/env python3
"""smhdr in GIMP 3: merges layers, as exposures, into one HDR image. Filters > Combine > Merge to HDR."""

import sys
import traceback

import gi

gi.require_version("Gimp", "3.0")
gi.require_version("Gegl", "0.4")
from gi.repository import Gegl, Gimp, GLib, GObject  # noqa: E402

import exposures  # noqa: E402
import known_exposures  # noqa: E402
import layers as layers_of  # noqa: E402
import merge_layers  # noqa: E402
import merging  # noqa: E402
import service as services  # noqa: E402

PROCEDURE = "plug-in-smhdr-merge"
HELP = """\
Merges layers, photographs of one scene at different exposures, into a new image of 32-bit linear light, without ghosts of what
moved. The work is done by the service "smhdr serve" on this computer, which is started where it does not run.

The exposures are the given drawables; where that is one, the visible layers of the image from top to bottom."""


class Smhdr(Gimp.PlugIn):
    def do_query_procedures(self):
        return [PROCEDURE]

    def do_set_i18n(self, _name):
        return False

    def do_create_procedure(self, name):
        procedure = Gimp.ImageProcedure.new(self, name, Gimp.PDBProcType.PLUGIN, self.run, None)
        procedure.set_image_types("*")
        procedure.set_sensitivity_mask(Gimp.ProcedureSensitivityMask.DRAWABLE | Gimp.ProcedureSensitivityMask.DRAWABLES)
        procedure.set_menu_label("Merge to _HDR (smhdr)...")
        procedure.add_menu_path("<Image>/Filters/Combine")
        procedure.set_documentation("Merge exposures in layers into one HDR image", HELP, name)
        procedure.set_attribution("smhdr", "MIT licence", "2026")
        flags = GObject.ParamFlags.READWRITE
        procedure.add_string_argument(
            "exposure-values", "E_xposure values",
            'Stops, one for each exposure in their order, as "-2, 0, 2"; "auto": from names like "-2EV", else from EXIF, else '
            'estimated; "estimate": from the pixels', "auto", flags,
        )  # fmt: skip
        procedure.add_int_argument(
            "reference", "_Reference", "Which exposure's moment is shown, counted from 0 in their order; -1: the middle one",
            -1, 15, -1, flags,
        )  # fmt: skip
        choice = Gimp.Choice.new()
        choice.add("radiance", 0, "Weighted merge", "Weighs the exposures by how well they show each pixel; needs no model")
        choice.add("network", 1, "Neural network", "Reconstructs with a trained model; slower")
        procedure.add_choice_argument("method", "_Method", "How the exposures are merged", choice, "radiance", flags)
        procedure.add_string_argument("model", "Mo_del", "Name of the network's model; empty: the usual one", "", flags)
        procedure.add_boolean_argument("align", "_Align", "Undo the movement of a camera held by hand, and follow what moved", True, flags)
        procedure.add_image_return_value("new-image", "New image", "The merged image", True, flags)
        procedure.add_string_return_value("notes", "Notes", "What a person should know about this merge", "", flags)
        return procedure

    def run(self, procedure, run_mode, image, drawables, config, _data):
        Gegl.init(None)
        status = Gimp.PDBStatusType
        try:
            if run_mode == Gimp.RunMode.INTERACTIVE:
                import dialog

                made, notes = dialog.run(procedure, image, drawables, config)
            else:
                made, notes = run_without_dialog(image, drawables, config)
        except services.Wrong as error:
            return failure(procedure, status.CALLING_ERROR, str(error))
        except services.Cancelled:
            return failure(procedure, status.CANCEL, "The merge was cancelled.")
        except (layers_of.Refused, services.ServiceError) as error:
            return failure(procedure, status.EXECUTION_ERROR, str(error))
        except Exception as error:
            traceback.print_exc()
            return failure(procedure, status.EXECUTION_ERROR, f"smhdr's plug-in has an error: {error!r}. Your image was not changed.")
        if run_mode != Gimp.RunMode.NONINTERACTIVE:
            show(made)
            # That the camera or something else moved is no news; the rest may make a person try again. All of it is in the image's comment.
            told = [note["message"] for note in notes if note["code"] not in ("alignment", "motion")]
            if told:
                Gimp.message("\n".join(told))
        values = procedure.new_return_values(status.SUCCESS, None)
        values.remove(1)
        values.insert(1, GObject.Value(Gimp.Image, made))
        values.remove(2)
        values.insert(2, GObject.Value(GObject.TYPE_STRING, "\n".join(note["message"] for note in notes)))
        return values


def show(image):
    try:
        Gimp.Display.new(image)
        Gimp.displays_flush()
    except TypeError:  # a GIMP without windows
        pass


def failure(procedure, status, message):
    error = GLib.Error.new_literal(GLib.quark_from_string("smhdr"), message, 1)
    return procedure.new_return_values(status, error)


def run_without_dialog(image, drawables, config):
    chosen = list(drawables) if len(drawables) > 1 else layers_of.exposures_of(image)
    ev = exposure_values(config.get_property("exposure-values"), image, chosen)
    reference = config.get_property("reference")
    if reference >= len(chosen):
        raise services.Wrong(f"reference: expected -1 to {len(chosen) - 1}, since {len(chosen)} layers are merged; got {reference}.")
    settings = merging.Settings(
        ev=ev,
        reference=None if reference < 0 else reference,
        method=config.get_property("method"),
        model=config.get_property("model") or None,
        align=config.get_property("align"),
    )
    Gimp.progress_init("Merging to HDR")
    service = services.find_or_start()
    try:
        return merge_layers.merge(service, image, chosen, settings, merge_layers.show_progress())
    finally:
        service.stop_if_ours()
        Gimp.progress_end()


def exposure_values(text, image, chosen):
    """The argument "exposure-values" as one number for each layer, or None: the service estimates them."""
    if text.strip() == "estimate":
        return None
    if text.strip() in ("auto", ""):
        known = [value for value, _ in known_exposures.of_layers(image, chosen)]
        missing = [layer.get_name() for layer, value in zip(chosen, known) if value is None]
        if missing and len(missing) < len(chosen):
            raise services.Wrong(
                f'exposure-values: the name of the layer "{missing[0]}" states none, but others do. Name it like "0EV", or give all.'
            )
        return None if missing else known
    try:
        values = [exposures.parse(part) for part in text.split(",")]
    except ValueError as error:
        raise services.Wrong(f'exposure-values: expected "auto", "estimate" or stops like "-2, 0, 2"; got "{error}".') from error
    if None in values or len(values) != len(chosen):
        raise services.Wrong(f"exposure-values: expected {len(chosen)} numbers, one for each layer that is merged; got \"{text}\".")
    return values


if __name__ == "__main__":
    Gimp.main(Smhdr.__gtype__, sys.argv)
