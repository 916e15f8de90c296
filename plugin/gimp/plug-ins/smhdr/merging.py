"""One merge at the service, from pictures to rows of the result. Nothing here knows GIMP."""

import collections
import concurrent.futures
import time

import guard
from service import Job, ServiceError

STRIP_BYTES = 8 << 20
POLL_SECONDS = 0.05
# How the whole is divided for the progress bar; the three take about that long.
READ, MERGED = 0.35, 0.9


class Settings:
    """What the service is told; None leaves a choice to it. `reference` counts the pictures as they are given."""

    def __init__(self, ev=None, reference=None, method="radiance", model=None, align=True):
        self.ev, self.reference, self.method, self.model, self.align = ev, reference, method, model, align


def merge(service, pictures, settings, begin, progress):
    """
    Sends the pictures, waits for the merge, and hands the result on in strips.

    `pictures` has `names`, `width`, `height`, `format` ("uint8", "uint16"), `encoding` and `rows(picture, row, rows)`, which
    gives bytes of interleaved RGB. `begin(job)` is called once the merge is done and gives a function (row, rows, bytes) that
    takes the result, float32 linear RGB in which 1.0 is where the reference clips. `progress(text, fraction)` is called often;
    it may raise Cancelled, and the job is then deleted. Returns the finished job. Raises ServiceError.
    """
    model = settings.model if settings.method == "network" else None
    fields = {
        "width": pictures.width,
        "height": pictures.height,
        "format": pictures.format,
        "encoding": pictures.encoding,
        "exposures": [{"name": name} for name in pictures.names],
        "ev": settings.ev,
        "reference": settings.reference,
        "method": settings.method,
        "model": model,
        "align": "auto" if settings.align else "none",
    }
    with Job(service, **fields) as job:
        watch = guard.start(service, job)
        try:
            _send(job, pictures, progress)
            job.merge()
            done = _wait(job, progress)
            _receive(job, done["result"], begin(done), progress)
        finally:
            guard.stop(watch)
    return done


def estimate(service, names, width, height, pictures):
    """The exposure values and notes that the service finds in small sRGB pictures of 8 bits."""
    exposures = [{"name": name} for name in names]
    with Job(service, width=width, height=height, format="uint8", exposures=exposures) as job:
        for index, data in enumerate(pictures):
            job.put_rows(index, 0, height, data)
        found = job.exposure_values()
    return found["values"], [note["message"] for note in found["notes"]]


def strips(height, bytes_per_row):
    """(row, rows) from top to bottom: whole tiles of GIMP's where they fit, about STRIP_BYTES each."""
    rows = max(1, STRIP_BYTES // bytes_per_row)
    rows = max(64, rows - rows % 64)
    return [(row, min(rows, height - row)) for row in range(0, height, rows)]


def _send(job, pictures, progress):
    """Reads here and sends from a second thread, since GIMP may only be asked from one."""
    bytes_per_row = pictures.width * 3 * (1 if pictures.format == "uint8" else 2)
    work = [(i, *strip) for i in range(len(pictures.names)) for strip in strips(pictures.height, bytes_per_row)]
    connection = job.service.copy()
    with concurrent.futures.ThreadPoolExecutor(1) as sender:
        try:
            on_their_way = collections.deque()
            for done, (picture, row, rows) in enumerate(work):
                progress(f"Reading {pictures.names[picture]}", READ * done / len(work))
                data = pictures.rows(picture, row, rows)
                on_their_way.append(sender.submit(job.put_rows, picture, row, rows, data, connection))
                if len(on_their_way) > 2:
                    on_their_way.popleft().result()
            while on_their_way:
                on_their_way.popleft().result()
        finally:
            sender.shutdown(cancel_futures=True)
            connection.close()


# What each stage is called, and where in the service's work it begins and ends: it counts every stage from 0 to 1.
STAGES = {
    "waiting": ("Waiting for another merge", 0, 0),
    "reading": ("Preparing", 0, 0.15),
    "aligning": ("Aligning", 0.15, 0.3),
    "merging": ("Merging", 0.3, 1),
}


def _wait(job, progress):
    while True:
        state = job.state()
        if state["state"] == "done":
            return state
        if state["state"] in ("failed", "cancelled"):
            error = state["error"] or {"code": "CANCELLED", "message": "The smhdr service stopped the merge."}
            raise ServiceError(error["message"], error["code"])
        now = state["progress"] or {"stage": "waiting", "fraction": 0}
        text, begins, ends = STAGES.get(now["stage"], STAGES["merging"])
        progress(text, READ + (MERGED - READ) * (begins + (ends - begins) * now["fraction"]))
        time.sleep(POLL_SECONDS)


def _receive(job, result, take, progress):
    """Fetches the next strip while GIMP takes this one."""
    work = strips(result["height"], result["width"] * 12)
    with concurrent.futures.ThreadPoolExecutor(1) as fetcher:
        ahead = fetcher.submit(job.result_rows, *work[0])
        for done, (row, rows) in enumerate(work):
            data = ahead.result()
            if done + 1 < len(work):
                ahead = fetcher.submit(job.result_rows, *work[done + 1])
            progress("Writing the result", MERGED + (1 - MERGED) * done / len(work))
            take(row, rows, data)
