"""The cleaning in a thread of its own, with progress and cancel."""

import gc
import subprocess
import sys
import threading
from collections import deque
from contextlib import suppress
from time import monotonic

from glue_qt.utils.threading import Worker
from qtpy import QtCore, QtWidgets

from glue_cleanset.core.threads import CleanCancelled, return_memory

from .output import MEMORY

__all__ = ["COMPILING", "CleanWorker", "PatientWorker", "compile_apart", "wait_for"]

COMPILING = "Compiling, this first time only: some ten seconds…"
_COMPILE = "from glue_cleanset.core.clean import compile_loops; compile_loops()"
COMPARED = 300  # of 1000: where the bar stands when the positions of the frames are known
# how fast it goes is told by what was done in so many seconds: at least, and at most
_FEWEST, _MOST = 5, 60


class _Garbage:
    """While workers run, Python looks for garbage in the thread of the window only: PySide destroys a widget in the
    thread that finds it, and in any other one that is a crash."""

    def __init__(self):
        self._lock, self._workers, self._timer = threading.Lock(), 0, None

    def begin(self):
        """A worker is about to start; called by the window."""
        with self._lock:
            self._workers += 1
        gc.disable()
        if self._timer is None:
            self._timer = QtCore.QTimer()
            self._timer.timeout.connect(self._collect)
        self._timer.start(500)

    def end(self):
        """A worker is done; called by it."""
        with self._lock:
            self._workers -= 1

    def _collect(self):
        gc.collect(1)
        if self._workers == 0:
            self._timer.stop()
            gc.enable()


_garbage = _Garbage()


class PatientWorker(Worker):
    """Calls a function in a thread of its own, as glue's worker does, and destroys nothing of the window there."""

    def start(self):
        """Begin."""
        _garbage.begin()
        super().start()

    def run(self):
        """What the thread does."""
        try:
            super().run()
        finally:
            _garbage.end()


class CleanWorker(PatientWorker):
    """Clean a `CleanJob`, into files where an `Output` is given; touches its arrays only, never a glue object.

    Emits `progress` (0 ... 1000, what is done) as work goes on, then ``result((CleanResult, warning))`` with the
    warning of an unregistered set ('' = none), or ``error(exc_info)``; after `cancel` the
    error is a `CleanCancelled`.
    """

    progress = QtCore.Signal(int, str)

    def __init__(self, job, output=None):
        super().__init__(self._clean, job, output)
        self._cancelled = threading.Event()

    def cancel(self):
        """Ask the cleaning to stop; it does at the end of the piece it is working on."""
        self._cancelled.set()

    def _clean(self, job, output):
        # the loops are compiled when they are imported; here no window waits for that
        from glue_cleanset.core.clean import clean_image_set, must_compile
        from glue_cleanset.io.registration import registration_warning

        if output is not None:
            return self._clean_to_files(job, output)
        warning = registration_warning(
            job.image_set, progress=self._reporter("Comparing the positions of the frames…", 0, COMPARED)
        )
        text = COMPILING if must_compile() else "Cleaning…"
        masks = {"mask": job.mask, "protect": job.protect, "reject": job.reject}
        result = clean_image_set(
            job.image_set,
            job.settings,
            gain=job.gain,
            readnoise=job.readnoise,
            progress=self._reporter(text, COMPARED, 1000),
            **{name: mask for name, mask in masks.items() if mask is not None},
        )
        return result, warning

    def _clean_to_files(self, job, output):
        from glue_cleanset.core.clean import must_compile
        from glue_cleanset.io.registration import registration_warning
        from glue_cleanset.io.stream import clean_to_files, unfinished_run

        image_set = job.image_set if job.ignore is None else job.image_set.without(job.ignore)
        if must_compile():
            self.progress.emit(0, COMPILING)
            compile_apart(self._cancelled)
        left = _TimeLeft()
        step, shown, warning = "", None, ""

        def tell(text):
            nonlocal step
            step = f"{text[0].upper()}{text[1:]}"

        def report(done, total):
            nonlocal shown
            permille = int(1000 * done / total)
            text = f"{step}{left(done / total)}"
            if (permille, text) != shown:
                shown = permille, text
                self.progress.emit(permille, text)
            return not self._cancelled.is_set()

        def look(image_set):
            nonlocal warning
            warning = registration_warning(image_set, progress=lambda done, total: not self._cancelled.is_set())

        given = {"gain": job.gain, "readnoise": job.readnoise, "protect": job.protect, "reject": job.reject}
        result = clean_to_files(
            image_set,
            output.folder,
            job.settings,
            overwrite=output.overwrite,
            resume=output.resume(unfinished_run(image_set, output.folder, job.settings, **given)),
            memory=MEMORY,
            progress=report,
            tell=tell,
            look=look,
            **given,
        )
        return result, warning

    def _reporter(self, text, first, last):
        shown = None

        def report(done, total):
            nonlocal shown
            permille = first + int((last - first) * done / total)
            if permille != shown:  # no more signals than the bar can show
                shown = permille
                self.progress.emit(permille, text)
            return not self._cancelled.is_set()

        return report


class _TimeLeft:
    """Tells in words how long the rest will take: from the last minute, which forgets what a run that goes on has
    found done."""

    def __init__(self):
        self._seen = deque()

    def __call__(self, share):
        now = monotonic()
        self._seen.append((now, share))
        while now - self._seen[0][0] > _MOST:
            self._seen.popleft()
        began, first = self._seen[0]
        if now - began < _FEWEST or share <= first:
            return ""
        return f", {_describe_time((1 - share) * (now - began) / (share - first))} left"


def _describe_time(seconds):
    if seconds < 10:
        return "some seconds"
    if seconds < 55:
        return f"{10 * round(seconds / 10)} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def compile_apart(cancelled):
    """Compile the loops in a process of its own, until the event `cancelled`: the memory that takes is not glue's."""
    # (where Python cannot be started like that they are compiled here, later)
    with suppress(OSError), subprocess.Popen([sys.executable, "-c", _COMPILE]) as process:
        while process.poll() is None:
            if cancelled.wait(0.1):
                process.kill()


class _Comparing(PatientWorker):
    """Calls function(report) in a thread of its own."""

    progress = QtCore.Signal(int)

    def __init__(self, function):
        super().__init__(function, self._report)
        self.cancelled = threading.Event()

    def _report(self, share):
        if self.cancelled.is_set():
            raise CleanCancelled("cancelled; nothing was changed")
        self.progress.emit(int(1000 * share))


def wait_for(function):
    """What function(report) gives, or raises, while a box shows how much of it is done and the window behind it lives;
    CleanCancelled where the person cancels."""
    application = QtWidgets.QApplication.instance()
    if application is None or QtCore.QThread.currentThread() is not application.thread():
        return function(lambda share: None)
    given = {}
    worker, loop = _Comparing(function), QtCore.QEventLoop()
    worker.result.connect(lambda result: given.update(result=result))
    worker.error.connect(lambda exc_info: given.update(error=exc_info[1]))
    worker.finished.connect(loop.quit)
    box = QtWidgets.QProgressDialog("Comparing the frames again…", "Cancel", 0, 1000, application.activeWindow())
    box.setWindowTitle("Clean image set")
    box.setWindowModality(QtCore.Qt.ApplicationModal)
    box.setAutoReset(False)
    box.setAutoClose(False)
    box.canceled.connect(worker.cancelled.set)
    worker.progress.connect(box.setValue)
    # (what is soon done shows no box)
    box.setMinimumDuration(500)
    box.setValue(0)
    worker.start()
    loop.exec_()
    worker.wait()
    return_memory()
    box.hide()  # (closed, it would tell of a cancel)
    box.deleteLater()
    if worker.cancelled.is_set():
        raise CleanCancelled("cancelled; nothing was changed")
    if "error" in given:
        raise given["error"]
    return given["result"]
