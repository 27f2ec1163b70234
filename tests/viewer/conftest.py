import pytest
from glue.core import Data
from matplotlib.backend_bases import FigureCanvasBase
from viewer_sets import ViewerApplication, make_frames


@pytest.fixture(autouse=True)
def idle(monkeypatch):
    """A window draws once, when it is idle; without one every change draws. Tests draw when they want to."""
    monkeypatch.setattr(FigureCanvasBase, "draw_idle", lambda self: None)


@pytest.fixture
def app():
    return ViewerApplication()


@pytest.fixture
def cube(app):
    """A cube (frame, y, x) of `SHAPE` with the attribute ``flux``, in the collection."""
    data = Data(flux=make_frames(), label="stars")
    data.get_component("flux").units = "adu"
    app.data_collection.append(data)
    return data
