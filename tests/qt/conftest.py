"""A real glue window without a screen, and a core that answers at once."""

import contextlib
import importlib.util
import os
import sys
import tempfile
import time

import pytest

BINDINGS = ("PyQt6", "PySide6", "PyQt5")
HAS_QT = any(importlib.util.find_spec(name) for name in BINDINGS) and importlib.util.find_spec("glue_qt") is not None
collect_ignore_glob = [] if HAS_QT else ["test_*.py"]

if HAS_QT:
    # before Qt is loaded
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ["GLUE_TESTING"] = "True"

STDERR = sys.stderr


@pytest.fixture(scope="session")
def qapp():
    """The one QApplication; the configuration of the person who runs the tests is left alone."""
    from glue import config
    from glue._mpl_backend import set_mpl_backend

    with tempfile.TemporaryDirectory() as directory:
        config.CFG_DIR = directory
        set_mpl_backend()
        from glue.config import settings
        from glue_qt.utils import get_qapp

        settings.SHOW_LARGE_DATA_WARNING = False
        settings.AUTOLINK["Astronomy WCS"] = "always_ignore"
        yield get_qapp()


@pytest.fixture
def application(qapp, turn, monkeypatch):
    """A GlueApplication that is shown, and closed at the end with all of its dialogs."""
    from glue_qt.app import GlueApplication

    def report_error(self, message, detail):
        raise AssertionError(f"{message}\n{detail}")

    monkeypatch.setattr(GlueApplication, "report_error", report_error)
    # an exception in a slot ends the process in PyQt: collect it, and fail the test
    raised = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: raised.append(error))
    window = GlueApplication()
    window.resize(1600, 1000)
    window.show()
    qapp.processEvents()
    yield window
    with contextlib.suppress(RuntimeError):  # the test has closed it
        window.close()
    turn()
    sys.stderr = STDERR
    if raised:
        raise raised[0]


@pytest.fixture
def turn(qapp):
    """One turn of the event loop, in which closed windows are deleted as in a loop that runs for long."""
    from qtpy import QtCore

    def turn_once():
        qapp.processEvents()
        qapp.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)

    return turn_once


@pytest.fixture
def wait(turn):
    """Run the event loop until something is so."""

    def wait_until(condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            turn()
            time.sleep(0.002)

    return wait_until


def _quick_clean(image_set, settings, *, gain=None, readnoise=None, progress=None):
    """A core for the tests of the window: everything 50 ADU off the median is an event of one frame."""
    import numpy as np
    from astropy.table import Table
    from scipy import ndimage

    from glue_cleanset.core.clean import CleanCancelled, CleanResult
    from glue_cleanset.core.noise import NoiseModel
    from glue_cleanset.core.settings import KINDS
    from glue_cleanset.core.tracks import track_table

    frames = np.asarray(image_set.frames)
    n = len(frames)
    for done in range(n):
        if progress is not None and progress(done, n) is False:
            raise CleanCancelled
    reference = np.median(frames, axis=0)
    residual = frames - reference
    rejected = np.abs(residual) > 50
    labels = np.zeros(frames.shape, np.int32)
    rows = []
    for k in range(n):
        found, count = ndimage.label(rejected[k])
        for number in range(1, count + 1):
            where = np.nonzero(found == number)
            labels[k][where] = len(rows) + 1
            y, x = where[0].mean(), where[1].mean()
            rows.append(
                (len(rows) + 1, k + 1, y, x, where[0][0], where[1][0], len(where[0]), 100.0, 60.0, 9.0, "bright")
            )
    names = ["event", "frame", "y", "x", "y_peak", "x_peak", "pixels", "total", "peak", "peak_significance", "polarity"]
    events = Table(rows=rows, names=names)
    events["kind"] = np.array(["cosmic ray"] * len(rows), "U13")
    events["confidence"], events["track"], events["kept"] = 0.5, 0, False
    pixels = rejected.sum(axis=(1, 2))
    percent = 100 * pixels / reference.size
    counts = np.bincount([row[1] - 1 for row in rows], minlength=n)
    number = np.arange(1, n + 1)[:, None, None]
    flat = np.flatnonzero(labels)
    return CleanResult(
        cleaned=np.where(rejected, reference, frames).astype(frames.dtype),
        rejected=rejected,
        rejection_map=np.max(rejected * number, axis=0).astype(np.uint16),
        rejection_count=rejected.sum(axis=0).astype(np.uint16),
        peak_significance=np.max(np.abs(residual) * rejected, axis=0).astype(np.float32),
        reference=reference.astype(np.float32),
        events=events,
        summary=Table(
            {
                "frame": np.arange(1, n + 1),
                "name": image_set.names,
                "events": counts,
                "pixels": pixels,
                "percent": percent,
                "scale": np.ones(n),
                "offset": np.zeros(n),
                "mismatch": np.where(pixels == 2, 50.0, 5.0),
                **{kind.replace(" ", "_"): counts if kind == "cosmic ray" else 0 * counts for kind in KINDS},
                "remark": [""] * n,
            }
        ),
        noise=NoiseModel(
            np.full(n, gain or 1.5),
            np.full(n, 6.0),
            "given" if gain else "fitted",
            "fitted",
            np.ones(n),
            np.ones(n),
            np.zeros(n),
        ),
        scales=np.ones(n),
        offsets=np.zeros(n),
        gradients=np.zeros((n, 2)),
        settings=settings,
        warnings=tuple(
            f"{image_set.names[k]} lost {percent[k]:.1f} % of its pixels" for k in range(n) if percent[k] > 2
        ),
        event_pixels=flat,
        event_numbers=labels.reshape(-1)[flat],
        kind_map=rejected.any(axis=0).astype(np.uint8),
        tracks=track_table([], np.zeros((0, 1, 2)), np.zeros(1), None),
        track_positions=np.zeros((0, n, 2)),
    )


def _clean_and_tell(image_set, settings, **options):
    """The quick core, to which the hits of the frames of `frames` are a moving object that is kept, and the bad part of
    the last one is a trail."""
    from dataclasses import replace

    import numpy as np
    from astropy.table import Table

    from glue_cleanset.core.clean import learn_model
    from glue_cleanset.core.settings import KINDS

    result = _quick_clean(image_set, settings, **options)
    n, ny, nx = result.rejected.shape
    events, summary = result.events, result.summary
    events["kind"] = np.where(events["pixels"] > 1, "trail", "moving object")
    events["track"] = np.where(events["pixels"] > 1, 0, 1)
    events["confidence"] = 0.9
    kept = np.isin(events["kind"], settings.keep)
    events["kept"] = kept
    frames = np.asarray(image_set.frames)
    labels = result.event_labels()
    rejected = (labels > 0) & ~np.isin(labels, events["event"][kept])
    number = np.arange(1, n + 1)[:, None, None]
    for kind in KINDS:
        mine = events["frame"][events["kind"] == kind]
        summary[kind.replace(" ", "_")] = np.bincount(mine - 1, minlength=n)
    summary["events"] = np.bincount(events["frame"][~kept] - 1, minlength=n)
    summary["pixels"] = rejected.sum(axis=(1, 2))
    summary["percent"] = 100 * summary["pixels"] / (ny * nx)
    codes = np.array([0, *(1 + list(KINDS).index(kind) for kind in events["kind"])], np.uint8)
    tracks = {"track": [1], "frames": [n], "events": [n], "first": [1], "last": [n], "y": [5.0], "x": [10.0]}
    tracks |= {"rate": [85**0.5], "y_rate": [6.0], "x_rate": [7.0], "position_angle": [310.6]}
    return replace(
        result,
        model=learn_model(image_set, settings),
        cleaned=np.where(rejected, result.cleaned, frames).astype(frames.dtype),
        rejected=rejected,
        rejection_map=np.max(rejected * number, axis=0).astype(np.uint16),
        rejection_count=rejected.sum(axis=0).astype(np.uint16),
        peak_significance=np.where(rejected.any(axis=0), result.peak_significance, 0),
        kind_map=codes[labels].max(axis=0),
        tracks=Table({**tracks, "flux": [1000.0], "peak_significance": [90.0]}),
        track_positions=np.array([5.0, 10.0]) + np.arange(n)[None, :, None] * [6.0, 7.0],
    )


@pytest.fixture
def quick_clean():
    """The core of the tests itself."""
    return _quick_clean


@pytest.fixture
def telling_core(quick_core):
    """The quick core that knows a moving object and a trail among the events of `frames`."""
    quick_core(_clean_and_tell)
    return quick_core


@pytest.fixture
def quick_core(monkeypatch):
    """Put a function in the place of the core, first the quick one, and say that the set is registered."""
    from glue_cleanset.core import clean
    from glue_cleanset.io import registration

    monkeypatch.setattr(registration, "registration_warning", lambda image_set, **options: "")
    # a new machine would say that it compiles
    monkeypatch.setattr(clean, "must_compile", lambda: False)

    def put(function):
        monkeypatch.setattr(clean, "clean_image_set", function)

    put(_quick_clean)
    return put


@pytest.fixture
def frames():
    """(5, 40, 50) float32: noise about 200 ADU, one hit of known place in every frame, a bad last frame."""
    import numpy as np

    frames = np.random.default_rng(7).normal(200, 5, (5, 40, 50)).astype(np.float32)
    for k in range(5):
        frames[k, 5 + 6 * k, 10 + 7 * k] += 1000
    frames[4, 30:35, :20] += 300  # 5 % of the frame
    return frames


@pytest.fixture
def cube(application, frames):
    """The frames as data of the session."""
    from glue.core import Data

    data = Data(label="field")
    data.add_component(frames, "flux")
    application.data_collection.append(data)
    return data


@pytest.fixture
def images(application, frames):
    """The frames as five 2-D data of the session."""
    from glue.core import Data

    found = []
    for i, frame in enumerate(frames, start=1):
        data = Data(label=f"image {i}")
        data.add_component(frame, "flux")
        application.data_collection.append(data)
        found.append(data)
    return found


@pytest.fixture
def run(wait, turn):
    """Run a dialog to its end; its summary, or None where it stayed open."""

    def run_dialog(dialog):
        dialog.run()
        wait(lambda: not dialog.running)
        turn()
        return dialog.summary

    return run_dialog
