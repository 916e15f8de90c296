"""The plug-in's side of the service, against the real one: SMHDR_COMMAND says how to start it (python.test.ts sets it)."""

import os
import sys
import tempfile
import unittest
import unittest.mock

import guard
import merging
import service


class Pictures:
    """Three exposures of a slope of light, as merging reads pictures."""

    def __init__(self, width=96, height=64, kind="uint8"):
        self.names, self.width, self.height, self.format = ["-2EV", "0EV", "+2EV"], width, height, kind
        self.encoding = {"transfer": "linear", "primaries": "srgb"}
        self.read = []

    def rows(self, picture, row, rows):
        self.read.append((picture, row, rows))
        gain, top, bytes_each = 4.0 ** (picture - 1), (255, 65535)[self.format == "uint16"], 1 + (self.format == "uint16")
        line = b"".join(
            round(top * min(1.0, self.light(x) * gain)).to_bytes(bytes_each, "little") * 3 for x in range(self.width)
        )
        return line * rows

    def light(self, x):
        return 0.05 + 1.5 * x / self.width


class Taker:
    """Takes the result as the image would."""

    def __init__(self):
        self.rows = {}

    def __call__(self, job):
        self.job = job
        return lambda row, rows, data: self.rows.__setitem__(row, (rows, data))


SETTINGS = merging.Settings(ev=[-2, 0, 2], align=False)


def quiet(_text, _fraction):
    pass


def start_file_in_a_folder(add_cleanup):
    folder = tempfile.TemporaryDirectory()
    add_cleanup(folder.cleanup)
    path = os.path.join(folder.name, "state", "service.json")
    patch = unittest.mock.patch.dict(os.environ, {"SMHDR_SERVICE_FILE": path})
    patch.start()
    add_cleanup(patch.stop)
    return path


class Paths(unittest.TestCase):
    def test_looks_where_the_protocol_says(self):
        home = os.path.expanduser("~")
        self.assertEqual(service.start_files({"SMHDR_SERVICE_FILE": "/x/y"}, "linux"), ["/x/y"])
        default = os.path.join(home, ".local", "state", "smhdr", "service.json")
        self.assertEqual(service.start_files({}, "linux"), [default])
        self.assertEqual(service.start_files({"XDG_STATE_HOME": "/s"}, "linux"), ["/s/smhdr/service.json", default])
        self.assertIn("Application Support", service.start_files({}, "darwin")[0])
        self.assertEqual(service.start_files({"LOCALAPPDATA": "L"}, "win32"), [os.path.join("L", "smhdr", "service.json")])

    def test_finds_the_command(self):
        self.assertEqual(service.command({"SMHDR_COMMAND": "node 'a b/smhdr.js'"}, "linux"), ["node", "a b/smhdr.js"])
        with tempfile.TemporaryDirectory() as folder:
            program = os.path.join(folder, "smhdr")
            with unittest.mock.patch("os.path.expanduser", return_value=folder):
                with open(program, "w") as file:
                    file.write("#!/bin/sh\n")
                os.chmod(program, 0o755)
                self.assertEqual(service.command({"PATH": folder}, "linux"), [program])


class NotRunning(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = os.path.join(self.folder.name, "service.json")

    def environment(self, **more):
        return unittest.mock.patch.dict(os.environ, {"SMHDR_SERVICE_FILE": self.path, **more})

    def test_a_stale_or_broken_start_file_is_nobody(self):
        for content in ["", "{", "[]", "null", '{"port": "x", "token": "t"}', '{"port": 1, "token": "t"}', '{"port": 99999, "token": "t"}']:
            with self.subTest(content), self.environment():
                with open(self.path, "w") as file:
                    file.write(content)
                self.assertIsNone(service.find())

    def test_says_how_to_start_it_where_the_command_is_missing(self):
        with self.environment(), unittest.mock.patch("service.command", return_value=None):
            with self.assertRaisesRegex(service.ServiceError, "smhdr serve"):
                service.find_or_start()

    def test_says_why_it_does_not_start(self):
        with self.environment(SMHDR_COMMAND=f"{sys.executable} -c \"import sys; sys.exit('the native part is missing')\""):
            with self.assertRaisesRegex(service.ServiceError, "did not start: the native part is missing"):
                service.find_or_start()
        with self.environment(SMHDR_COMMAND="/nonexistent/smhdr"):
            with self.assertRaisesRegex(service.ServiceError, "could not be started"):
                service.find_or_start()

    def test_can_be_cancelled_while_starting(self):
        with self.environment(SMHDR_COMMAND=f"{sys.executable} -c 'import time; time.sleep(60)'"):
            with self.assertRaises(service.Cancelled):
                service.find_or_start(lambda: True)


@unittest.skipUnless(os.environ.get("SMHDR_COMMAND"), "SMHDR_COMMAND is not set: no service to talk to")
class StartedAndEnded(unittest.TestCase):
    def setUp(self):
        self.path = start_file_in_a_folder(self.addCleanup)

    def test_starts_it_finds_it_again_and_ends_it(self):
        ours = service.find_or_start()
        self.addCleanup(ours.stop_if_ours)
        self.assertTrue(ours.version)
        again = service.find_or_start()
        self.assertIsNone(again.process, "a second one was started")
        again.stop_if_ours()
        self.assertIsNotNone(service.find(), "it was not ours to end")
        ours.stop_if_ours()
        self.assertIsNone(service.find())
        self.assertFalse(os.path.exists(self.path), "it did not end cleanly")

    def test_the_guard_ends_the_service_of_a_dead_plug_in(self):
        ours = service.find_or_start()
        self.addCleanup(ours.stop_if_ours)
        job = service.Job(ours, width=8, height=8, format="uint8", exposures=[{"name": "a"}, {"name": "b"}])
        watch = guard.start(ours, job)
        watch.stdin.close()
        self.assertEqual(ours.process.wait(20), 0)

    def test_says_so_when_the_service_is_killed(self):
        for stage in ("Reading 0EV", "Merging", "Writing the result"):
            with self.subTest(stage):
                running = service.find_or_start()
                self.addCleanup(running.stop_if_ours)
                killed, process = [], running.process

                def progress(text, part, stage=stage, killed=killed, process=process):
                    if not killed and (text == stage or (stage == "Merging" and part >= merging.READ)):
                        killed.append(text)
                        process.kill()
                        process.wait()

                with unittest.mock.patch("merging.STRIP_BYTES", 40000):
                    with self.assertRaisesRegex(service.ServiceError, "ended in the middle.*smhdr serve"):
                        merging.merge(running, Pictures(96, 1000), SETTINGS, Taker(), progress)
                self.assertTrue(killed)


@unittest.skipUnless(os.environ.get("SMHDR_COMMAND"), "SMHDR_COMMAND is not set: no service to talk to")
class Running(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        start_file_in_a_folder(cls.addClassCleanup)
        cls.service = service.find_or_start()
        cls.addClassCleanup(cls.service.stop_if_ours)

    def jobs(self):
        return self.service.ask("GET", "/v1/jobs")["jobs"]

    def test_merges(self):
        for kind in ("uint8", "uint16"):
            with self.subTest(kind):
                pictures, taker, said = Pictures(kind=kind), Taker(), []
                done = merging.merge(self.service, pictures, SETTINGS, taker, lambda text, part: said.append((part, text)))
                self.assertEqual(done["result"]["ev"], [0, 2, 4])
                data = b"".join(data for _, (_, data) in sorted(taker.rows.items()))
                self.assertEqual(len(data), pictures.width * pictures.height * 12)
                values = memoryview(data).cast("f")
                for x in range(0, pictures.width, 7):
                    self.assertAlmostEqual(values[x * 3], pictures.light(x), delta=0.02 * pictures.light(x))
                self.assertEqual([part for part, _ in said], sorted(part for part, _ in said), "progress went backwards")
                self.assertEqual(self.jobs(), [])

    def test_sends_and_takes_tall_pictures_in_strips(self):
        pictures, taker = Pictures(64, 700), Taker()
        with unittest.mock.patch("merging.STRIP_BYTES", 40000):
            merging.merge(self.service, pictures, SETTINGS, taker, quiet)
        self.assertEqual([row for picture, row, _ in pictures.read if picture == 1], [0, 192, 384, 576])
        self.assertEqual(sum(rows for rows, _ in taker.rows.values()), 700)
        self.assertGreater(len(taker.rows), 2)

    def test_passes_refusals_on(self):
        with self.assertRaisesRegex(service.ServiceError, "nosuch"):
            merging.merge(self.service, Pictures(), merging.Settings(method="network", model="nosuch"), Taker(), quiet)
        with self.assertRaises(service.ServiceError):
            merging.merge(self.service, Pictures(), merging.Settings(reference=5), Taker(), quiet)
        self.assertEqual(self.jobs(), [])

    def test_passes_the_failure_of_a_picture_on(self):
        pictures = Pictures(96, 4000)
        rows = pictures.rows

        def fails(picture, row, count):
            if picture == 1:
                raise RuntimeError("closed")
            return rows(picture, row, count)

        pictures.rows = fails
        with self.assertRaisesRegex(RuntimeError, "closed"):
            merging.merge(self.service, pictures, SETTINGS, Taker(), quiet)
        self.assertEqual(self.jobs(), [])

    def test_a_wrong_length_is_refused(self):
        pictures = Pictures()
        pictures.rows = lambda picture, row, rows: b"123"
        with self.assertRaisesRegex(service.ServiceError, "bytes|rows|length"):
            merging.merge(self.service, pictures, SETTINGS, Taker(), quiet)

    def test_a_wrong_token_is_not_our_service(self):
        with self.assertRaisesRegex(service.ServiceError, "token") as caught:
            service.Service(self.service.port, "x" * 43).ask("GET", "/v1/status")
        self.assertEqual(caught.exception.code, "UNAUTHORIZED")

    def test_cancel_at_every_stage_leaves_no_job(self):
        for part in (0, 0.2, merging.READ, merging.MERGED):
            with self.subTest(part):

                def progress(_text, now, part=part):
                    if now >= part:
                        raise service.Cancelled()

                with self.assertRaises(service.Cancelled):
                    merging.merge(self.service, Pictures(400, 300), SETTINGS, Taker(), progress)
                self.assertEqual(self.jobs(), [])

    def test_the_guard_deletes_the_job_of_a_dead_plug_in(self):
        job = service.Job(self.service, width=8, height=8, format="uint8", exposures=[{"name": "a"}, {"name": "b"}])
        watch = guard.start(self.service.copy(), job)  # a service that this plug-in did not start
        self.assertEqual(len(self.jobs()), 1)
        watch.stdin.close()  # what the system does when a process is killed
        watch.wait(20)
        self.assertEqual(self.jobs(), [])

    def test_the_guard_leaves_a_finished_plug_in_alone(self):
        job = service.Job(self.service, width=8, height=8, format="uint8", exposures=[{"name": "a"}, {"name": "b"}])
        with job:
            watch = guard.start(self.service, job)
            guard.stop(watch)
            self.assertEqual(watch.returncode, 0)
            self.assertEqual(len(self.jobs()), 1)

    def test_a_newer_protocol_is_named(self):
        with unittest.mock.patch("service.PROTOCOL", 2), self.assertRaisesRegex(service.ServiceError, "same release"):
            service.find()


if __name__ == "__main__":
    unittest.main()
