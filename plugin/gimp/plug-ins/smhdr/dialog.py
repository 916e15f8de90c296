"""The dialog: layers with ticks and exposure values, the reference, the method; then the merge with progress and cancel."""

import gi

gi.require_version("Gimp", "3.0")
gi.require_version("GimpUi", "3.0")
gi.require_version("Gtk", "3.0")
from gi.repository import GdkPixbuf, Gimp, GimpUi, GLib, Gtk, Pango  # noqa: E402, F401

import exposures
import known_exposures
import layers as layers_of
import merge_layers
import merging
import service as services

THUMBNAIL = 56
ROWS_SHOWN = 5
FROM = {"name": "from its name", "EXIF": "from EXIF", "estimated": "estimated"}


def run(procedure, image, drawables, config):
    """The new image and the notes. Raises Cancelled."""
    GimpUi.init("smhdr")
    dialog = Dialog(image, drawables, config)
    try:
        return dialog.run()
    finally:
        dialog.close()


class Row:
    """One layer: its tick, picture, name, exposure value and where that is from."""

    def __init__(self, grid, at, layer, changed):
        self.layer = layer
        self.name = layer.get_name()
        self.source = None
        self.problem = layers_of.problem(layer)
        self.tick = Gtk.CheckButton(tooltip_text="Merge this layer as an exposure")
        self.tick.set_sensitive(self.problem is None)
        self.tick.get_accessible().set_name(f"Merge {self.name}")
        picture = layer.get_thumbnail(THUMBNAIL, THUMBNAIL, Gimp.PixbufTransparency.SMALL_CHECKS)
        image = Gtk.Image.new_from_pixbuf(picture)
        image.set_size_request(THUMBNAIL, -1)
        label = Gtk.Label(label=self.name, xalign=0, hexpand=True, ellipsize=Pango.EllipsizeMode.MIDDLE, tooltip_text=self.name)
        label.set_width_chars(16)
        label.set_margin_start(16 * _depth(layer))
        self.value = Gtk.Entry(width_chars=8, activates_default=True)
        self.value.set_tooltip_text('Exposure value in stops, such as "-2" or "+1/3". Empty in all ticked layers: estimated from the pixels.')
        self.value.get_accessible().set_name(f"Exposure value of {self.name} in stops")
        self.origin = Gtk.Label(xalign=0, width_chars=15)
        self.origin.get_style_context().add_class("dim-label")
        if self.problem:
            self.value.set_sensitive(False)
            self.origin.set_text("cannot be merged")
            for widget in (label, self.origin, image):
                widget.set_tooltip_text(self.problem)
        for column, widget in enumerate([self.tick, image, label, self.value, self.origin]):
            grid.attach(widget, column, at, 1, 1)
        self.tick.connect("toggled", lambda _: changed())
        self.value.connect("changed", lambda _: self._typed(changed))

    def set_value(self, value, source):
        self.value.set_text("" if value is None else exposures.show(value))
        self.source = source
        self.origin.set_text(FROM.get(source, "will be estimated"))

    def _typed(self, changed):
        if not self.problem:
            self.source = None
            self.origin.set_text("" if self.value.get_text().strip() else "will be estimated")
        changed()

    @property
    def ticked(self):
        return self.tick.get_active()


class Dialog:
    def __init__(self, image, drawables, config):
        self.image, self.config = image, config
        self.cancelled = self.busy = False
        self._look_for_models()
        self.window = GimpUi.Dialog(title="Merge to HDR", role="plug-in-smhdr-merge")
        self.window.add_button("_Cancel", Gtk.ResponseType.CANCEL)
        self.merge_button = self.window.add_button("_Merge", Gtk.ResponseType.OK)
        self.window.set_default_response(Gtk.ResponseType.OK)
        self.window.connect("response", self._responded)
        self.window.connect("delete-event", lambda *_: True)  # closing the window is the response DELETE_EVENT, no more
        box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=12, border_width=12)
        self.window.get_content_area().pack_start(box, True, True, 0)
        self.message = Gtk.Label(xalign=0, wrap=True, selectable=True, max_width_chars=60)
        self.bar = Gtk.InfoBar(message_type=Gtk.MessageType.ERROR, no_show_all=True)
        self.bar.get_content_area().pack_start(self.message, True, True, 0)
        self.message.show()
        box.pack_start(self.bar, False, False, 0)
        self.form = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=12)
        box.pack_start(self.form, True, True, 0)
        self._add_layers(drawables)
        self._add_settings()
        self.state = Gtk.Label(xalign=0, wrap=True, max_width_chars=60)
        self.state.get_style_context().add_class("dim-label")
        box.pack_start(self.state, False, False, 0)
        self.progress = Gtk.ProgressBar(opacity=0)  # its place is kept
        box.pack_start(self.progress, False, False, 0)
        self._say_whether_smhdr_runs()
        self._changed()
        self.window.show_all()
        GimpUi.window_set_transient(self.window)

    def _add_layers(self, drawables):
        grid = Gtk.Grid(column_spacing=8, row_spacing=6, border_width=6)
        for column, text in enumerate(["", "", "Layer", "Exposure in stops", ""]):
            grid.attach(Gtk.Label(label=text, xalign=0), column, 0, 1, 1)
        layers = layers_of.all_layers(self.image)
        self.rows = []
        self.rows = [Row(grid, at + 1, layer, self._changed) for at, layer in enumerate(layers)]
        chosen = [one for one in drawables if one in layers]
        if len(chosen) < 2:
            chosen = layers_of.exposures_of(self.image)
        rows = [row for row in self.rows if row.layer in chosen and not row.problem][:16]
        for row, (value, source) in zip(rows, known_exposures.of_layers(self.image, [row.layer for row in rows])):
            row.set_value(value, source)
            row.tick.set_active(True)
        for row in self.rows:
            if row not in rows and not row.problem:
                row.set_value(exposures.from_name(row.name), "name" if exposures.from_name(row.name) is not None else None)
        scroller = Gtk.ScrolledWindow(hscrollbar_policy=Gtk.PolicyType.NEVER, shadow_type=Gtk.ShadowType.IN)
        scroller.set_propagate_natural_height(True)
        scroller.set_max_content_height((THUMBNAIL + 6) * ROWS_SHOWN)
        scroller.add(grid)
        self.form.pack_start(scroller, True, True, 0)
        self.estimate_button = Gtk.Button(label="_Estimate from the pixels", use_underline=True, halign=Gtk.Align.END)
        self.estimate_button.connect("clicked", lambda _: self._attempt(self._estimate))
        self.form.pack_start(self.estimate_button, False, False, 0)

    def _add_settings(self):
        grid = Gtk.Grid(column_spacing=12, row_spacing=6)
        self.reference = Gtk.ComboBoxText()
        self.reference.set_tooltip_text("The exposure whose moment the result shows; best one in which little is white or black")
        self.method = Gtk.ComboBoxText()
        self.method.append("radiance", "Weighted merge")
        self.method.append("network", "Neural network (slower)")
        for model in self.models:
            self.method.append("network:" + model, f"Neural network {model}")
        model = self.config.get_property("model")
        method = self.config.get_property("method")
        if not (model and method == "network" and self.method.set_active_id(f"network:{model}")):
            self.method.set_active_id(method)
        self.align = Gtk.CheckButton(label="_Align: undo the movement of a camera held by hand, and follow what moved", use_underline=True)
        self.align.set_active(self.config.get_property("align"))
        for at, (text, widget) in enumerate([("_Reference:", self.reference), ("Me_thod:", self.method)]):
            label = Gtk.Label(label=text, use_underline=True, xalign=0, mnemonic_widget=widget)
            widget.set_hexpand(True)
            grid.attach(label, 0, at, 1, 1)
            grid.attach(widget, 1, at, 1, 1)
        grid.attach(self.align, 1, 2, 1, 1)
        self.form.pack_start(grid, False, False, 0)

    def _look_for_models(self):
        """The models of a service that runs already; the dialog opens without one, too."""
        self.service, self.models = None, []
        try:
            self.service = services.find()
            if self.service:
                self.models = [one["name"] for one in self.service.ask("GET", "/v1/models", patience=5)["models"]]
        except services.ServiceError:
            pass  # said when it matters

    def _say_whether_smhdr_runs(self):
        if self.bar.get_visible():
            text = ""  # that says enough
        elif self.service:
            text = f"smhdr {self.service.version} is running."
        elif services.command():
            text = "smhdr is not running; it will be started."
        else:
            text = services.HOW_TO_START
        self.state.set_text(text)

    def _changed(self):
        """Keeps what depends on the ticks."""
        if not hasattr(self, "reference"):
            return
        ticked = [row for row in self.rows if row.ticked]
        before = self.reference.get_active_id() or "middle"
        self.reference.remove_all()
        self.reference.append("middle", "The middle exposure")
        for row in ticked:
            self.reference.append(str(row.layer.get_id()), row.name)
        if not self.reference.set_active_id(before):
            self.reference.set_active_id("middle")
        self.window.set_response_sensitive(Gtk.ResponseType.OK, 2 <= len(ticked) <= 16)
        self.estimate_button.set_sensitive(2 <= len(ticked) <= 16)
        self.merge_button.set_tooltip_text("" if 2 <= len(ticked) <= 16 else "Tick 2 to 16 layers")

    def run(self):
        while True:
            self.cancelled = False
            answer = self.window.run()
            if answer != Gtk.ResponseType.OK:
                raise services.Cancelled()
            made = self._attempt(self._merge)
            if made:
                return made

    def close(self):
        if self.service:
            self.service.stop_if_ours()
        self.window.destroy()

    def _responded(self, _window, answer):
        if self.busy and answer != Gtk.ResponseType.OK:
            self.cancelled = True

    def _attempt(self, work):
        """Does some work with the form locked; what goes wrong is said in the dialog. None where it went wrong or was cancelled."""
        self.bar.hide()
        self.busy, self.cancelled = True, False
        self.form.set_sensitive(False)
        self.merge_button.set_sensitive(False)
        try:
            return work()
        except services.Cancelled:
            return None
        except (layers_of.Refused, services.ServiceError, services.Wrong) as error:
            if getattr(error, "code", None) == "UNREACHABLE":
                self.service = None
            self.message.set_text(str(error))
            self.bar.show()
            width, _ = self.window.get_size()
            self.window.resize(width, self.window.get_preferred_height_for_width(width)[1])
            return None
        finally:
            self.busy = False
            self.form.set_sensitive(True)
            self.progress.set_opacity(0)
            self._say_whether_smhdr_runs()
            self._changed()

    def _show(self, text, fraction):
        self.state.set_text(text)
        self.progress.set_fraction(fraction)
        self.progress.set_opacity(1)
        self._pump()

    def _pump(self):
        while Gtk.events_pending():
            Gtk.main_iteration()
        if self.cancelled:
            raise services.Cancelled()

    def _connect(self):
        """The service; one that has ended is looked for again."""
        self._show("Looking for smhdr", 0)

        def stopped():
            while Gtk.events_pending():
                Gtk.main_iteration()
            return self.cancelled

        found = services.find_or_start(stopped)
        if not found.process and self.service and self.service.process:
            found.process = self.service.process  # still ours to end
        self.service = found
        return found

    def _estimate(self):
        rows = [row for row in self.rows if row.ticked]
        pictures = layers_of.Pictures(self.image, [row.layer for row in rows])
        service = self._connect()
        self._show("Estimating exposure values", 0.3)
        small = [pictures.small(index) for index in range(len(rows))]
        values, notes = merging.estimate(service, pictures.names, small[0][0], small[0][1], [data for _, _, data in small])
        for row, value in zip(rows, values):
            row.set_value(value, "estimated")

    def _merge(self):
        rows = [row for row in self.rows if row.ticked]
        settings = self._settings(rows)
        service = self._connect()
        Gimp.progress_init("Merging to HDR")
        tell = merge_layers.show_progress()

        def progress(text, fraction):
            tell(text, fraction)
            self._show(text, fraction)

        try:
            return merge_layers.merge(service, self.image, [row.layer for row in rows], settings, progress)
        finally:
            Gimp.progress_end()

    def _settings(self, rows):
        values = []
        for row in rows:
            try:
                values.append(exposures.parse(row.value.get_text()))
            except ValueError:
                row.value.grab_focus()
                raise services.Wrong(
                    f'"{row.value.get_text()}" is no exposure value of "{row.name}": write stops, such as -2 or +1/3.'
                ) from None
        missing = [row for row, value in zip(rows, values) if value is None]
        if missing and len(missing) < len(rows):
            missing[0].value.grab_focus()
            raise services.Wrong(f'"{missing[0].name}" has no exposure value. Give one to every ticked layer, or to none: then they are estimated.')
        chosen = self.reference.get_active_id()
        ids = [str(row.layer.get_id()) for row in rows]
        method, _, model = self.method.get_active_id().partition(":")
        align = self.align.get_active()
        for name, value in (("method", method), ("model", model), ("align", align)):
            self.config.set_property(name, value)
        return merging.Settings(
            ev=None if missing else values,
            reference=ids.index(chosen) if chosen in ids else None,
            method=method,
            model=model or None,
            align=align,
        )


def _depth(layer):
    depth = 0
    while layer.get_parent():
        layer, depth = layer.get_parent(), depth + 1
    return depth
