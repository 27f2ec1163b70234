"""From glue's data to an image set."""

import numpy as np
import pytest
from glue.core import Data
from viewer_sets import SHAPE, make_frames

from glue_cleanset.viewer.stack import header_noise, image_set_from_cube, stack_images


def test_frames_of_a_cube():
    frames = make_frames()
    data = Data(flux=frames, label="stars")
    image_set = image_set_from_cube(data, "flux")
    np.testing.assert_array_equal(image_set.frames, frames)
    assert np.shares_memory(image_set.frames, data["flux"])
    assert image_set.names[0] == "frame 1"
    assert image_set.exptime is None
    assert image_set.mask is None
    assert image_set_from_cube(data, data.id["flux"]).shape == SHAPE


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_frames_on_any_axis(axis):
    frames = make_frames()
    data = Data(flux=np.moveaxis(frames, 0, axis))
    np.testing.assert_array_equal(image_set_from_cube(data, "flux", axis).frames, frames)


def test_what_the_meta_tells():
    mask = np.zeros(SHAPE, np.uint8)
    mask[1, 2, 3] = 4
    data = Data(flux=make_frames(), bad=mask)
    data.meta.update(
        {
            "frame names": list("abcde"),
            "frame exptime": [1.0, 2.0, 3.0, 4.0, 5.0],
            "mask component": "bad",
            "frame gain": [1.5] * 5,
            "frame readnoise": [6.0] * 5,
        }
    )
    image_set = image_set_from_cube(data, "flux")
    assert image_set.names == tuple("abcde")
    np.testing.assert_array_equal(image_set.exptime, [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(image_set.mask, mask > 0)
    gain, readnoise = header_noise(data)
    assert gain.tolist() == [1.5] * 5
    assert readnoise.tolist() == [6.0] * 5

    # along another axis they would be wrong, but the mask turns with the cube
    turned = image_set_from_cube(data, "flux", axis=1)
    assert turned.names[0] == "frame 1"
    assert turned.exptime is None
    np.testing.assert_array_equal(turned.mask, np.moveaxis(mask > 0, 1, 0))

    data.meta["frame exptime"] = [1.0, 2.0, float("nan"), 4.0, 5.0]
    data.meta["mask component"] = "removed"
    image_set = image_set_from_cube(data, "flux")
    assert image_set.exptime is None
    assert image_set.mask is None


def test_header_noise_names_the_frames_that_lack_it():
    data = Data(flux=make_frames(), label="stars")
    with pytest.raises(ValueError, match="stars carries no gain from headers"):
        header_noise(data)
    data.meta.update({"frame names": list("abcde"), "frame gain": [1.0] * 5})
    data.meta["frame readnoise"] = [5.0, float("nan"), 5.0, 5.0, 0.0]
    with pytest.raises(ValueError, match="no read noise in the header of b, e; give it"):
        header_noise(data)
    data.meta["frame readnoise"] = [float("nan")] * 5
    del data.meta["frame names"]
    with pytest.raises(ValueError, match="of frame 1, frame 2, frame 3, frame 4, frame 5;"):
        header_noise(data)


@pytest.mark.parametrize(
    ("data", "attribute", "axis", "message"),
    [
        (None, "flux", 0, "there is no image data; load an image set first"),
        (Data(flux=np.arange(9.0), label="table"), "flux", 0, "table is a table of 9 rows; choose a cube"),
        (Data(flux=np.ones((3, 4)), label="one"), "flux", 0, r"one is one image of shape \(3, 4\)"),
        (Data(flux=np.ones((2, 2, 3, 4)), label="4d"), "flux", 0, r"4d has the shape \(2, 2, 3, 4\)"),
        (
            Data(flux=np.ones((1, 3, 4)), label="thin"),
            "flux",
            0,
            r"axis 0 of thin, of shape \(1, 3, 4\), holds 1",
        ),
        (Data(flux=np.ones((3, 4, 1)), label="thin"), "flux", 2, "axis 2 of thin"),
        (Data(flux=make_frames()), "flux", 3, "axis is 3; choose 0, 1 or 2"),
        (Data(flux=make_frames()), "flux", -1, "axis is -1"),
        (
            Data(flux=make_frames(), label="stars"),
            "flix",
            0,
            "stars has no .* 'flix'; choose one of 'flux'",
        ),
        (Data(kind=np.full(SHAPE, "star")), "kind", 0, "'kind' of .* holds categorical values; choose numbers"),
        (Data(flux=np.ones(SHAPE)), "flux", 0, "constant"),
        (Data(flux=np.full(SHAPE, np.nan)), "flux", 0, "no finite"),
    ],
)
def test_what_is_no_set_of_frames(data, attribute, axis, message):
    with pytest.raises(ValueError, match=message):
        image_set_from_cube(data, attribute, axis)


def test_complex_values_are_refused():
    with pytest.raises(TypeError, match="complex128"):
        image_set_from_cube(Data(flux=np.ones(SHAPE, complex)), "flux")


def test_an_attribute_of_other_data_is_refused():
    other = Data(flux=make_frames())
    with pytest.raises(ValueError, match="mine has no single attribute 'flux'; choose one of 'light'"):
        image_set_from_cube(Data(light=make_frames(), label="mine"), other.id["flux"])


def test_images_are_stacked_in_their_order():
    frames = make_frames()
    images = [Data(flux=frame, label=f"night{i}") for i, frame in enumerate(frames)]
    for i, image in enumerate(images):
        image.get_component("flux").units = "adu"
        image.meta.update({"EXPTIME": 60.0 + i, "EGAIN": 1.5, "RDNOISE": "6.0", "FILTER": "V"})
    cube = stack_images(images)
    assert cube.label == "night0 … night4"
    np.testing.assert_array_equal(cube["flux"], frames)
    assert cube["flux"].dtype == frames.dtype
    assert cube.get_component("flux").units == "adu"
    image_set = image_set_from_cube(cube, "flux")
    assert image_set.names == tuple(f"night{i}" for i in range(5))
    np.testing.assert_array_equal(image_set.exptime, [60, 61, 62, 63, 64])
    assert [values.tolist() for values in header_noise(cube)] == [[1.5] * 5, [6.0] * 5]
    assert cube.meta["frame filter"] == ["V"] * 5


def test_attributes_to_stack():
    first = Data(label="a")
    first.add_component(np.full((3, 4), "x"), "kind")
    first.add_component(np.ones((3, 4)), "sci")
    first.add_component(np.full((3, 4), 2.0), "err")
    second = Data(flux=np.full((3, 4), 3.0), label="b")
    cube = stack_images([first, second])
    assert [cid.label for cid in cube.main_components] == ["image"]
    assert cube["image"][:, 0, 0].tolist() == [1, 3]
    assert cube.get_component("image").units == ""
    assert stack_images([first, second], ["err", "flux"])["image"][:, 0, 0].tolist() == [2, 3]
    with pytest.raises(ValueError, match="attributes has 1 entries for 2 images"):
        stack_images([first, second], ["err"])
    with pytest.raises(ValueError, match="'kind' of a holds categorical"):
        stack_images([first, second], ["kind", "flux"])
    with pytest.raises(ValueError, match="words holds no numbers"):
        stack_images([first, Data(kind=np.full((3, 4), "x"), label="words")])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "0 image selected"),
        ([Data(flux=np.ones((3, 4)))], "1 image selected; one frame cannot be compared with itself"),
        (
            [Data(flux=np.ones((3, 4)), label="a"), Data(flux=np.ones((4, 3)), label="b")],
            r"images differ in shape: a is \(3, 4\), b is \(4, 3\); register or crop them first",
        ),
        (
            [Data(flux=np.ones((3, 4))), Data(flux=np.ones(3), label="t")],
            r"t has the shape \(3,\); select several images",
        ),
        ([Data(flux=np.ones((3, 4))), None], "None is no data"),
    ],
)
def test_images_that_make_no_set(images, message):
    with pytest.raises(ValueError, match=message):
        stack_images(images)
