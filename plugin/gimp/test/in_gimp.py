"""
The tests that run inside GIMP: exec'd by its batch interpreter (see gimp.test.ts), which gave the name Gimp. Each case's outcome
goes into the file SMHDR_TEST_OUT, one JSON object a line.
"""

import array
import json
import math
import os
import statistics
import sys
import time
import traceback

from gi.repository import Gegl, Gio, GObject

sys.path.insert(0, os.path.join(os.environ["GIMP3_DIRECTORY"], "plug-ins", "smhdr"))
HERE = os.path.dirname(os.environ["SMHDR_TEST_OUT"])
EV = [-2, 0, 2]
WIDTH, HEIGHT = 96, 72
STATUS = Gimp.PDBStatusType
cases = []


def case(function):
    cases.append(function)
    return function


def scene(x, y, grey=False):
    """Linear light over eight stops; 1.0 is what the exposure of 0 EV clips at."""
    light = 2 ** (7.5 * x / WIDTH - 6 + 0.3 * math.sin(y / 9))
    return (light,) * 3 if grey else (light, light * (0.7 + 0.2 * math.cos(y / 5)), light * 0.5)


def photograph(ev, x0=0, y0=0, width=WIDTH, height=HEIGHT, light=scene):
    """float32 linear RGB of what an exposure shows of a part of the scene."""
    gain = 2.0**ev
    return array.array(
        "f", [min(1.0, v * gain) for y in range(y0, y0 + height) for x in range(x0, x0 + width) for v in light(x, y)]
    ).tobytes()


def add_layer(image, name, data, width=WIDTH, height=HEIGHT, alpha=False, parent=None):
    kinds = {
        Gimp.ImageBaseType.RGB: (Gimp.ImageType.RGB_IMAGE, Gimp.ImageType.RGBA_IMAGE),
        Gimp.ImageBaseType.GRAY: (Gimp.ImageType.GRAY_IMAGE, Gimp.ImageType.GRAYA_IMAGE),
    }
    kind = kinds[image.get_base_type()][alpha]
    layer = Gimp.Layer.new(image, name, width, height, kind, 100, Gimp.LayerMode.NORMAL)
    image.insert_layer(layer, parent, len(parent.get_children() if parent else image.get_layers()))
    buffer = layer.get_buffer()
    buffer.set(Gegl.Rectangle.new(0, 0, width, height), "RGB float", data)
    buffer.flush()
    return layer


def bracket(precision=Gimp.Precision.U8_NON_LINEAR, base=Gimp.ImageBaseType.RGB, alpha=False, profile=None, light=scene):
    image = Gimp.Image.new_with_precision(WIDTH, HEIGHT, base, precision)
    if profile:
        image.set_color_profile(profile)
    for ev in EV:
        add_layer(image, f"{ev:+d}EV", photograph(ev, light=light), alpha=alpha)
    return image


def merge(image, layers=None, run_mode=Gimp.RunMode.NONINTERACTIVE, **arguments):
    """Runs the procedure as a script would: (status, new image, notes or what went wrong)."""
    config = Gimp.get_pdb().lookup_procedure("plug-in-smhdr-merge").create_config()
    config.set_property("image", image)
    config.set_property("run-mode", run_mode)
    config.set_core_object_array("drawables", image.get_layers() if layers is None else layers)
    for name, value in {"align": False, **arguments}.items():
        config.set_property(name.replace("_", "-"), value)
    values = Gimp.get_pdb().lookup_procedure("plug-in-smhdr-merge").run(config)
    status = values.index(0)
    if status != STATUS.SUCCESS:
        return status, None, Gimp.get_pdb().get_last_error()
    return status, values.index(1), values.index(2)


def pixels(image):
    layer = image.get_layers()[0]
    area = Gegl.Rectangle.new(0, 0, layer.get_width(), layer.get_height())
    return memoryview(layer.get_buffer().get(area, 1.0, "RGB float", Gegl.AbyssPolicy.NONE)).cast("f")


def differences(image, light=scene, x0=0, y0=0, top=4.0):
    """How far the result is from the scene, relative to the pixel's brightest channel, where any exposure saw it."""
    width, height = image.get_width(), image.get_height()
    got = pixels(image)
    found = []
    for y in range(height):
        for x in range(width):
            truth = light(x + x0, y + y0)
            if max(truth) < 0.95 * top:
                at = (y * width + x) * 3
                found += [abs(got[at + c] - truth[c]) / max(truth) for c in range(3)]
    return found


def check_scene(image, worst=0.03, **options):
    assert image.get_precision() == Gimp.Precision.FLOAT_LINEAR, image.get_precision()
    found = differences(image, **options)
    assert len(found) > 1000
    assert statistics.median(found) < worst / 3 and max(found) < worst, f"median {statistics.median(found)}, worst {max(found)}"


def check_merges(image, layers=None, options={}, **arguments):
    images = len(Gimp.get_images())
    status, made, notes = merge(image, layers, **arguments)
    assert status == STATUS.SUCCESS, notes
    assert len(Gimp.get_images()) == images + 1, "images were left behind"
    check_scene(made, **options)
    made.delete()
    return notes


def check_refused(image, *words, layers=None, status=STATUS.EXECUTION_ERROR, **arguments):
    images = len(Gimp.get_images())
    got, _, message = merge(image, layers, **arguments)
    assert got == status, (got, message)
    for word in words:
        assert word in message, message
    assert len(Gimp.get_images()) == images, "images were left behind"


@case
def merges_8_bits():
    check_merges(bracket())


@case
def merges_16_bits():
    check_merges(bracket(Gimp.Precision.U16_NON_LINEAR), options={"worst": 0.003})


@case
def merges_every_other_precision():
    p = Gimp.Precision
    for precision in (p.U16_LINEAR, p.U32_NON_LINEAR, p.HALF_LINEAR, p.FLOAT_LINEAR, p.FLOAT_NON_LINEAR, p.U8_PERCEPTUAL, p.DOUBLE_LINEAR):
        check_merges(bracket(precision))


@case
def merges_grey():
    for precision in (Gimp.Precision.U8_NON_LINEAR, Gimp.Precision.U16_NON_LINEAR):
        grey = lambda x, y: scene(x, y, grey=True)
        check_merges(bracket(precision, Gimp.ImageBaseType.GRAY, light=grey), options={"light": grey})


@case
def merges_again_with_the_last_values():
    check_merges(bracket(), run_mode=Gimp.RunMode.WITH_LAST_VALS)


@case
def merges_indexed():
    grey = lambda x, y: scene(x, y, grey=True)
    image = bracket(light=grey)
    image.convert_indexed(Gimp.ConvertDitherType.NONE, Gimp.ConvertPaletteType.GENERATE, 256, False, False, "")
    assert image.get_base_type() == Gimp.ImageBaseType.INDEXED
    check_merges(image, options={"light": grey, "worst": 0.15})


@case
def takes_a_layer_for_itself_whatever_its_opacity_and_mode():
    image = bracket()
    image.get_layers()[0].set_opacity(30)
    image.get_layers()[1].set_mode(Gimp.LayerMode.MULTIPLY)
    image.get_layers()[2].set_visible(False)
    check_merges(image)


@case
def merges_opaque_layers_that_have_alpha():
    check_merges(bracket(alpha=True))
    check_merges(bracket(Gimp.Precision.U16_NON_LINEAR, alpha=True))


@case
def keeps_colours_outside_srgb():
    # A green that Adobe RGB holds and sRGB does not: its red is below zero.
    green = lambda x, y: tuple(v * scene(x, y)[0] for v in (-0.15, 0.8, 0.05))
    for alpha in (False, True):
        image = bracket(Gimp.Precision.U16_NON_LINEAR, alpha=alpha, profile=Gimp.ColorProfile.new_rgb_adobe(), light=green)
        status, made, notes = merge(image)
        assert status == STATUS.SUCCESS, notes
        # Of the brightest pixels any channel of Adobe RGB may clip; below they must agree.
        check_scene(made, light=green, top=1.0)
        assert made.get_effective_color_profile().is_linear()
        assert "Adobe" in made.get_effective_color_profile().get_label()
        assert image.get_effective_color_profile().get_label() == Gimp.ColorProfile.new_rgb_adobe().get_label()
        made.delete()


@case
def takes_layers_where_they_lie():
    image = Gimp.Image.new(WIDTH, HEIGHT, Gimp.ImageBaseType.RGB)
    places = [(-5, -3), (0, 0), (4, 7)]
    for ev, (x, y) in zip(EV, places):
        add_layer(image, f"{ev:+d}EV", photograph(ev, x, y)).set_offsets(x, y)
    status, made, notes = merge(image)
    assert status == STATUS.SUCCESS, notes
    assert (made.get_width(), made.get_height()) == (WIDTH - 9, HEIGHT - 10)
    assert f"{WIDTH - 9} x {HEIGHT - 10} pixels" in notes, notes
    check_scene(made, x0=4, y0=7)


@case
def takes_layers_of_different_size():
    image = Gimp.Image.new(WIDTH, HEIGHT, Gimp.ImageBaseType.RGB)
    for ev, (x, y, width, height) in zip(EV, [(0, 0, WIDTH, HEIGHT), (10, 6, 60, 50), (3, 2, 90, 64)]):
        add_layer(image, f"{ev:+d}EV", photograph(ev, x, y, width, height), width, height).set_offsets(x, y)
    status, made, notes = merge(image)
    assert status == STATUS.SUCCESS, notes
    assert (made.get_width(), made.get_height()) == (60, 50)
    check_scene(made, x0=10, y0=6)


@case
def refuses_layers_that_do_not_overlap():
    image = bracket()
    image.get_layers()[2].set_offsets(WIDTH, 0)
    check_refused(image, '"-2EV" and "+2EV" do not overlap')


@case
def merges_groups_as_they_look():
    image = bracket()
    group = Gimp.GroupLayer.new(image, "+4EV")
    image.insert_layer(group, None, 0)
    add_layer(image, "inside", photograph(4), parent=group)
    check_merges(image, reference=2)  # the group is the first


@case
def refuses_a_group_with_holes():
    image = bracket()
    group = Gimp.GroupLayer.new(image, "+4EV")
    image.insert_layer(group, None, 0)
    add_layer(image, "left", photograph(4, width=30), width=30, parent=group)
    right = add_layer(image, "right", photograph(4, 60, 0, 36), width=36, parent=group)
    right.set_offsets(60, 0)
    check_refused(image, '"+4EV" is transparent', "x 30, y 0")


@case
def refuses_masks_unless_they_are_switched_off():
    image = bracket()
    layer = image.get_layers()[1]
    layer.add_mask(layer.create_mask(Gimp.AddMaskType.BLACK))
    check_refused(image, 'The layer "+0EV" has a mask', "Layer > Mask")
    layer.set_apply_mask(False)
    check_merges(image)


@case
def refuses_layer_effects():
    image = bracket()
    layer = image.get_layers()[0]
    effect = Gimp.DrawableFilter.new(layer, "gegl:gaussian-blur", "Blur")
    layer.append_filter(effect)
    check_refused(image, 'The layer "-2EV" has layer effects')
    effect.set_visible(False)
    check_merges(image)


@case
def refuses_transparency_and_says_where():
    for precision in (Gimp.Precision.U8_NON_LINEAR, Gimp.Precision.FLOAT_LINEAR):
        image = bracket(precision, alpha=True)
        buffer = image.get_layers()[2].get_buffer()
        buffer.set(Gegl.Rectangle.new(11, 7, 1, 1), "RGBA float", array.array("f", [0.5, 0.5, 0.5, 0.9]).tobytes())
        buffer.flush()
        check_refused(image, '"+2EV" is transparent in places', "x 11, y 7")


@case
def refuses_one_layer_and_too_many():
    image = bracket()
    for layer in image.get_layers()[1:]:
        image.remove_layer(layer)
    check_refused(image, "2 to 16 layers", "1 is chosen")
    image = bracket()
    for number in range(17):
        add_layer(image, f"{number}", photograph(0))
    check_refused(image, "20 are chosen", exposure_values="estimate")


@case
def takes_visible_layers_where_one_is_given():
    image = bracket()
    hidden = add_layer(image, "notes", photograph(-6))
    hidden.set_visible(False)
    check_merges(image, image.get_layers()[1:2])


@case
def says_when_two_exposures_are_equal():
    image = bracket()
    add_layer(image, "second 0EV", photograph(0))
    notes = check_merges(image)
    assert "same exposure" in notes, notes


@case
def takes_exposure_values_as_text():
    image = bracket()
    for layer in image.get_layers():
        layer.set_name("photograph")
    check_merges(image, exposure_values="-2, 0 , +2 EV")
    wrong = {"status": STATUS.CALLING_ERROR}
    check_refused(image, "exposure-values", "3 numbers", exposure_values="0, 2", **wrong)
    check_refused(image, "exposure-values", "two", exposure_values="0, two, 4", **wrong)
    check_refused(image, "at most 40 apart", exposure_values="-30, 0, 30")


@case
def asks_for_the_missing_name():
    image = bracket()
    image.get_layers()[1].set_name("Background")
    check_refused(image, '"Background"', "0EV", status=STATUS.CALLING_ERROR)


@case
def shows_the_reference_that_is_asked_for():
    image = bracket(Gimp.Precision.U16_NON_LINEAR)
    status, made, notes = merge(image, reference=2)
    assert status == STATUS.SUCCESS, notes
    check_scene(made, light=lambda x, y: [4 * v for v in scene(x, y)], top=16)
    check_refused(image, "reference", "-1 to 2", status=STATUS.CALLING_ERROR, reference=3)


@case
def names_an_unknown_model():
    check_refused(bracket(), "nosuch", method="network", model="nosuch")


@case
def reads_exif_beside_the_image():
    image = example()
    import known_exposures

    assert known_exposures.of_layers(image, image.get_layers()) == [(None, None)] * 3  # GIMP does not know the files
    image.set_file(Gio.File.new_for_path(os.path.join(HERE, "room.xcf")))
    found = known_exposures.of_layers(image, image.get_layers())
    assert [source for _, source in found] == ["EXIF"] * 3, found
    assert [round(value, 3) for value, _ in found] == [6, 3, 0], found
    image.get_layers()[2].set_name("Background")  # as GIMP calls the layer of an opened JPEG
    assert known_exposures.of_layers(image, image.get_layers()) == found


def example():
    image = Gimp.file_load(Gimp.RunMode.NONINTERACTIVE, Gio.File.new_for_path(os.path.join(HERE, "exposure-1.jpg")))
    image.get_layers()[0].set_name("exposure-1.jpg")
    for number in (2, 3):
        file = Gio.File.new_for_path(os.path.join(HERE, f"exposure-{number}.jpg"))
        image.insert_layer(Gimp.file_load_layer(Gimp.RunMode.NONINTERACTIVE, image, file), None, 0)
    return image


@case
def merges_the_example_as_the_command_does():
    """gimp.test.ts compares the rows."""
    image = example()
    image.set_file(Gio.File.new_for_path(os.path.join(HERE, "room.xcf")))
    status, made, notes = merge(image, align=True)
    assert status == STATUS.SUCCESS, notes
    with open(os.path.join(HERE, "example.rows"), "wb") as file:
        file.write(bytes(pixels(made)))
    comment = bytes(made.get_parasite("gimp-comment").get_data()).decode()
    assert "exposure-2.jpg, clips" in comment and "exposure-3.jpg: +6" in comment, comment


@case
def estimates_from_small_pictures():
    """What the dialog's button does."""
    import layers as layers_of
    import merging
    import service

    image = example()
    chosen = layers_of.Pictures(image, image.get_layers())
    small = [chosen.small(index) for index in range(3)]
    assert all(one[:2] == (1024, 683) and len(one[2]) == 1024 * 683 * 3 for one in small), [one[:2] for one in small]
    values, _ = merging.estimate(service.find(), chosen.names, 1024, 683, [data for _, _, data in small])
    assert all(abs(value - truth) < 0.4 for value, truth in zip(values, [6, 3, 0])), values


@case
def cancels_at_every_stage_and_leaves_nothing():
    import merge_layers
    import merging
    import service

    image = bracket()
    images = len(Gimp.get_images())
    running = service.find()
    seen = set()
    for stage in ("Reading -2EV", "Reading +2EV", "Merging", "Writing the result"):

        def progress(text, fraction, stage=stage):
            seen.add(text)
            if text == stage or (stage == "Merging" and fraction >= merging.READ and not text.startswith("Writing")):
                raise service.Cancelled()

        try:
            merge_layers.merge(running, image, image.get_layers(), merging.Settings(ev=EV), progress)
            raise AssertionError(f"not cancelled at {stage}; seen {seen}")
        except service.Cancelled:
            pass
        assert len(Gimp.get_images()) == images, stage
        assert running.ask("GET", "/v1/jobs")["jobs"] == [], stage


@case
def says_so_when_the_image_is_closed_meanwhile():
    import layers as layers_of

    image = bracket()
    reading = layers_of.Pictures(image, image.get_layers())
    reading.rows(0, 0, HEIGHT)
    image.delete()
    for index, name in ((0, "-2EV"), (1, "+0EV")):
        try:
            reading.rows(index, 0, HEIGHT)
            raise AssertionError("rows of an image that is gone")
        except layers_of.Refused as error:
            assert f'"{name}"' in str(error) and "no longer there" in str(error), error
    reading.close()


@case
def leaves_the_original_as_it_was():
    image = bracket(Gimp.Precision.U16_NON_LINEAR, alpha=True)
    image.clean_all()
    before = [bytes(pixels(image)), [layer.get_name() for layer in image.get_layers()], image.is_dirty()]
    merge(image)
    assert before == [bytes(pixels(image)), [layer.get_name() for layer in image.get_layers()], image.is_dirty()]


def phase(name):
    """Tells gimp.test.ts to do something outside, and waits until it has."""
    with open(os.path.join(HERE, "phase"), "w") as file:
        file.write(name)


def large():
    """A bracket whose merge takes long enough to be interrupted."""
    image = Gimp.Image.new(3000, 2000, Gimp.ImageBaseType.RGB)
    for ev in EV:
        row = photograph(ev, width=3000, height=1)
        add_layer(image, f"{ev:+d}EV", row * 2000, 3000, 2000)
    return image


@case
def is_killed_by_the_cancel_button_of_gimp():
    image = large()
    images = len(Gimp.get_images())
    phase("kill the plug-in")
    status, made, message = merge(image, align=True)
    assert status != STATUS.SUCCESS and made is None, (status, message)
    assert len(Gimp.get_images()) == images


@case
def refuses_a_wrong_token():
    path = os.environ["SMHDR_SERVICE_FILE"]
    with open(path) as file:
        told = file.read()
    with open(path, "w") as file:
        json.dump({**json.loads(told), "token": "x" * 43}, file)
    check_refused(bracket(), "smhdr serve")
    with open(path, "w") as file:
        file.write("{")
    check_refused(bracket(), "smhdr serve")
    with open(path, "w") as file:
        file.write(told)
    check_merges(bracket())


@case
def survives_a_service_that_is_killed():
    image = large()
    phase("kill the service")
    check_refused(image, "ended in the middle", "smhdr serve", align=True)
    check_refused(bracket(), "not running", "smhdr serve")


def main():
    wanted = os.environ.get("SMHDR_TEST_CASES", "")
    with open(os.environ["SMHDR_TEST_OUT"], "w") as out:
        for function in cases:
            if wanted and function.__name__ not in wanted.split(","):
                continue
            start = time.time()
            try:
                function()
                said = None
            except BaseException:
                said = traceback.format_exc()
            for image in Gimp.get_images():
                image.delete()
            seconds = round(time.time() - start, 2)
            out.write(json.dumps({"name": function.__name__.replace("_", " "), "error": said, "seconds": seconds}) + "\n")
            out.flush()


main()
