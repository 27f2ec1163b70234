"""The menu entry that writes a result of the session, as it is now, into files."""

import threading

from qtpy import QtCore, QtWidgets

from glue_cleanset.core.threads import CleanCancelled
from glue_cleanset.viewer.export import prepare_writing

from .files import pick_folder
from .worker import PatientWorker, wait_for

__all__ = ["WriteDialog", "write_result_of"]


def write_result_of(session, attached):
    """Ask for a folder, and write a result into it while glue stays alive.

    Parameters
    ----------
    session : glue.core.Session
    attached : glue_cleanset.viewer.attach.Attached

    Returns
    -------
    WriteDialog or None
        None where the person chose no folder, or cancelled.

    Raises
    ------
    ValueError, OSError
        Where it cannot be written; nothing is.
    """
    beside = "" if attached.folder is None else str(attached.folder.parent)
    folder = pick_folder(session.application, beside)
    if not folder:
        return None
    try:
        write = wait_for(lambda report: prepare_writing(attached, folder, report))
    except CleanCancelled:
        return None
    dialog = WriteDialog(write, folder, session.application)
    dialog.open()
    return dialog


class WriteDialog(QtWidgets.QDialog):
    """Writes in a thread of its own, and shows how far it is; meanwhile nothing can be overruled.

    Parameters
    ----------
    write : callable
        Of `glue_cleanset.viewer.export.prepare_writing`.
    folder : str
    parent : QWidget
    """

    def __init__(self, write, folder, parent):
        super().__init__(parent)
        self.setWindowTitle("Write result")
        self.setAttribute(QtCore.Qt.WA_DeleteOnClose)
        self._folder = folder
        self.message = QtWidgets.QLabel(f"Writing into {folder}…")
        self.message.setWordWrap(True)
        self.progress = QtWidgets.QProgressBar()
        self.button = QtWidgets.QPushButton("Cancel")
        self.button.clicked.connect(self.reject)
        layout = QtWidgets.QVBoxLayout(self)
        layout.addWidget(self.message)
        layout.addWidget(self.progress)
        layout.addWidget(self.button, 0, QtCore.Qt.AlignRight)
        self.setMinimumWidth(480)
        self.worker = _WriteWorker(write)
        self.worker.progress.connect(self._on_progress)
        self.worker.result.connect(self._on_result)
        self.worker.error.connect(self._on_error)
        self.worker.start()

    def _on_progress(self, done, total):
        self.progress.setRange(0, total)
        self.progress.setValue(done)

    def _on_result(self, paths):
        self._finish(f"{len(paths)} files are in {self._folder}.")

    def _on_error(self, exc_info):
        cancelled = isinstance(exc_info[1], CleanCancelled)
        self._finish(f"{'Cancelled' if cancelled else exc_info[1]}; nothing was written.")

    def _finish(self, text):
        self.worker.wait()
        self.message.setText(text)
        self.button.setText("Close")

    def done(self, code):
        """What is half written goes away."""
        self.worker.cancel()
        self.worker.wait()
        super().done(code)


class _WriteWorker(PatientWorker):
    progress = QtCore.Signal(int, int)

    def __init__(self, write):
        super().__init__(write, progress=self._report)
        self._cancelled = threading.Event()

    def cancel(self):
        """Ask it to stop, which it does after the file it is at."""
        self._cancelled.set()

    def _report(self, done, total):
        if self._cancelled.is_set():
            raise CleanCancelled
        self.progress.emit(done, total)
