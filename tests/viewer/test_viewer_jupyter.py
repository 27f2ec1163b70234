"""The same commands in glue-jupyter, where that is installed."""

import numpy as np
import pytest
from glue.core import Data

from glue_cleanset import clean_image_set
from glue_cleanset.core.simulate import simulate_set
from glue_cleanset.viewer.attach import OUTPUTS, AttachResult
from glue_cleanset.viewer.colors import frame_colormap, show_frames
from glue_cleanset.viewer.overrule import restore_selected

glue_jupyter = pytest.importorskip("glue_jupyter")


def test_a_set_is_cleaned_shown_and_overruled():
    app = glue_jupyter.JupyterApplication()
    frames = simulate_set(6, (60, 80), seed=1).frames
    cube = Data(flux=frames, label="field")
    app.data_collection.append(cube)
    parts = {"axis": 0, "outputs": tuple(OUTPUTS), "images": None}
    command = AttachResult(data=cube, attribute="flux", result=clean_image_set(frames), **parts)
    app.session.command_stack.do(command)
    attached = command.attached
    images = app.imshow(data=cube, show=False, widget="matplotlib")
    images.state.layers[0].attribute = attached.cleaned
    frame_map = app.imshow(data=attached.map, show=False, widget="matplotlib")
    layer = frame_map.state.layers[0]
    layer.attribute = attached.map.id["rejected frame"]
    show_frames(layer, 6)
    assert layer.cmap is frame_colormap(6)
    np.testing.assert_array_equal(images.layers[0].get_image_data(), command.attached.cube[attached.cleaned][0])
    strong = app.data_collection.new_subset_group("strong", attached.events.id["peak significance"] > 20)
    before = cube[attached.rejected].copy()
    restore_selected(app.session, strong)
    assert cube[attached.rejected].sum() < before.sum()
    app.session.command_stack.undo()
    np.testing.assert_array_equal(cube[attached.rejected], before)
