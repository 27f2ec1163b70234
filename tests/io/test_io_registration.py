import csv
import re

import numpy as np
import pytest

from glue_cleanset.core.imageset import ImageSet
from glue_cleanset.io.read import read_image_set
from glue_cleanset.io.registration import measure_shifts, median3, registration_warning

NY, NX = 200, 260


def star_field(shifts, seed=1, stars=60, brightness=150.0):
    """Stars on noise, hot pixels that stay where they are, cosmic rays of each frame's own."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:NY, :NX]
    positions = rng.uniform(-20, [NY + 20, NX + 20], (stars, 2))
    fluxes = brightness * (1 + rng.exponential(3, stars))
    frames = rng.normal(300, 6, (len(shifts), NY, NX))
    hot = rng.random((NY, NX)) < 3e-3
    for frame, (dy, dx) in zip(frames, shifts, strict=True):
        for (sy, sx), flux in zip(positions, fluxes, strict=True):
            frame += flux * np.exp(-((y - sy - dy) ** 2 + (x - sx - dx) ** 2) / (2 * 1.3**2))
        frame[hot] += 2000
        frame[rng.random((NY, NX)) < 1e-3] += 1000
    return frames.astype(np.float32)


def darks(seed, n=5):
    """Noise, hot pixels, and tracks, but no sky."""
    rng = np.random.default_rng(seed)
    frames = rng.normal(100, 5, (n, NY, NX))
    frames += 500 * (rng.random((NY, NX)) < 2e-3)
    for frame in frames:
        for _ in range(8):
            y, x, angle = rng.uniform([10, 10, 0], [NY - 30, NX - 30, np.pi / 2])
            for step in np.arange(0, rng.uniform(2, 15), 0.5):
                frame[int(y + step * np.sin(angle)), int(x + step * np.cos(angle))] += 600
                frame[int(y + step * np.sin(angle)) + 1, int(x + step * np.cos(angle))] += 400
    return frames


def flats(seed, n=4):
    """Vignetting, dust rings and pixel response that stay, a lamp whose gradient and level change."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : NY * 1j, -1 : 1 : NX * 1j]
    response = rng.normal(1, 0.01, (NY, NX)) * (1 - 0.1 * (x**2 + y**2) - 0.05 * (x**2 + y**2) ** 2)
    response[np.abs(np.hypot((y - 0.3) * NY / 2, (x + 0.2) * NX / 2) - 12) < 3] *= 0.97
    level = [20000 * (1 + 0.1 * k) * (1 + 0.02 * k * x) for k in range(n)]
    return np.array([rng.normal(response * e, np.sqrt(e / 1.5)) for e in level])


def test_known_shifts():
    truth = np.array([(0, 0), (0.7, -0.3), (2.2, 5.1), (-10.4, 3.4), (0, 17.8)])
    table = measure_shifts(star_field(truth), reference=0)
    assert table.meta["reference"] == 0
    np.testing.assert_allclose(np.column_stack([table["dy"], table["dx"]]), truth, atol=0.15)
    assert (table["match"] > 0.3).all()


def test_reference_is_the_middle_frame():
    table = measure_shifts(star_field([(0, 0), (1, 0), (0, 2)]))
    assert table.meta["reference"] == 1
    np.testing.assert_allclose(table["dy"], [-1, 0, -1], atol=0.15)
    np.testing.assert_allclose(table["dx"], [0, 0, 2], atol=0.15)


@pytest.mark.parametrize("stars", [15, 60, 300])
def test_another_field_is_not_matched(stars):
    frames = np.concatenate([star_field([(0, 0)] * 2, stars=stars), star_field([(0, 0)], seed=9, stars=stars)])
    table = measure_shifts(frames, reference=0)
    assert np.isfinite(table["dy"]).tolist() == [True, True, False]


def test_a_middle_frame_of_another_field_is_not_the_reference():
    frames = star_field([(0, 0)] * 5)
    frames[2] = star_field([(0, 0)], seed=9)[0]
    table = measure_shifts(frames)
    assert table.meta["reference"] == 0
    assert np.flatnonzero(np.isnan(table["dy"])).tolist() == [2]
    warning = registration_warning(ImageSet(frames, names=list("abcde")))
    assert "c: shows nothing in common with a" in warning
    assert "off" not in warning


def test_permuted_frames_give_permuted_shifts():
    frames = star_field([(0, 0), (1.5, 0), (0, -2.5), (4, 4)])
    order = [3, 1, 0, 2]
    there = measure_shifts(frames, reference=1)
    back = measure_shifts(frames[order], reference=1)
    np.testing.assert_allclose(back["dx"], there["dx"][order])
    np.testing.assert_allclose(back["dy"], there["dy"][order])


def test_masked_and_missing_pixels_do_not_matter():
    truth = np.array([(0, 0), (3, -2), (0, 1)])
    frames = star_field(truth)
    mask = np.zeros(frames.shape, bool)
    frames[:, 50:60] = 1e6  # a bad strip of the detector, which does not move
    mask[:, 50:60] = True
    frames[:, :, 100:104] = np.nan
    table = measure_shifts(ImageSet(frames, mask=mask), reference=0)
    np.testing.assert_allclose(np.column_stack([table["dy"], table["dx"]]), truth, atol=0.15)


def test_warning_names_the_frame_that_is_off():
    frames = ImageSet(star_field([(0, 0), (0.2, 0.1), (0, 0), (0, 1.4), (0, -0.2)]), names=list("abcde"))
    warning = registration_warning(frames)
    assert "1 of 5 frames are more than 0.5 px off" in warning
    assert "d (dy +0.0" in warning or "d (dy -0.0" in warning
    assert "a (" not in warning


def test_reference_that_is_off_itself_is_the_one_named():
    frames = ImageSet(star_field([(0, 0), (0, 0), (0, 2), (0, 0), (0, 0)]), names=list("abcde"))
    warning = registration_warning(frames)
    assert "1 of 5" in warning
    assert "c (dy" in warning
    assert "against c" not in warning


def test_two_frames():
    assert "b (dy" not in registration_warning(ImageSet(star_field([(0, 0), (0, 0.3)]), names=["a", "b"]))
    warning = registration_warning(ImageSet(star_field([(0, 0), (0, 0.8)]), names=["a", "b"]))
    assert "shifts against b: a (dy" in warning


def test_whole_pixel_registration_is_registration():
    rng = np.random.default_rng(2)
    assert registration_warning(star_field(rng.uniform(-0.45, 0.45, (7, 2)))) == ""


@pytest.mark.parametrize("make", [darks, flats, lambda seed: np.random.default_rng(seed).normal(100, 5, (5, NY, NX))])
@pytest.mark.parametrize("seed", range(2))
def test_no_warning_without_sky(make, seed):
    assert registration_warning(make(seed)) == ""


@pytest.mark.parametrize("shape", [(3, 10, 11), (3, 1, 500), (2, 30, 30)])
def test_small_frames_do_not_warn(shape):
    assert registration_warning(np.random.default_rng(1).normal(100, 5, shape)) == ""


def test_integers_and_byte_order():
    frames = star_field([(0, 0), (2, 3)])
    expected = measure_shifts(np.round(frames))
    for dtype in (">i2", "u2", ">f4", "f8"):
        table = measure_shifts(np.round(frames).astype(dtype))
        np.testing.assert_allclose(table["dx"], expected["dx"])


def test_unknown_reference():
    with pytest.raises(ValueError, match="reference is 7; the set has the frames 0 to 2"):
        measure_shifts(np.random.default_rng(1).normal(size=(3, 30, 30)), reference=7)


@pytest.mark.parametrize("frames", [star_field([(0, 0)] * 4), np.random.default_rng(3).normal(100, 5, (4, 60, 60))])
def test_progress_goes_from_nothing_to_all(frames):
    calls = []
    measure_shifts(frames, progress=lambda done, total: calls.append((done, total)))
    done, totals = zip(*calls, strict=True)
    assert set(totals) == {8}  # one pass of the frames, and another where the middle one does not serve
    assert done[0] == 0
    assert done[-1] == 8
    assert list(done) == sorted(set(done))


@pytest.mark.parametrize("stop", [0, 2, 6])  # at once, in the first pass, in the second
def test_progress_can_cancel(stop):
    from glue_cleanset.core.clean import CleanCancelled

    frames = np.random.default_rng(3).normal(100, 5, (4, 60, 60))
    calls = []

    def progress(done, total):
        calls.append(done)
        return done < stop

    with pytest.raises(CleanCancelled):
        registration_warning(frames, progress=progress)
    # (which frames are counted together depends on the threads)
    assert calls == sorted(set(calls))
    assert calls[-1] >= stop
    assert all(done < stop for done in calls[:-1])

    def fail(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        registration_warning(frames, progress=fail)


def test_the_fast_median_is_the_median():
    from scipy.ndimage import median_filter

    image = np.random.default_rng(5).normal(size=(131, 70)).astype(np.float32)
    np.testing.assert_array_equal(median3(image), median_filter(image, 3, mode="nearest"))


def test_large_shifts_between_pixels():
    truth = np.array([(0, 0), (-60.25, 80.5), (33.5, -90.75)])
    table = measure_shifts(star_field(truth, stars=400), reference=0)
    np.testing.assert_allclose(np.column_stack([table["dy"], table["dx"]]), truth, atol=0.1)


# --- real sets --------------------------------------------------------------------------------------------------------


def test_raw_frames_of_a_drifting_field(shared):
    with open(shared / "microobs_hatp32" / "frames.csv") as file:
        truth = list(csv.DictReader(file))
    frames = read_image_set(shared / "microobs_hatp32" / "raw")
    table = measure_shifts(frames)
    np.testing.assert_allclose(table["dy"], [float(row["dy_px"]) for row in truth], atol=0.1)
    np.testing.assert_allclose(table["dx"], [float(row["dx_px"]) for row in truth], atol=0.1)
    warning = registration_warning(frames)
    assert "19 of 20 frames" in warning
    assert re.search(r"HATP-32171220044812 \(dy \+4\.[67]\d, dx -24\.[234]\d px\)", warning)


@pytest.mark.parametrize("name", ["microobs_hatp32/aligned", "flats_st402_150s_weak", "hst_stis_ngc1068_crsplit"])
def test_real_sets_that_are_registered(shared, name):
    assert registration_warning(read_image_set(shared / name)) == ""


def test_the_rotating_sun_is_not_far_off(shared):
    table = measure_shifts(read_image_set(shared / "soho_eit195_20040301"))
    assert np.abs(table["dy"]).max() < 0.5
    assert np.abs(table["dx"]).max() < 2  # what its features move at most in the six hours to the middle frame
