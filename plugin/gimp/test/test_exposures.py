import unittest

import exposures


class FromName(unittest.TestCase):
    def test_reads_the_ways_people_write_exposure_values(self):
        for name, value in {
            "-2EV": -2, "+2 EV": 2, "0EV": 0, "2 ev": 2, "\u22121.3 EV": -1.3, "\u20131EV": -1, "-0,7 EV": -0.7,
            "+1/3 EV": 1 / 3, "-1 2/3EV": -5 / 3, "IMG_0042 -2EV.jpg": -2, "window_+2EV #1": 2, "IMG-2EV": -2,
            "shot 3, 2EV": 2, "EV -2": -2, "EV+1.5": 1.5, "EV: 0,7": 0.7, "-1 stop": -1, "+2 stops": 2, "room EV_3.tif": 3, "-0 EV": 0,
        }.items():
            with self.subTest(name):
                self.assertAlmostEqual(exposures.from_name(name), value)

    def test_reads_nothing_where_nothing_is_stated(self):
        for name in ["Background", "IMG_0042.jpg", "2 events", "level 2", "EVening 2", "EV", "+EV", "1/0 EV", "99EV", "dev 2"]:
            with self.subTest(name):
                self.assertIsNone(exposures.from_name(name))


class Parse(unittest.TestCase):
    def test_takes_numbers_with_or_without_the_unit(self):
        for text, value in {"-2": -2, " +1,5 ": 1.5, "2 EV": 2, "1 stop": 1, "1/3": 1 / 3, "\u22122": -2, "0": 0}.items():
            with self.subTest(text):
                self.assertAlmostEqual(exposures.parse(text), value)
        self.assertIsNone(exposures.parse("  "))

    def test_refuses_anything_else(self):
        for text in ["two", "1 2", "2 feet", "--2", "1e3", "41", "a 2EV", "nan"]:
            with self.subTest(text), self.assertRaises(ValueError):
                exposures.parse(text)

    def test_what_is_shown_can_be_read_again(self):
        for value in [-2, -0.67, 0, 1 / 3, 12.5]:
            self.assertAlmostEqual(exposures.parse(exposures.show(value)), value, delta=0.005)


class FromCamera(unittest.TestCase):
    def stops(self, *tags):
        return exposures.stops_from_settings([exposures.settings_from_tags(one.get) for one in tags])

    def test_counts_time_iso_and_aperture(self):
        time, number, iso = "Exif.Photo.ExposureTime", "Exif.Photo.FNumber", "Exif.Photo.ISOSpeedRatings"
        found = self.stops(
            {time: "1/512", number: "8/1", iso: "100"},
            {time: "1/64", number: "8/1", iso: "100"},
            {time: "1/64", number: "4/1", iso: "200"},
        )
        for value, expected in zip(found, [0, 3, 6], strict=True):
            self.assertAlmostEqual(value, expected)

    def test_takes_what_any_photograph_lacks_as_the_same_for_all(self):
        found = self.stops({"Exif.Photo.ExposureTime": "1/8", "Exif.Photo.ISOSpeedRatings": "400"}, {"Exif.Photo.ExposureTime": "1/4"})
        self.assertEqual(found, [0, 1])

    def test_reads_apex_units_where_there_is_nothing_else(self):
        self.assertEqual(self.stops({"Exif.Photo.ShutterSpeedValue": "6/1"}, {"Exif.Photo.ShutterSpeedValue": "4/1"}), [0, 2])

    def test_says_nothing_without_a_time_or_with_nonsense(self):
        self.assertIsNone(self.stops({"Exif.Photo.ExposureTime": "1/8"}, {}))
        for nonsense in ["1/0", "0/1", "-1/8", "abc", "", "1/", "inf", "0"]:
            with self.subTest(nonsense):
                self.assertIsNone(self.stops({"Exif.Photo.ExposureTime": nonsense}))
        self.assertIsNone(exposures.stops_from_settings([]))
        self.assertIsNone(exposures.stops_from_settings([None]))


if __name__ == "__main__":
    unittest.main()
