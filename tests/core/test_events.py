"""Events against scipy's labels, frame by frame and polarity by polarity."""

import numpy as np
import pytest
from core_oracles import label_by_frame_and_polarity
from hypothesis import given
from hypothesis import strategies as st

from glue_cleanset.core.events import find_events


def events_of(residual, significance=None):
    index = np.flatnonzero(residual)
    values = residual.reshape(-1)[index].astype(float)
    strength = values if significance is None else significance.reshape(-1)[index]
    table, numbers = find_events(index, values, strength, residual.shape)
    labels = np.zeros(residual.shape, int)
    labels.reshape(-1)[index] = numbers
    return table, labels


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_labels_agree_with_scipy(shape, share, seed):
    rng = np.random.default_rng(seed)
    residual = rng.choice([-2.0, 1.0, 3.0], shape) * (rng.uniform(size=shape) < share)
    table, labels = events_of(residual)
    np.testing.assert_array_equal(labels, label_by_frame_and_polarity(residual != 0, residual < 0))
    assert len(table) == labels.max()
    np.testing.assert_array_equal(table["pixels"], np.bincount(labels.ravel())[1:])
    for row in table:
        inside = labels == row["event"]
        np.testing.assert_allclose(row["total"], residual[inside].sum())


def test_measures_of_one_event():
    residual = np.zeros((3, 8, 9))
    residual[1, 2, 3], residual[1, 3, 4], residual[1, 4, 4] = 10, 30, 60
    significance = residual / np.where(residual == 60, 20, 5)
    table, _ = events_of(residual, significance)
    (row,) = table
    assert (row["event"], row["frame"], row["pixels"], row["polarity"]) == (1, 2, 3, "bright")
    np.testing.assert_allclose([row["y"], row["x"]], [(20 + 90 + 240) / 100, (30 + 120 + 240) / 100])
    # the peak is the most significant pixel, not the brightest
    assert (row["y_peak"], row["x_peak"], row["peak"], row["peak_significance"]) == (3, 4, 30, 6)
    assert row["total"] == 100


def test_where_one_pixel_is_has_no_fraction():
    residual = np.zeros((1, 3, 3000))
    residual[0, 1, 1::3] = np.random.default_rng(1).uniform(1, 99, 1000)
    table, _ = events_of(residual)
    assert len(table) == 1000
    for middle, peak in (("y", "y_peak"), ("x", "x_peak")):
        np.testing.assert_array_equal(table[middle], table[peak])
        assert table[peak].dtype.kind == "i"  # they can be used as indices


def test_dark_event():
    residual = np.zeros((2, 5, 5))
    residual[0, 1, 1], residual[0, 1, 2] = -5, -8
    (row,) = events_of(residual)[0]
    assert (row["polarity"], row["peak"], row["peak_significance"], row["total"]) == ("dark", -8, -8, -13)


@pytest.mark.parametrize(
    ("pixels", "count"),
    [
        ([(0, 1, 8), (0, 2, 0)], 2),  # the end of a row and the begin of the next are no neighbours
        ([(0, 4, 8), (1, 0, 0)], 2),  # nor are the last pixel of a frame and the first of the next
        ([(0, 2, 2), (1, 2, 2)], 2),  # nor the same pixel of two frames
        ([(0, 2, 2), (0, 3, 3)], 1),
        ([(0, 2, 2), (0, 3, 1)], 1),
        ([(0, 2, 2), (0, 2, 4)], 2),
    ],
)
def test_neighbours(pixels, count):
    residual = np.zeros((2, 5, 9))
    for pixel in pixels:
        residual[pixel] = 1
    assert len(events_of(residual)[0]) == count


def test_pixels_that_could_not_be_compared_are_events_too():
    table, numbers = find_events(np.array([4, 5]), np.array([np.nan, np.nan]), np.array([np.nan, np.nan]), (2, 3, 3))
    assert len(table) == 1
    assert numbers.tolist() == [1, 1]
    assert (table["y"][0], table["x"][0]) == (1.0, 1.5)
    assert table["total"][0] == 0


def test_nothing():
    table, numbers = find_events(np.zeros(0, int), np.zeros(0), np.zeros(0), (3, 4, 5))
    assert len(table) == numbers.size == 0
    assert {"event", "frame", "y", "x", "y_peak", "x_peak", "pixels", "total", "peak"} <= set(table.colnames)
