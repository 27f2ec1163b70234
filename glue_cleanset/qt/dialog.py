"""The dialog *Clean image set*: choose, run in a worker, attach, show the summary."""

from functools import partial

from echo.qt import autoconnect_callbacks_to_qt
from glue.core.hub import HubListener
from glue.core.message import ApplicationClosedMessage
from glue_qt.utils import set_cursor_cm
from qtpy import QtCore, QtWidgets

from glue_cleanset.core.settings import KINDS
from glue_cleanset.core.threads import CleanCancelled, return_memory
from glue_cleanset.viewer.attach import OUTPUTS, AttachResult
from glue_cleanset.viewer.overrule import note_overrules

from .files import pick_folder
from .output import REPLACE, in_words_of_dialog
from .preview import PreviewPanel, ThresholdSlider
from .state import CleanState
from .summary import SummaryDialog
from .worker import CleanWorker

__all__ = ["CleanDialog"]

# letters of a box with long texts; a screen 1366 pixels wide has no room for more, and less beside the preview
LONG, SHORT = 57, 30
BESIDE = 920  # pixels across with the preview
KINDS_ABREAST = 4

TIPS = {
    "data": "The cube that holds the frames.",
    "attribute": "The attribute of the data that holds the pixels.",
    "axis": "The axis along which the frames follow each other; the first, unless the cube was made elsewhere.",
    "detection": "How a pixel is judged against the same pixel of the other frames.\n"
    "The noise model serves untuned; the others are there to compare with other software.\n"
    "Choosing one puts its default thresholds below.",
    "centre": "What the samples of a pixel are clipped about.\n"
    "The median is not moved by a hit; the mean is what some other software uses.",
    "maxiters": "How often the clip is repeated on what it left, at most.\n"
    "Raise it when hits of differing strength hide each other, lower it when good samples are lost;\n"
    "0 = until nothing changes.",
    "scale_noise": "Noise proportional to the signal, as a share of it: flat field, shutter.\n"
    "Raise it when stars and bright parts are rejected, lower it when hits on them stay.",
    "bright": "Look for pixels brighter than expected: cosmic rays, hot pixels, trails.",
    "dark": "Look for pixels darker than expected: dead pixels, dust, over-subtracted hot pixels.",
    "high": "A pixel further than this from the expected image is rejected on its own.\n"
    "Raise it when noise is rejected, lower it when faint hits stay.\n"
    "In sigma; with 'percentile' a share of the median.",
    "low": "A pixel further than this is rejected beside a stronger one of the same frame, as in the tail of a track.\n"
    "Raise it when events grow into their surroundings, lower it when tails stay.\n"
    "Never above the threshold to its left.",
    "grow": "Reject also the pixels within this distance of an event.\n"
    "Raise it when faint rims stay around hits; 0 rejects the found pixels only.",
    "max_rejected": "The most frames in which one and the same pixel may be rejected; where more deviate,\n"
    "only the most significant are.\nLower it when variable objects are rejected, raise it for trails that cross.",
    "min_frames": "How many frames must remain at a pixel; where fewer would, the least significant are put back.\n"
    "Raise it so that every repaired value rests on several frames, lower it when hits stay where many frames\n"
    "are bad. Where none remains, the median of the neighbours is taken.",
    "kinds": "Tell cosmic rays, hot pixels, moving objects, trails and so on apart, and find the whole of trails and\n"
    "moving objects. Without it every event is repaired, whatever it is.",
    "keep": "What is ticked is listed among the events and stays as it is, bit for bit.\n"
    "Whatever stays can be repaired later, and the other way round, from the table of events.",
    "noise": "Fitted to the frames it needs no knowledge of the detector.\n"
    "Take it from the header or give it when the frames are few (2 or 3) and you trust the values.",
    "gain": "Electrons per ADU. Raise it when noise in bright parts goes unnoticed as hits; "
    "lower it when star cores are rejected.\n0 = fitted to the set.",
    "readnoise": "Read noise, rms. Raise it when sky noise is rejected, lower it when faint hits stay in the sky.\n"
    "0 = fitted to the set.",
    "normalize": "How frames of different level are brought together before they are compared.\n"
    "The repaired pixels are always on the frame's own scale.",
    "protect": "Nothing is rejected where this subset is: a variable star, a moving object, a trail of interest.",
    "ignore": "What this subset selects is not used at all: never rejected, never repaired, never part of what other\n"
    "frames are compared with. For a bad column, a vignetted corner, the edge of a mosaic.",
    "keep_overrules": "What was restored by hand in the last cleaning is not rejected again,\n"
    "and what was rejected by hand is rejected whatever the thresholds are.",
    "folder": "Where the cleaned frames, their masks, the map and the tables are written. The frames themselves are\n"
    "never changed. glue reads the cleaned frames from there, so leave the folder where it is.",
    "replace": "Files of an earlier cleaning that are in the folder are replaced when the new ones are complete;\n"
    "what a cleaning that was stopped has done there is thrown away.",
    "preview": "Show what these settings reject in the part of the image that is on display",
    "repair": "What a rejected pixel is replaced by.\n"
    "'zero' prepares a mean that leaves zeros out; 'none' detects only.",
    "add_noise": "Give a repaired pixel the noise that its frame would have had there, so that\n"
    "the statistics of the frame stay honest. Without it the repaired pixels are smoother than the rest.",
    "seed": "The same seed gives the same noise.",
    "constant": "The value that 'constant' writes into rejected pixels.",
}


class CleanDialog(QtWidgets.QDialog, HubListener):
    """Choose what is cleaned and how, and run it while glue stays alive.

    Parameters
    ----------
    session : glue.core.Session
    data : glue.core.Data, optional
        The cube chosen first.
    images : list of glue.core.Data, optional
        2-D data to clean as one set, instead of a cube.
    parent : QWidget, optional

    Attributes
    ----------
    state : CleanState
    worker : CleanWorker or None
        The cleaning that runs.
    preview : PreviewPanel
        Shown where ``state.preview`` is True.
    summary : SummaryDialog or None
        Shown after a cleaning.
    """

    def __init__(self, session, data=None, images=None, parent=None):
        super().__init__(parent)
        self.session = session
        self.state = CleanState(session.data_collection, data=data, images=images)
        self.worker = None
        self.summary = None
        self._job = self._output = None
        self._leaving = False
        self._optional = {}  # setting -> its widgets, shown where it is used

        self.setWindowTitle("Clean image set")
        self.setAttribute(QtCore.Qt.WA_DeleteOnClose)
        self._build()
        self._connections = autoconnect_callbacks_to_qt(self.state, self)
        for combo in self._form.findChildren(QtWidgets.QComboBox):
            # the list is wide enough for its longest text, where the box is not
            combo.view().setMinimumWidth(combo.view().sizeHintForColumn(0) + 24)
        self.state.add_callback("preview", self._fold)
        for names, chosen, boxes in (
            (OUTPUTS, "outputs", self._output_boxes),
            (KINDS, "keep", self._keep_boxes),
        ):
            for name, box in boxes.items():
                box.toggled.connect(partial(self._choose, names, chosen, name))
        self.state.add_global_callback(self._refresh)
        self._refresh()
        session.hub.subscribe(self, ApplicationClosedMessage, handler=self._let_go)

    # ---- widgets

    def _build(self):
        self._form = QtWidgets.QWidget()
        columns = QtWidgets.QHBoxLayout(self._form)
        columns.setContentsMargins(0, 0, 0, 0)
        columns.setSpacing(12)
        self.preview = PreviewPanel(self.session, self.state)
        self.preview.rested.connect(self._end_leaving)
        self.preview.hide()
        # what has no part in what is rejected makes room for the preview
        self._aside = self._build_kinds(), self._build_repair(), self._build_outputs()
        for boxes in (
            (self._build_data(), self._build_detection(), self._build_regions(), self._build_files()),
            (self._build_noise(), *self._aside, self.preview),
        ):
            column = QtWidgets.QVBoxLayout()
            for box in boxes:
                column.addWidget(box, 100 if box is self.preview else 0)
            column.addStretch(1)
            columns.addLayout(column, 1)

        self.message = QtWidgets.QLabel()
        self.message.setWordWrap(True)
        self.message.setTextInteractionFlags(QtCore.Qt.TextSelectableByMouse)
        self.message.setMinimumHeight(2 * self.message.fontMetrics().lineSpacing())
        self.progress = QtWidgets.QProgressBar()

        self.button_defaults = QtWidgets.QPushButton("Restore defaults")
        self.button_defaults.setToolTip("Put every setting back, except the choice of data")
        self.button_run = QtWidgets.QPushButton("Clean")
        self.button_run.setDefault(True)
        self.button_cancel = QtWidgets.QPushButton("Close")
        self.bool_preview = QtWidgets.QPushButton("Preview")
        self.bool_preview.setCheckable(True)
        self.bool_preview.setToolTip(TIPS["preview"])
        for button in (self.button_defaults, self.button_cancel, self.bool_preview):
            button.setAutoDefault(False)
        self.button_defaults.clicked.connect(self._restore_defaults)
        self.button_run.clicked.connect(self.run)
        self.button_cancel.clicked.connect(self._cancel_or_close)
        buttons = QtWidgets.QHBoxLayout()
        buttons.addWidget(self.button_defaults)
        buttons.addWidget(self.progress, 1)
        buttons.addStretch()
        buttons.addWidget(self.bool_preview)
        buttons.addWidget(self.button_run)
        buttons.addWidget(self.button_cancel)

        layout = QtWidgets.QVBoxLayout(self)
        layout.addWidget(self._form)
        layout.addWidget(self.message)
        layout.addLayout(buttons)
        self.progress.hide()

    def _build_data(self):
        box, form = _group("Image set")
        self.combosel_attribute = _combo(TIPS["attribute"])
        if self.state.images:
            images = self.state.images
            label = QtWidgets.QLabel(f"{len(images)} images of {images[0].shape[1]} x {images[0].shape[0]} pixels")
            label.setToolTip("\n".join(image.label for image in images))
            form.addRow("Data", label)
            form.addRow("Attribute", self.combosel_attribute)
        else:
            self.combosel_data = _combo(TIPS["data"])
            self.combosel_axis = _combo(TIPS["axis"])
            form.addRow("Data", self.combosel_data)
            form.addRow("Attribute", self.combosel_attribute)
            form.addRow("Frames along", self.combosel_axis)
        return box

    def _build_detection(self):
        box, form = _group("Detection")
        self.combosel_detection = _combo(TIPS["detection"])
        form.addRow("Method", self.combosel_detection)

        grid = QtWidgets.QGridLayout()
        grid.setHorizontalSpacing(12)
        for column, (name, text) in enumerate(
            (("high", "high: on its own above"), ("low", "low: beside a stronger one above")), start=1
        ):
            label = QtWidgets.QLabel(text)
            label.setToolTip(TIPS[name])
            label.setWordWrap(True)
            setattr(self, f"label_{name}", label)
            grid.addWidget(label, 0, column)
            grid.setColumnStretch(column, 1)
        self._sliders = {}
        for row, side in ((1, "bright"), (3, "dark")):
            check = QtWidgets.QCheckBox(f"Reject {side} outliers")
            check.setToolTip(TIPS[side])
            setattr(self, f"bool_{side}", check)
            grid.addWidget(check, row, 0)
            for column, name in enumerate(("high", "low"), start=1):
                spin = _spin(TIPS[name], decimals=2, step=0.5, largest=1e6, suffix=" sigma")
                setattr(self, f"value_{name}_{side}", spin)
                grid.addWidget(spin, row, column)
                self._sliders[name, side] = slider = ThresholdSlider(spin)
                grid.addWidget(slider, row + 1, column)
        form.addRow(grid)

        self.combosel_centre = _combo(TIPS["centre"])
        self._add_optional(form, "Clip about the", self.combosel_centre, "centre")
        self.value_maxiters = _whole(TIPS["maxiters"], suffix=" times", zero="until nothing changes")
        self._add_optional(form, "Clip at most", self.value_maxiters, "maxiters")
        self.value_scale_noise = _spin(
            TIPS["scale_noise"], decimals=4, step=0.005, largest=10.0, suffix=" of the signal"
        )
        self._add_optional(form, "Scale noise", self.value_scale_noise, "scale_noise")

        self.value_grow = _whole(TIPS["grow"], suffix=" pixels", largest=1000)
        form.addRow("Grow events by", self.value_grow)
        self.value_max_rejected = _whole(TIPS["max_rejected"], suffix=" frames")
        form.addRow("Reject a pixel in at most", self.value_max_rejected)
        self.value_min_frames = _whole(TIPS["min_frames"], suffix=" frames")
        form.addRow("Leave at every pixel at least", self.value_min_frames)
        return box

    def _build_regions(self):
        box, form = _group("Regions")
        for name, text in (("protect", "Protect (reject nothing)"), ("ignore", "Ignore (use nothing)")):
            combo = _combo(TIPS[name])
            setattr(self, f"combosel_{name}", combo)
            form.addRow(text, combo)
        self.bool_keep_overrules = QtWidgets.QCheckBox("Keep my overrules of the last cleaning")
        self.bool_keep_overrules.setToolTip(TIPS["keep_overrules"])
        form.addRow(self.bool_keep_overrules)
        return box

    def _build_files(self):
        self._files, form = _group("Files")
        self.text_folder = QtWidgets.QLineEdit()
        self.text_folder.setToolTip(TIPS["folder"])
        self.button_choose = QtWidgets.QPushButton("Choose…")
        self.button_choose.setAutoDefault(False)
        self.button_choose.clicked.connect(self._choose_folder)
        row = QtWidgets.QHBoxLayout()
        row.addWidget(self.text_folder, 1)
        row.addWidget(self.button_choose)
        form.addRow("Folder", row)
        self.label_costs = QtWidgets.QLabel()
        self.label_costs.setWordWrap(True)
        form.addRow(self.label_costs)
        self.bool_replace = QtWidgets.QCheckBox(REPLACE)
        self.bool_replace.setToolTip(TIPS["replace"])
        form.addRow(self.bool_replace)
        return self._files

    def _add_optional(self, form, text, field, name):
        form.addRow(text, field)
        self._optional[name] = form.labelForField(field), field

    def _build_noise(self):
        box, form = _group("Noise and normalisation")
        self.combosel_noise = _combo(TIPS["noise"], LONG)
        form.addRow("Noise", self.combosel_noise)
        self.value_gain = _spin(TIPS["gain"], decimals=4, step=0.1, largest=1e9, suffix=" e-/ADU", zero="fitted")
        self.value_readnoise = _spin(TIPS["readnoise"], decimals=3, step=0.5, largest=1e9, suffix=" e-", zero="fitted")
        row = QtWidgets.QHBoxLayout()
        for text, spin in (("Gain", self.value_gain), ("Read noise", self.value_readnoise)):
            row.addWidget(QtWidgets.QLabel(text))
            row.addWidget(spin, 1)
        form.addRow(row)
        self.combosel_normalize = _combo(TIPS["normalize"], LONG)
        form.addRow("Normalise", self.combosel_normalize)
        return box

    def _build_kinds(self):
        box = QtWidgets.QGroupBox("Kinds of events")
        grid = QtWidgets.QGridLayout(box)
        grid.setHorizontalSpacing(12)
        self.bool_kinds = QtWidgets.QCheckBox("Tell what each event is, and keep (do not repair):")
        self.bool_kinds.setToolTip(TIPS["kinds"])
        grid.addWidget(self.bool_kinds, 0, 0, 1, KINDS_ABREAST)
        self._keep_boxes = {}
        for place, (kind, text) in enumerate(KINDS.items()):
            self._keep_boxes[kind] = check = QtWidgets.QCheckBox(kind)
            check.setToolTip(f"{kind}: {text}.\n{TIPS['keep']}")
            row, column = divmod(place, KINDS_ABREAST)
            grid.addWidget(check, 1 + row, column)
            grid.setColumnStretch(column, 1)
        return box

    def _build_repair(self):
        box, form = _group("Repair")
        self.combosel_repair = _combo(TIPS["repair"], LONG)
        form.addRow("Replace by", self.combosel_repair)
        self.value_constant = _spin(TIPS["constant"], decimals=3, step=1.0, largest=1e12, smallest=-1e12)
        self._add_optional(form, "Constant", self.value_constant, "constant")

        self.bool_add_noise = QtWidgets.QCheckBox("add the noise of the frame")
        self.bool_add_noise.setToolTip(TIPS["add_noise"])
        self.value_seed = _whole(TIPS["seed"], largest=2**31 - 1)
        field = QtWidgets.QWidget()
        row = QtWidgets.QHBoxLayout(field)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.bool_add_noise)
        row.addStretch()
        row.addWidget(QtWidgets.QLabel("Seed"))
        row.addWidget(self.value_seed)
        self._add_optional(form, "Noise", field, "add_noise")
        return box

    def _build_outputs(self):
        box = QtWidgets.QGroupBox("Add to the session")
        layout = QtWidgets.QVBoxLayout(box)
        self._output_boxes = {}
        for name, text in OUTPUTS.items():
            self._output_boxes[name] = check = QtWidgets.QCheckBox(text)
            check.setToolTip(text)
            layout.addWidget(check)
        return box

    # ---- choices

    def _choose(self, names, chosen, name, checked):
        now = {*getattr(self.state, chosen)}
        now = now | {name} if checked else now - {name}
        setattr(self.state, chosen, tuple(one for one in names if one in now))

    def _choose_folder(self):
        folder = pick_folder(self, self.state.folder)
        if folder:
            self.state.folder = folder

    def _restore_defaults(self):
        self.state.restore_defaults()

    def _refresh(self, **changed):
        """Show what follows from the choices: what can be set, and why it cannot run."""
        state = self.state
        for side in ("bright", "dark"):
            getattr(self, f"bool_{side}").setEnabled(state.has_thresholds)
            on = state.has_thresholds and getattr(state, side)
            high, low = getattr(self, f"value_high_{side}"), getattr(self, f"value_low_{side}")
            high.setEnabled(on)
            high.setSuffix(f" {state.high_unit}")
            high.setSingleStep(0.5 if state.high_unit == "sigma" else 0.05)
            low.setEnabled(on and state.has_low)
            low.setVisible(state.has_low)
            for name, spin in (("high", high), ("low", low)):
                slider = self._sliders[name, side]
                slider.follow()  # the step may be another
                slider.setEnabled(spin.isEnabled())
                slider.setVisible(state.preview and (name == "high" or state.has_low))
        if not changed or changed.keys() & {"data", "attribute"}:
            # not at every step of a slider: the masks of a large set are large
            self.bool_keep_overrules.setVisible(state.has_overrules)
        self.label_low.setVisible(state.has_low)
        self.value_max_rejected.setSpecialValueText(state.default_limit)
        for name, widgets in self._optional.items():
            for widget in widgets:
                widget.setVisible(state.uses(name))
        for spin in (self.value_gain, self.value_readnoise):
            spin.setEnabled(state.noise == "given")
        self.value_seed.setEnabled(state.add_noise)
        for name, box in self._output_boxes.items():
            box.setChecked(name in state.outputs)
        for kind, box in self._keep_boxes.items():
            box.setChecked(kind in state.keep)
            box.setEnabled(state.kinds)
        if "cleaned" in self._output_boxes:
            self._output_boxes["cleaned"].setEnabled(state.repair != "none")
        self._files.setVisible(state.on_demand and not state.preview)
        if self.running:
            return
        self.label_costs.setText(state.describe_output())
        self._problem = state.problem()
        self._say(self._problem, bad=True)
        self.button_run.setEnabled(not self._problem)

    def _look_again(self):
        """Show what has become of the folder, and keep the message where it is as it was."""
        if not self.running and self.state.on_demand:
            self.state.look_again()
            self.label_costs.setText(self.state.describe_output())
            if self.state.problem() != self._problem:
                self._refresh()

    def _fold(self, shown):
        """Show the preview in the place of what has no part in it, or that again; the window stays on the screen."""
        for combo in self._form.findChildren(QtWidgets.QComboBox):
            combo.setMinimumWidth(SHORT * combo.fontMetrics().averageCharWidth() if shown else 0)
        for box in self._aside:
            box.setVisible(not shown)
        self.preview.setVisible(shown)
        self._refresh()
        for widget in (*self.findChildren(QtWidgets.QGroupBox), self._form, self.preview, self):
            widget.layout().activate()  # from the inside out, else the window grows before it shrinks
        least, wanted = self.minimumSizeHint(), self.sizeHint()
        screen = (self.parent() or self).screen().availableGeometry()
        # beside the preview the viewers are looked at
        width = min(wanted.width(), BESIDE if shown else screen.width())
        self.resize(max(least.width(), width), max(least.height(), wanted.height()))
        self.move(max(screen.left(), min(self.x(), screen.right() - self.width())), self.y())
        if shown:
            self.preview.start()
        else:
            self.preview.stop()

    def _say(self, text, bad=False):
        self.message.setStyleSheet("color: #c0392b; font-weight: bold" if bad else "")
        self.message.setText(text)

    # ---- running

    @property
    def running(self):
        """Whether a cleaning is under way."""
        return self.worker is not None

    def run(self):
        """Start the cleaning; what cannot be used is said in the dialog, and nothing has changed."""
        if self.running:
            return
        try:
            with set_cursor_cm(QtCore.Qt.WaitCursor):
                self._job = self.state.prepare()
                self.state.look_again()
                self._output = self.state.output()
        except (ValueError, TypeError, OSError) as error:
            self._say(str(error), bad=True)
            return
        return_memory()  # of a preview
        self.worker = CleanWorker(self._job, self._output)
        self.worker.progress.connect(self._on_progress)
        self.worker.result.connect(self._on_result)
        self.worker.error.connect(self._on_error)
        self._show_running(True)
        self._say("Starting…")
        self.worker.start()

    def _show_running(self, running):
        self._form.setEnabled(not running)
        self.preview.setEnabled(not running)
        if running:
            self.preview.stop()
        elif self.state.preview:
            self.preview.start()
        self.button_run.setEnabled(not running)
        self.button_defaults.setVisible(not running)
        self.progress.setVisible(running)
        self.progress.setRange(0, 0)  # busy, until the first progress comes
        self.button_cancel.setText("Cancel" if running else "Close")
        self.button_cancel.setEnabled(True)

    def _cancel_or_close(self):
        if self.running:
            self.worker.cancel()
            self.button_cancel.setEnabled(False)
            self._say("Stopping…")
        else:
            self.close()

    def _on_progress(self, permille, text):
        self.progress.setRange(0, 1000)
        self.progress.setValue(permille)
        if self.button_cancel.isEnabled():
            self._say(text)

    def _finish(self):
        """Forget the worker once its thread has ended; its job, or None where nobody waits for it any more."""
        if not self.running:  # glue was closed while the answer was on its way
            return None
        self.worker.wait()
        self.worker, job, self._job = None, self._job, None
        if self._leaving:
            self._end_leaving()
            return None
        self._show_running(False)
        return_memory()
        QtCore.QTimer.singleShot(0, return_memory)  # and what the answer held
        return job

    def _on_error(self, exc_info):
        if self._finish() is None:
            return
        error, output = exc_info[1], self._output
        if output is not None:
            self._look_again()
        cancelled = isinstance(error, CleanCancelled)
        same = "nothing was changed." if output is None else "nothing in the session was changed."
        if output is not None and output.has_work:
            same += f" What is done stays in {output.folder}; 'Clean' goes on from there."
        if cancelled:
            text = f"Cancelled; {same}"
        else:
            text = f"{in_words_of_dialog(str(error)) or type(error).__name__}\n{same[0].upper()}{same[1:]}"
        self._say(text, bad=not cancelled)

    def _on_result(self, answer):
        job = self._finish()
        if job is None:
            return
        result, warning = answer
        gone = [data.label for data in job.images or [job.data] if data not in self.session.data_collection]
        if gone:
            self._say(f"{', '.join(gone)} was removed while it was cleaned; nothing was changed.", bad=True)
            return
        command = AttachResult(
            data=job.data,
            attribute=job.attribute,
            result=result,
            axis=job.axis,
            outputs=job.outputs,
            images=job.images,
            own=True,
            folder=None if self._output is None else self._output.folder,
        )
        try:
            with set_cursor_cm(QtCore.Qt.WaitCursor):
                self.session.command_stack.do(command)
        except Exception as error:  # whatever glue raises, the session must not keep half of a result
            self.session.command_stack.undo()
            written = "" if self._output is None else f" The files are in {self._output.folder}."
            self._say(f"The result could not be added: {error}\nNothing was changed.{written}", bad=True)
            return
        # the next cleaning may keep them too
        note_overrules(command.attached, job.restored, job.reject)
        self.summary = SummaryDialog(
            self.session,
            command.attached,
            result,
            registration=warning,
            folder="" if self._output is None else str(self._output.folder),
            parent=self.parent(),
        )
        self.summary.show()
        self.close()

    # ---- closing

    def changeEvent(self, event):  # Qt's name
        """Somebody may have overruled the last cleaning while the dialog was open."""
        if event.type() == QtCore.QEvent.ActivationChange and not self._leaving:
            self.bool_keep_overrules.setVisible(self.state.has_overrules)
            self._look_again()
        super().changeEvent(event)

    def _let_go(self, *_):
        """Cancel what runs and wait for its end; hear no more of the session, which outlives the widgets."""
        if self.running:
            worker, self.worker, self._job = self.worker, None, None
            worker.cancel()
            worker.wait()
        self.preview.let_go()
        self.session.hub.unsubscribe_all(self)
        self.state.let_go(self.session.hub)

    def _leave(self):
        """Go out of sight and end with the threads: a stage that cannot be cancelled must not stop glue."""
        self._leaving = True
        if self.running:
            self.worker.cancel()
        self.preview.stop()
        self.hide()

    def _end_leaving(self):
        if self._leaving and not self._busy:
            self.done(0)

    @property
    def _busy(self):
        return self.running or self.preview.busy

    def closeEvent(self, event):
        if self._busy:
            event.ignore()
            self._leave()
        else:
            # a dialog that was never shown is closed without `done`
            self._let_go()
            super().closeEvent(event)

    def done(self, code):
        if self._busy:
            self._leave()
            return
        self._let_go()
        super().done(code)


def _group(title):
    box = QtWidgets.QGroupBox(title)
    form = QtWidgets.QFormLayout(box)
    form.setFieldGrowthPolicy(QtWidgets.QFormLayout.AllNonFixedFieldsGrow)
    return box, form


def _combo(tip, letters=45):
    combo = QtWidgets.QComboBox()
    combo.setToolTip(tip)
    # long texts are cut to the column, and whole in the list
    combo.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(letters)
    return combo


def _spin(tip, decimals, step, largest, smallest=0.0, suffix="", zero=""):
    spin = QtWidgets.QDoubleSpinBox()
    spin.setDecimals(decimals)
    spin.setRange(smallest, largest)
    spin.setSingleStep(step)
    spin.setSuffix(suffix)
    spin.setSpecialValueText(zero)
    spin.setToolTip(tip)
    return spin


def _whole(tip, suffix="", zero="", largest=10_000):
    spin = QtWidgets.QSpinBox()
    spin.setRange(0, largest)
    spin.setSuffix(suffix)
    spin.setSpecialValueText(zero)
    spin.setToolTip(tip)
    return spin
