import pytest
from glue.core import Data
from viewer_sets import ViewerApplication, make_frames


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
