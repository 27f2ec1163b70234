"""The verbose summary of a cleaning: what was rejected from which frame, and what to make of it."""

import numpy as np
from glue_qt.utils import messagebox_on_error
from qtpy import QtCore, QtGui, QtWidgets

from .review import open_review

__all__ = ["SummaryDialog"]

# a frame that lost more than this percentage is marked (as the core warns of it)
MANY_PERCENT = 2.0
SOURCES = {
    "given": "given",
    "fitted": "fitted to the set",
    "assumed": "assumed, the set holds too little to fit it",
}
HEADINGS = {
    "frame": ("Frame", "Number of the frame, as in the rejection map"),
    "name": ("Name", ""),
    "events": ("Events", "Connected groups of rejected pixels"),
    "pixels": ("Pixels", "Rejected pixels"),
    "percent": ("Percent", "Rejected pixels in percent of the frame's pixels"),
    "scale": ("Scale", "Factor of the frame against the reference"),
    "offset": ("Offset [ADU]", "Constant of the frame against the reference"),
}


class SummaryDialog(QtWidgets.QDialog):
    """One row per frame, the warnings above, and the way to the review layout.

    Parameters
    ----------
    session : glue.core.Session
    attached : glue_cleanset.viewer.attach.Attached
        What the cleaning added to the session.
    result : CleanResult
    registration : str, optional
        Warning of a set that does not look registered.
    parent : QWidget, optional
    """

    def __init__(self, session, attached, result, registration="", parent=None):
        super().__init__(parent)
        self.session = session
        self.attached = attached
        self.setWindowTitle(f"Summary of cleaning {attached.cube.label}")
        self.setAttribute(QtCore.Qt.WA_DeleteOnClose)

        layout = QtWidgets.QVBoxLayout(self)
        texts = [text for text in (registration, result.noise.message, *result.warnings) if text]
        self.warnings = list(dict.fromkeys(texts))
        if self.warnings:
            layout.addWidget(_warning_box(self.warnings))
        self.headline = QtWidgets.QLabel(describe_total(result))
        self.noise = QtWidgets.QLabel(describe_noise(result.noise))
        for label in (self.headline, self.noise):
            label.setTextInteractionFlags(QtCore.Qt.TextSelectableByMouse)
            layout.addWidget(label)
        self.table = _table(result.summary)
        layout.addWidget(self.table, 1)

        self.button_review = QtWidgets.QPushButton("Open review layout")
        self.button_review.setToolTip("Original, cleaned and rejection map side by side, in a new tab")
        self.button_review.clicked.connect(self._review)
        button_close = QtWidgets.QPushButton("Close")
        button_close.setAutoDefault(False)
        button_close.clicked.connect(self.close)
        buttons = QtWidgets.QHBoxLayout()
        buttons.addStretch()
        buttons.addWidget(self.button_review)
        buttons.addWidget(button_close)
        layout.addLayout(buttons)

        width = self.table.horizontalHeader().length() + self.table.verticalScrollBar().sizeHint().width() + 40
        self.resize(min(max(width, 560), 1100), min(260 + 24 * len(result.summary), 640))

    @messagebox_on_error("Open review layout")
    def _review(self, *_):
        open_review(self.session, self.attached)
        self.close()


def describe_total(result):
    """One sentence: how many events and pixels, in how many frames."""
    n_frames = len(result.summary)
    pixels = int(np.sum(result.summary["pixels"]))
    percent = 100 * pixels / result.rejected.size
    return f"{len(result.events):,} events, {pixels:,} pixels rejected in {n_frames} frames ({percent:.3g} % of all pixels)."


def describe_noise(noise):
    """One sentence: gain and read noise, and where they come from."""
    return (
        f"Gain {_range(noise.gain)} e-/ADU ({SOURCES[noise.gain_source]}), "
        f"read noise {_range(noise.readnoise)} e- ({SOURCES[noise.readnoise_source]})."
    )


def _range(values):
    low, high = f"{np.min(values):.3g}", f"{np.max(values):.3g}"
    return low if low == high else f"{low} to {high}"


def _warning_box(texts):
    label = QtWidgets.QLabel("\n".join(f"• {text}" for text in texts))
    label.setWordWrap(True)
    label.setTextInteractionFlags(QtCore.Qt.TextSelectableByMouse)
    label.setStyleSheet("background: #fdf1d5; color: #5c3d00; border: 1px solid #e0b252; padding: 6px")
    label.setMargin(2)
    scroll = QtWidgets.QScrollArea()
    scroll.setWidget(label)
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QtWidgets.QFrame.NoFrame)
    scroll.setMaximumHeight(160)
    return scroll


def _table(summary):
    names = [name for name in HEADINGS if name in summary.colnames]
    model = QtGui.QStandardItemModel(len(summary), len(names))
    model.setSortRole(QtCore.Qt.UserRole)
    for column, name in enumerate(names):
        heading, tip = HEADINGS[name]
        model.setHorizontalHeaderItem(column, QtGui.QStandardItem(heading))
        model.horizontalHeaderItem(column).setToolTip(tip)
    for row, frame in enumerate(summary):
        many = frame["percent"] > MANY_PERCENT
        for column, name in enumerate(names):
            value = frame[name]
            value = value.item() if hasattr(value, "item") else value
            item = QtGui.QStandardItem(f"{value:.4g}" if isinstance(value, float) else str(value))
            item.setData(value, QtCore.Qt.UserRole)
            item.setEditable(False)
            if name != "name":
                item.setTextAlignment(QtCore.Qt.AlignRight | QtCore.Qt.AlignVCenter)
            if many:
                item.setBackground(QtGui.QColor("#f7d9c4"))
                item.setForeground(QtGui.QColor("#5c1f00"))
                item.setToolTip(
                    f"More than {MANY_PERCENT:g} % of this frame was rejected: something in it varies, "
                    "or it is not registered. Look at it before trusting it."
                )
            model.setItem(row, column, item)
    table = QtWidgets.QTableView()
    table.setModel(model)
    model.setParent(table)
    table.setSortingEnabled(True)
    table.sortByColumn(0, QtCore.Qt.AscendingOrder)
    table.verticalHeader().hide()
    table.verticalHeader().setDefaultSectionSize(24)
    table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectRows)
    table.resizeColumnsToContents()
    table.horizontalHeader().setStretchLastSection(True)
    return table
