"""The colour map of the rejection map."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from glue.config import colormaps
from glue.core.state import GlueSerializer
from glue.viewers.image.viewer import SimpleImageViewer
from skimage.color import deltaE_ciede2000, rgb2lab
from viewer_sets import attach

from glue_cleanset.viewer.colors import frame_colormap, register_session_colormaps, show_frames


def lab(n_frames):
    return rgb2lab(np.array(frame_colormap(n_frames).colors))


@pytest.mark.parametrize("n_frames", [2, 9, 50, 200])
def test_a_person_can_tell_the_frames_apart(n_frames):
    colors = lab(n_frames)
    assert len(colors) == n_frames + 1
    # a difference of 2.3 can just be seen; neighbours and next neighbours are far apart
    assert deltaE_ciede2000(colors[1:-1], colors[2:]).min() > 20
    if n_frames > 2:
        assert deltaE_ciede2000(colors[1:-2], colors[3:]).min() > 20
    assert deltaE_ciede2000(colors[:1], colors[1:]).min() > 25
    pairs = deltaE_ciede2000(colors[:, None], colors[None])
    assert pairs[np.triu_indices(n_frames + 1, 1)].min() > 2.3


def test_none_is_dark_and_neutral():
    lightness, a, b = lab(9)[0]
    assert lightness < 20
    assert np.hypot(a, b) < 5


def test_more_frames_than_colours():
    assert len(frame_colormap(1500).colors) == 1501


def test_a_frame_has_one_colour_in_sets_of_any_size():
    assert frame_colormap(200).colors[:10] == frame_colormap(9).colors


def test_glue_and_matplotlib_know_it_once():
    colormap = frame_colormap(7)
    assert frame_colormap(7) is colormap
    assert [c for name, c in colormaps if name == "cleanset frames 7"] == [colormap]
    assert matplotlib.colormaps["cleanset frames 7"] == colormap
    assert colormaps.name_from_cmap(colormap) == "cleanset frames 7"


def test_it_is_there_before_the_map_is_shown(app, cube, monkeypatch):
    # a style editor fails on a colour map that came after it
    monkeypatch.setattr(colormaps, "_members", [m for m in colormaps.members if not m[0].startswith("cleanset")])
    attach(app, cube)
    assert {"cleanset frames 5", "cleanset kinds"} <= {name for name, _ in colormaps}


@pytest.mark.parametrize("n_frames", [5, 200])
def test_value_k_is_drawn_in_colour_k(app, cube, n_frames):
    a = attach(app, cube)
    numbers = np.arange(a.map.size).reshape(a.map.shape) % (n_frames + 1)
    a.map.update_components({a.map.id["rejected frame"]: numbers.astype(np.uint16)})
    viewer = app.new_data_viewer(SimpleImageViewer, a.map)
    show_frames(viewer.state.layers[0], n_frames)
    ny, nx = a.map.shape
    drawn = viewer.axes._composite(bounds=[(0, ny - 1, ny), (0, nx - 1, nx)])
    np.testing.assert_allclose(drawn[..., :3], np.array(frame_colormap(n_frames).colors)[numbers], atol=1e-6)


def test_a_new_process_finds_the_colour_map_of_a_session():
    session = GlueSerializer(frame_colormap(13)).dumps()
    program = (
        "import sys, glue_cleanset\n"
        "from glue.core.state import GlueUnSerializer\n"
        "glue_cleanset.setup()\n"
        "colormap = GlueUnSerializer.loads(sys.argv[1]).object('__main__')\n"
        "print(colormap.name, colormap.N)"
    )
    done = subprocess.run([sys.executable, "-c", program, session], capture_output=True, text=True)
    assert done.stdout.split("\n")[-2] == "cleanset frames 13 14", done.stderr


def test_other_names_in_a_session_are_left_alone():
    before = len(list(colormaps))
    register_session_colormaps(
        {"a": {"cmap": "viridis"}, "b": {"cmap": "cleanset frames many"}, "c": {"cmap": 3}, "d": []}
    )
    assert len(list(colormaps)) == before
