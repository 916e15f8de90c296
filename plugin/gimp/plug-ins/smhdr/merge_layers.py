"""Layers in, a new image out: what the dialog and the procedure have in common."""

import time

import gi

gi.require_version("Gimp", "3.0")
from gi.repository import Gimp  # noqa: E402

import exposures
import layers as layers_of
import merging
from result import Result


def show_progress():
    """A progress function that tells GIMP when the text or a per cent changed, and ten times a second at most."""
    last = ["", 0.0]

    def progress(text, fraction):
        now = time.monotonic()
        if text != last[0]:
            Gimp.progress_set_text(text)
        elif now - last[1] < 0.1:
            return
        last[:] = [text, now]
        Gimp.progress_update(fraction)

    return progress


def merge(service, image, chosen, settings, progress):
    """The new image and the notes (code and message each). Nothing of it is left when this raises."""
    pictures = layers_of.Pictures(image, chosen)
    result = None

    def begin(job):
        nonlocal result
        pictures.close()
        result = Result(image, pictures, job)
        return result.take

    try:
        job = merging.merge(service, pictures, settings, begin, progress)
        notes = pictures.notes + job["notes"]
        return result.finish(pictures.wide, describe(service, pictures, job, notes)), notes
    except BaseException:
        if result:
            result.discard()
        raise
    finally:
        pictures.close()


def describe(service, pictures, job, notes):
    """What the new image remembers of how it was made, as its comment."""
    result = job["result"]
    stops = ", ".join(f"{name}: {exposures.show(value)}" for name, value in zip(pictures.names, result["ev"]))
    method = f"network, model {result['model']}" if result["model"] else result["method"]
    return "\n".join(
        [
            f"Merged by smhdr {service.version} ({method}). 1.0 is where the reference, {pictures.names[result['reference']]}, clips.",
            f"Exposure values in stops ({result['evSource']}): {stops}.",
            *(note["message"] for note in notes),
        ]
    )
