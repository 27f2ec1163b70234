"""Frames that are read on demand stand for an array, and give the results it gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glue_cleanset.core.imageset import ImageSet
from glue_cleanset.core.ondemand import (
    Either,
    FramesOnDemand,
    PackedFlags,
    PatchedFrames,
    either,
    marked,
    nonzero,
    pack_flags,
    union,
)


class Counted(FramesOnDemand):
    """An array read a frame, or some rows of it, at a time."""

    def __init__(self, array):
        super().__init__(array.shape, array.dtype.newbyteorder("="))
        self.array, self.pixels = array, 0

    def frame(self, i):
        self.pixels += self.array[i].size
        return self.array[i]

    def rows(self, i, first, last):
        self.pixels += self.array[i, first:last].size
        return self.array[i, first:last]


CUBE = np.random.default_rng(1).normal(100, 9, (5, 23, 17)).astype(">f4")
SLICES = st.slices(25)
ONE = st.integers(-5, 4)


@given(frames=st.one_of(SLICES, ONE), rows=st.one_of(SLICES, st.integers(-23, 22)), columns=SLICES)
def test_a_part_is_that_of_the_array(frames, rows, columns):
    part = Counted(CUBE)[frames, rows, columns]
    expected = CUBE[frames, rows, columns]
    assert part.shape == expected.shape
    assert part.dtype == np.float32
    assert part.dtype.isnative
    np.testing.assert_array_equal(part, expected)


def test_points_and_chosen_frames_are_those_of_the_array():
    rng = np.random.default_rng(2)
    frame, y, x = (rng.integers(-n, n, (4, 30)) for n in CUBE.shape)
    frames = Counted(CUBE)
    np.testing.assert_array_equal(frames[frame, y, x], CUBE[frame, y, x])
    np.testing.assert_array_equal(frames[:, y, x], CUBE[:, y, x])
    np.testing.assert_array_equal(frames[2, y, x], CUBE[2, y, x])
    some = np.array([3, 0])
    np.testing.assert_array_equal(frames[some, 2:9, ::3], CUBE[some, 2:9, ::3])
    np.testing.assert_array_equal(frames[..., 4], CUBE[..., 4])
    np.testing.assert_array_equal(np.asarray(frames), CUBE)


def test_pixels_of_a_mask_are_those_of_the_array():
    for mask in (CUBE > 110, np.zeros(CUBE.shape, bool)):
        np.testing.assert_array_equal(Counted(CUBE)[mask], CUBE[mask])
        np.testing.assert_array_equal(Counted(CUBE)[Counted(mask)], CUBE[mask])
    with pytest.raises(IndexError, match=r"the mask has shape \(4, 23, 17\), the frames \(5, 23, 17\)"):
        Counted(CUBE)[CUBE[:4] > 110]


def test_nobody_gets_all_values_unasked():
    with pytest.raises(IndexError, match="1955 values"):  # which glue's scatter plot takes for a layer it cannot show
        Counted(CUBE).ravel()


def test_no_points_are_no_values():
    nowhere = (np.empty(0, int),) * 3
    np.testing.assert_array_equal(Counted(CUBE)[nowhere], CUBE[nowhere])


def test_rows_are_read_without_the_rest():
    frames = Counted(CUBE)
    frames[:, 4:9, 2:5]
    assert frames.pixels == 5 * 5 * 17


def test_rows_between_points_are_read():
    frames = Counted(CUBE)
    y, x = np.array([4, 8]), np.array([0, 3])
    np.testing.assert_array_equal(frames[2, y, x], CUBE[2, y, x])
    assert frames.pixels == 5 * 17


INDEX = st.lists(st.integers(0, CUBE.size - 1), unique=True, max_size=60).map(lambda some: np.array(sorted(some), int))


NOTHING = np.empty(0, int), np.empty(0, np.float32)


@given(index=INDEX, again=INDEX, on_zeros=st.booleans(), frames=st.one_of(SLICES, ONE), rows=SLICES, columns=SLICES)
def test_some_pixels_have_other_values(index, again, on_zeros, frames, rows, columns):
    expected = np.zeros(CUBE.shape, np.float32) if on_zeros else CUBE.astype(np.float32)
    patched = PatchedFrames(None if on_zeros else Counted(CUBE), *NOTHING, CUBE.shape)
    # in any order, and some of them zero
    order = np.random.default_rng(0).permutation(again.size)
    for some, values in ((index, np.arange(-3, index.size - 3)), (again[order], np.arange(again.size) - 5)):
        patched = patched.with_values(some, values.astype(np.float32))
        expected.reshape(-1)[some] = values
        part = patched[frames, rows, columns]
        assert part.dtype == np.float32
        np.testing.assert_array_equal(part, expected[frames, rows, columns])
        where = tuple(np.random.default_rng(1).integers(-n, n, 40) for n in CUBE.shape)
        np.testing.assert_array_equal(patched[where], expected[where])
        found = nonzero(patched)
        np.testing.assert_array_equal(found[0], np.flatnonzero(expected))
        np.testing.assert_array_equal(found[1], expected.reshape(-1)[found[0]])
        assert (np.diff(patched.index) > 0).all()


@given(one=INDEX, other=INDEX)
def test_masks_of_some_pixels(one, other):
    flags, others = (np.zeros(CUBE.shape, bool) for _ in range(2))
    flags.reshape(-1)[one], others.reshape(-1)[other] = True, True
    np.testing.assert_array_equal(marked(one, CUBE.shape), flags)
    np.testing.assert_array_equal(union(one, other), np.union1d(one, other))
    bits = pack_flags(marked(one, CUBE.shape))
    np.testing.assert_array_equal(bits, np.packbits(flags))
    packed = PackedFlags(bits, CUBE.shape)
    np.testing.assert_array_equal(packed, flags)
    np.testing.assert_array_equal(packed[2:, 3:20, ::2], flags[2:, 3:20, ::2])
    both = either(marked(one, CUBE.shape), others)
    assert isinstance(both, Either)
    np.testing.assert_array_equal(both, flags | others)
    np.testing.assert_array_equal(nonzero(both)[0], np.union1d(one, other))


def test_a_set_keeps_them_as_they_are():
    frames = Counted(CUBE)
    image_set = ImageSet(frames)
    assert image_set.frames is frames
    assert image_set.on_demand
    assert not ImageSet(CUBE).on_demand
    np.testing.assert_array_equal(image_set.read(slice(3, 9)), ImageSet(CUBE).read(slice(3, 9)))


def test_too_many_indices_are_told():
    with pytest.raises(IndexError, match="3 axes"):
        Counted(CUBE)[0, 0, 0, 0]


def test_a_dask_array_is_read_on_demand():
    array = pytest.importorskip("dask.array")
    cube = array.from_array(CUBE, chunks=(2, 10, 17))
    image_set = ImageSet(cube)
    assert image_set.on_demand
    np.testing.assert_array_equal(image_set.frames[1:4, 5:12], CUBE[1:4, 5:12])
