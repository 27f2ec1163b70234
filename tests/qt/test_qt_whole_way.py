"""From the files to the session file and back, with the real core, as in the real glue."""

import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits
from glue.core.data_factories import load_data
from glue.core.subset import ElementSubsetState
from glue_qt.viewers.image import ImageViewer

from glue_cleanset.qt.actions import clean_from_menu


@pytest.fixture
def attached(application, frames, tmp_path, run):
    """The frames read from a directory, cleaned by the real core with its defaults, laid out for review."""
    directory = tmp_path / "night"
    directory.mkdir()
    for i, frame in enumerate(frames, start=1):
        frame[30:35, :20] = np.median(frames, axis=0)[30:35, :20]  # no bad frame
        fits.writeto(directory / f"n{i}.fits", frame)
    application.add_datasets([load_data(str(directory))])
    summary = run(clean_from_menu(application.session, application.data_collection))
    assert summary is not None
    summary.button_review.click()
    return summary.attached


def image_viewers(application):
    return [viewer for viewer in application.viewers[-1] if isinstance(viewer, ImageViewer)]


def shown(viewer):
    return viewer.state.layers[0].get_sliced_data()


def subset_mask(viewer):
    (layer,) = (state for state in viewer.state.layers if hasattr(state.layer, "subset_state"))
    return layer.get_sliced_data()


def test_the_hits_are_found_and_repaired(application, attached, frames):
    assert list(attached.frames["name"]) == [f"n{i}" for i in range(1, 6)]
    rejected = attached.cube[attached.rejected]
    for k in range(5):
        assert rejected[k, 5 + 6 * k, 10 + 7 * k] == 1
    assert rejected.sum() < 30
    cleaned = attached.cube[attached.cleaned]
    assert np.array_equal(cleaned[rejected == 0], frames[rejected == 0])
    assert np.abs(cleaned - 200).max() < 40


def test_a_row_of_the_events_selects_exactly_its_pixels(application, attached):
    original, cleaned, _ = image_viewers(application)
    peak = int(np.argmax(attached.events["pixels"] * (attached.events["frame"] == 3)))
    application.data_collection.new_subset_group("event", ElementSubsetState([peak], attached.events))
    number = attached.events["event"][peak]
    for k in range(5):
        original.state.slices = (k, 0, 0)
        assert np.array_equal(subset_mask(cleaned), attached.cube[attached.event][k] == number)
    assert (attached.cube[attached.event] == number).any()


def test_a_session_brings_it_all_back(application, attached, tmp_path):
    original, cleaned, rejection_map = image_viewers(application)
    original.state.slices = (2, 0, 0)
    path = tmp_path / "night.glu"
    application.save_session(str(path))
    restored = type(application).restore_session(str(path), show=False)
    try:
        again = image_viewers(restored)
        assert [viewer.window_title for viewer in again] == [
            viewer.window_title for viewer in (original, cleaned, rejection_map)
        ]
        for before, after in zip((original, cleaned, rejection_map), again, strict=True):
            assert np.array_equal(shown(before), shown(after))
            assert before.state.layers[0].v_max == after.state.layers[0].v_max
        assert again[2].state.layers[0].cmap.name == rejection_map.state.layers[0].cmap.name
        assert restored.tab_names == application.tab_names
    finally:
        restored.close()


REOPEN = """
import sys
from glue._mpl_backend import set_mpl_backend
from glue_qt.utils import get_qapp

set_mpl_backend()
qapp = get_qapp()
from glue_qt.app import GlueApplication
from glue_qt.main import load_plugins
from glue_qt.viewers.image import ImageViewer

load_plugins()  # as the command does, before it opens the session
application = GlueApplication.restore_session(sys.argv[1], show=False)
before = application.tab_count
action = next(a for a in application._actions["plugins"] if a.text() == "Open review layout")
action.trigger()
assert application.tab_count == before + 1, "no new tab"
for viewer in application.viewers[-1]:
    if isinstance(viewer, ImageViewer):
        layer = viewer.state.layers[0]
        print(viewer.window_title, "|", layer.attribute, "|", float(layer.get_sliced_data().sum(dtype=float)))
application.close()
"""


def test_another_process_opens_the_session_and_the_review(application, attached, tmp_path):
    """Nothing that this process keeps in mind is needed; the colour map of the frames comes with the session."""
    path = tmp_path / "night.glu"
    application.save_session(str(path))
    done = subprocess.run([sys.executable, "-c", REOPEN, str(path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    expected = [
        f"{viewer.window_title} | {viewer.state.layers[0].attribute} | {float(shown(viewer).sum(dtype=float))}"
        for viewer in image_viewers(application)
    ]
    assert len(expected) == 3
    assert [line for line in done.stdout.splitlines() if " | " in line] == expected
