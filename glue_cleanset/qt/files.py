"""Choosing files in Qt's own dialogs."""

from pathlib import Path

from glue_qt.utils import get_qapp
from qtpy import QtWidgets

__all__ = ["ask_to_leave_out", "pick_fits_files", "pick_folder"]

FITS = "FITS files (*.fits *.fit *.fts *.fits.gz *.fit.gz *.fts.gz *.fz);;All files (*)"


def pick_fits_files():
    """Ask for the FITS files of one image set.

    Returns
    -------
    list of str
        Their paths, in the order of their names; empty where the person cancelled.
    """
    get_qapp()
    paths, _ = QtWidgets.QFileDialog.getOpenFileNames(
        QtWidgets.QApplication.activeWindow(), "Frames of one image set", "", FITS
    )
    return sorted(paths)


def pick_folder(parent, folder):
    """Ask for the folder that cleaned frames go to.

    Parameters
    ----------
    parent : QWidget
    folder : str
        The one that is chosen so far; it need not exist.

    Returns
    -------
    str
        Empty where the person cancelled.
    """
    begin = Path(folder)
    while not begin.is_dir() and begin != begin.parent:
        begin = begin.parent
    return QtWidgets.QFileDialog.getExistingDirectory(parent, "Folder for the cleaned frames", str(begin))


def ask_to_leave_out(error):
    """Ask whether the frames that cannot be used shall be left out of the set.

    Parameters
    ----------
    error : BadFramesError

    Returns
    -------
    bool
    """
    box = QtWidgets.QMessageBox
    shown = error.bad[:10] + ([f"and {len(error.bad) - 10} more"] if len(error.bad) > 10 else [])
    text = "\n".join([f"{len(error.bad)} of {len(error.bad) + error.left} frames cannot be used:", *shown])
    buttons = box.Yes | box.Cancel
    parent = QtWidgets.QApplication.activeWindow()
    return box.question(parent, "Image set", f"{text}\n\nLeave them out?", buttons, box.Cancel) == box.Yes
