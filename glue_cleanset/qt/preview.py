"""The live preview: what the present settings reject in the part of the image that is on display."""

import math
import threading

import numpy as np
from glue.core.hub import HubListener
from glue.core.message import (
    ExternallyDerivableComponentsChangedMessage,
    NumericalDataChangedMessage,
    SubsetUpdateMessage,
)
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from qtpy import QtCore, QtWidgets
from scipy import ndimage

from glue_cleanset.core.threads import CleanCancelled
from glue_cleanset.viewer.colors import frame_colormap
from glue_cleanset.viewer.regions import central_part, viewed_part

from .worker import COMPILING, PatientWorker, compile_apart

__all__ = ["PreviewPanel", "PreviewWorker", "ThresholdSlider"]

LOOK = 100  # [ms] between two looks at what the viewers show
LEAST = 2  # [screen pixels] across, of a mark
LIMITS = 0.5, 99.5  # percentiles of the part on display
FADED = 0.3
UNTOLD = "Moving objects and trails are told apart in the run only."


class PreviewWorker(PatientWorker):
    """Judge a part of a set anew; touches arrays only, never a glue object.

    Emits `note` (str) where it takes long, then ``result((image_set, model, flags))`` or ``error(exc_info)``; after
    `cancel` the error is a `CleanCancelled`.

    Parameters
    ----------
    job : CleanJob
    part : glue_cleanset.viewer.regions.Part
    learned : (ImageSet, SetModel) or None
        The frames without what is ignored and what is known of them all, as an earlier worker gave them.
    """

    note = QtCore.Signal(str)

    def __init__(self, job, part, learned):
        super().__init__(self._judge)
        self.job, self.part, self.learned = job, part, learned
        self._cancelled = threading.Event()

    def cancel(self):
        """Ask the learning to stop; it does at the end of the piece it is working on."""
        self._cancelled.set()

    def _judge(self):
        # the loops are compiled when they are imported; here no window waits for that
        from glue_cleanset.core.clean import learn_model, must_compile
        from glue_cleanset.core.inspect import preview

        job, part = self.job, self.part
        if self.learned is None:
            compiles = must_compile()
            self.note.emit(COMPILING if compiles else "Measuring levels and noise of the whole set…")
            if compiles and job.image_set.on_demand:
                compile_apart(self._cancelled)
            image_set = job.image_set if job.ignore is None else job.image_set.without(job.ignore)
            model = learn_model(
                image_set, job.settings, job.gain, job.readnoise, lambda done, total: not self._cancelled.is_set()
            )
            self.learned = image_set, model
        flags = preview(*self.learned, job.settings, part.rows, part.columns)
        here = slice(None), slice(*part.rows), slice(*part.columns)
        # a person's word, as clean_image_set takes it
        if job.reject is not None:
            flags = flags | job.reject[here] & self.learned[0].usable(here)
        if job.protect is not None:
            flags = flags & ~job.protect[here]
        return (*self.learned, flags)


class PreviewPanel(QtWidgets.QWidget, HubListener):
    """One frame of the part on display with what the present settings reject, and how much that is in every frame.

    Follows the settings of the dialog, and the viewer that was used last among those that show the set.
    While a part is judged in a thread, only the newest wish for another waits.

    Parameters
    ----------
    session : glue.core.Session
    state : CleanState

    Attributes
    ----------
    part : glue_cleanset.viewer.regions.Part or None
        What is shown.
    flags : ndarray, (N, h, w), bool, or None
        True = rejected, of `part`.
    problem : str
        Why nothing newer can be shown; '' where it can.
    """

    rested = QtCore.Signal()  # no thread is at work: the newest wish is on the screen, or why it cannot be

    def __init__(self, session, state, parent=None):
        super().__init__(parent)
        self.session, self.state = session, state
        self.part = self.flags = None
        self.problem = ""
        self._image_set = self._kinds = None  # of what is shown
        self._known = {}  # what is read of the session once
        self._learned = None  # the job and what was learned for it
        self._worker = self._next = self._seen = None
        self._on = False
        self._build()
        self._soon = QtCore.QTimer(self)  # several changes at once are one wish
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._ask)
        self._clock = QtCore.QTimer(self)
        self._clock.setInterval(LOOK)
        # looked at now and then: viewers come and go, and no callback is left in them
        self._clock.timeout.connect(self._look)
        state.add_global_callback(self._follow)
        session.hub.subscribe(self, SubsetUpdateMessage, handler=self._forget_region)
        # other values; other links, by which a subset means something else
        for message in (NumericalDataChangedMessage, ExternallyDerivableComponentsChangedMessage):
            session.hub.subscribe(self, message, handler=self._forget)

    # ---- widgets

    def _build(self):
        self.value_frame = QtWidgets.QSpinBox()
        self.slider_frame = QtWidgets.QSlider(QtCore.Qt.Horizontal)
        for widget in (self.value_frame, self.slider_frame):
            widget.setToolTip("The frame shown here; it follows the frame of the image viewer")
            widget.setMinimum(1)
            widget.valueChanged.connect(lambda frame: setattr(self.state, "preview_frame", frame))
        row = QtWidgets.QHBoxLayout()
        row.addWidget(QtWidgets.QLabel("Frame"))
        row.addWidget(self.value_frame)
        row.addWidget(self.slider_frame, 1)

        figure = Figure(figsize=(3.6, 3.37), facecolor="none")
        self.canvas = FigureCanvasQTAgg(figure)
        self.canvas.setMinimumSize(330, 313)
        self.canvas.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Expanding)
        self.canvas.setStyleSheet("background: transparent")
        self._axes, self._bar_axes = figure.subplots(2, height_ratios=(4, 1))
        self._bar_axes.set_facecolor("none")
        for axes in (self._axes, self._bar_axes):
            axes.set_visible(False)  # until there is something to show
        self._image = self._marks = self._bars = self._bar_part = None

        self.text = QtWidgets.QLabel()
        self.text.setWordWrap(True)
        self.text.setTextInteractionFlags(QtCore.Qt.TextSelectableByMouse)
        self.text.setMinimumHeight(4 * self.text.fontMetrics().lineSpacing())
        self.text.setAlignment(QtCore.Qt.AlignTop)

        box = QtWidgets.QGroupBox("Preview")
        inner = QtWidgets.QVBoxLayout(box)
        inner.addLayout(row)
        inner.addWidget(self.canvas, 1)
        inner.addWidget(self.text)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(box)

    # ---- what is wished for

    @property
    def busy(self):
        """Whether a thread is at work."""
        return self._worker is not None

    @property
    def waiting(self):
        """Whether what is shown is not yet what was wished for."""
        return self._soon.isActive() or self.busy

    def start(self):
        """Follow the settings and the viewers from now on."""
        if not self._on:
            self._on = True
            self._seen = None
            self._look()
            self._clock.start()
            self._wish()

    def stop(self):
        """Follow nothing any more; a thread at work ends soon, and nobody hears of it."""
        self._on = False
        self._clock.stop()
        self._soon.stop()
        self._next = None
        if self.busy:
            self._worker.cancel()

    def settle(self):
        """Return when what was wished for is painted; the window lives meanwhile."""
        while self.waiting:
            QtCore.QCoreApplication.processEvents(QtCore.QEventLoop.WaitForMoreEvents)

    def let_go(self):
        """Stop, wait for the thread, and hear no more of the session."""
        self.stop()
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.wait()
        self.session.hub.unsubscribe_all(self)

    def _follow(self, **changed):
        if not self._on:
            return
        if changed.keys() & {"data", "attribute", "axis"}:
            self._known.clear()
            self._seen = None
        if changed.keys() == {"preview_frame"}:
            if self.flags is not None and not self.problem:
                self._paint()
        else:
            self._wish()

    def _forget(self, message):
        if any(message.data is mine for mine in self.state.images or [self.state.data]):
            self._known.clear()
            self._wish()

    def _forget_region(self, message):
        group = getattr(message.subset, "group", None)
        if message.attribute == "subset_state" and group in (self.state.protect, self.state.ignore):
            for key in [key for key in self._known if key[1] is group]:
                del self._known[key]
            self._wish()

    def _wish(self):
        if self._on:
            self._soon.start(0)

    def _look(self):
        part = self._part()
        if part == self._seen:
            return
        if part is not None and part.frame is not None and part.frame != getattr(self._seen, "frame", None):
            self.state.preview_frame = part.frame + 1
        moved = self._seen is None or part is None or (part.rows, part.columns) != (self._seen.rows, self._seen.columns)
        self._seen = part
        if moved:
            self._wish()

    def _part(self):
        state = self.state
        if state.images is None and state.data is None:
            return None
        application = self.session.application
        part = viewed_part(_last_used(application), state.data, state.axis, state.images)
        if part is None:
            shape = state.images[0].shape if state.images else np.delete(state.data.shape, state.axis)
            part = central_part(*map(int, shape))
        return part

    def _ask(self):
        """Judge the part with the settings of this moment, now or when the thread is free."""
        try:
            job = self.state.prepare(self._known)
        except (ValueError, TypeError, OSError) as error:
            self._next = None
            if self.busy:
                self._worker.cancel()
            self._refuse(str(error))
            return
        part = self._part()
        if not self.busy:
            self._judge(job, part)
            return
        self._next = job, part
        if not _same_model(job, self._worker.job):
            self._worker.cancel()

    def _judge(self, job, part):
        known = self._learned is not None and _same_model(job, self._learned[0])
        self._worker = PreviewWorker(job, part, self._learned[1] if known else None)
        self._worker.note.connect(self._say)
        self._worker.result.connect(self._on_result)
        self._worker.error.connect(self._on_error)
        self.problem = ""
        self._worker.start()

    # ---- what comes of it

    def _finish(self):
        """The worker, once its thread has ended; None where nobody waits for it any more."""
        worker, self._worker = self._worker, None
        if worker is None:  # let go while the answer was on its way
            return None
        worker.wait()
        if not self._on:
            self.rested.emit()
            return None
        waiting, self._next = self._next, None
        if waiting is not None:
            if worker.learned is not None:
                self._learned = worker.job, worker.learned
            self._judge(*waiting)
        return worker

    def _on_result(self, answer):
        worker = self._finish()
        if worker is None:
            return
        *learned, flags = answer
        self._learned = worker.job, tuple(learned)
        # a result on the way to the newest one is shown too, so that the marks follow a slider that does not rest
        if not self.problem and not (self.busy and not _same_model(worker.job, self._worker.job)):
            self._image_set, self.part, self.flags = learned[0], worker.part, flags
            self._kinds = worker.job.settings.kinds
            self._paint()
        if not self.busy:
            self.rested.emit()

    def _on_error(self, exc_info):
        if self._finish() is None or self.busy:
            return
        error = exc_info[1]
        if self.problem or isinstance(error, CleanCancelled):
            self.rested.emit()
        else:
            self._refuse(str(error) or type(error).__name__)

    def _refuse(self, problem):
        """Say why there is nothing newer, and fade what is older."""
        self.problem = problem
        self._say(problem, bad=True)
        if self._image is not None:
            self._fade(FADED)
            self.canvas.draw()
        if not self.busy:
            self.rested.emit()

    def _say(self, text, bad=False):
        self.text.setStyleSheet("color: #c0392b; font-weight: bold" if bad else "")
        self.text.setText(text)

    # ---- painting

    def counts(self):
        """How many pixels of each frame are rejected in the part, (N,)."""
        return np.count_nonzero(self.flags, axis=(1, 2))

    def describe(self):
        """The numbers in words."""
        n, *shape = self.flags.shape
        counts, size, frame = self.counts(), math.prod(shape), self._frame()
        (y0, y1), (x0, x1) = self.part.rows, self.part.columns
        return (
            f"Frame {frame + 1}: {counts[frame]:,} pixels, {100 * counts[frame] / size:.3f} % of the region.\n"
            f"All {n} frames: {counts.sum():,} pixels, {100 * counts.sum() / size / n:.3f} %.\n"
            f"Region: x {x0} to {x1 - 1}, y {y0} to {y1 - 1}.\n{UNTOLD if self._kinds else ''}"
        )

    def _frame(self):
        return min(max(self.state.preview_frame, 1), len(self.flags)) - 1

    def _paint(self):
        n, frame = len(self.flags), self._frame()
        (y0, y1), (x0, x1) = self.part.rows, self.part.columns
        for widget in (self.value_frame, self.slider_frame):
            widget.blockSignals(True)
            widget.setMaximum(n)
            widget.setValue(frame + 1)
            widget.blockSignals(False)
        colormap = frame_colormap(n)
        values = self._image_set.frames[frame, y0:y1, x0:x1].astype(float)
        finite = values[np.isfinite(values)]
        limits = np.percentile(finite, LIMITS) if finite.size else (0, 1)
        extent = x0 - 0.5, x1 - 0.5, y0 - 0.5, y1 - 0.5
        percent = 100 * self.counts() / self.flags[0].size
        colors = [colormap(k + 1) for k in range(n)]
        if self._image is None:
            options = {"origin": "lower", "aspect": "equal"}
            self._image = self._axes.imshow(values, cmap="gray", **options)
            self._marks = self._axes.imshow(np.zeros((1, 1, 4)), interpolation="nearest", **options)
            self._lay_out()
        for artist in (self._image, self._marks):
            artist.set_extent(extent)
        self._axes.set(xlim=extent[:2], ylim=extent[2:])
        self._image.set_data(values)
        self._image.set_clim(*limits)
        marks = np.zeros((*values.shape, 4), np.uint8)
        marks[self._thick(self.flags[frame])] = np.multiply(255, colors[frame]).round()
        self._marks.set_data(marks)
        if self._bars is None or len(self._bars) != n:
            self._bar_axes.clear()
            self._bars = self._bar_axes.bar(np.arange(1, n + 1), percent, width=0.8, color=colors)
            self._bar_axes.set(xlim=(0.4, n + 0.6))
            self._dress_bars()
        for k, (bar, height) in enumerate(zip(self._bars, percent, strict=True)):
            bar.set_height(height)
            bar.set_edgecolor("black" if k == frame else "none")
        # bars that shrink are seen to shrink
        highest = max(1.15 * percent.max(), 1e-3)
        self._bar_axes.set_ylim(
            0, highest if self._bar_part != self.part else max(highest, self._bar_axes.get_ylim()[1])
        )
        self._bar_part = self.part
        self._fade(1)
        self._say(self.describe())
        self.canvas.draw()
        self.canvas.repaint()

    def _thick(self, flags):
        """The flags, each large enough to be seen where the image is shown smaller than it is."""
        box = self._axes.get_position()
        room = box.width * self.canvas.width(), box.height * self.canvas.height()
        scale = min(room[0] / flags.shape[1], room[1] / flags.shape[0])
        size = math.ceil(LEAST / max(scale, 1e-3))
        return flags if size < 2 else ndimage.maximum_filter(flags, size)

    def _lay_out(self):
        self._axes.figure.subplots_adjust(left=0.13, right=0.985, bottom=0.09, top=0.99, hspace=0.14)
        self._axes.set_anchor("N")
        for axes in (self._axes, self._bar_axes):
            axes.set_visible(True)
        self._axes.tick_params(labelsize=7)

    def _dress_bars(self):
        self._bar_axes.tick_params(labelsize=7)
        self._bar_axes.set_xlabel("frame", fontsize=7, labelpad=1)
        self._bar_axes.set_ylabel("% rejected", fontsize=7)
        self._bar_axes.xaxis.get_major_locator().set_params(integer=True)
        self._bar_axes.yaxis.set_major_locator(MaxNLocator(3))
        for side in ("top", "right"):
            self._bar_axes.spines[side].set_visible(False)

    def _fade(self, alpha):
        for artist in (self._image, self._marks, *self._bars):
            artist.set_alpha(alpha)


class ThresholdSlider(QtWidgets.QSlider):
    """Moves a spin box, a fifth of its step at a time, over the thresholds that make sense.

    Parameters
    ----------
    spin : QDoubleSpinBox
        What it shows beyond the reach of the slider is left as it is.
    """

    def __init__(self, spin):
        super().__init__(QtCore.Qt.Horizontal)
        self._spin = spin
        self.setRange(1, 200)
        self.setToolTip(spin.toolTip())
        self.valueChanged.connect(lambda value: spin.setValue(value * self._step))
        spin.valueChanged.connect(self.follow)
        self.follow()

    @property
    def _step(self):
        return self._spin.singleStep() / 5

    def follow(self, *_):
        """Stand where the spin box says."""
        self.blockSignals(True)
        self.setValue(round(self._spin.value() / self._step))
        self.blockSignals(False)


def _last_used(application):
    """The viewers of a window, those of the tab in front and the last used first."""
    tabs = [application.tab(i) for i in range(application.tab_count)]
    for tab in sorted(tabs, key=lambda tab: tab is not application.current_tab):
        for window in reversed(tab.subWindowList(QtWidgets.QMdiArea.ActivationHistoryOrder)):
            yield window.widget()


def _same_model(job, other):
    """Whether what was learned for the one job serves the other."""
    return (
        job.image_set is other.image_set
        and job.ignore is other.ignore
        and job.settings.normalize == other.settings.normalize
        and np.array_equal(job.gain, other.gain)
        and np.array_equal(job.readnoise, other.readnoise)
    )
