import csv
import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from fits_files import make_result

from glue_cleanset import CleanSettings, ImageSet, clean_image_set
from glue_cleanset.core import simulate
from glue_cleanset.core.clean import CleanCancelled
from glue_cleanset.io.align import align_by_stars, align_by_wcs, describe_alignment, noise_after_alignment
from glue_cleanset.io.read import read_image_set
from glue_cleanset.io.registration import measure_shifts
from glue_cleanset.io.stars import find_stars
from glue_cleanset.io.write import write_result

SHAPE = (240, 280)
GAIN, READNOISE, SKY = 1.5, 6.0, 200.0
# dy, dx, angle [deg] of each frame: place in the frame = turned about the middle + (dy, dx)
MOVES = [(0, 0, 0), (3.3, -5.6, 0.4), (-7.5, 2.5, -0.5), (0.45, 6.2, 0.1)]


def mapping(move, shape=SHAPE):
    """matrix, offset: y, x in the frame = matrix @ (y, x in the first) + offset."""
    angle = np.radians(move[2])
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    middle = (np.array(shape) - 1) / 2
    return matrix, middle + move[:2] - matrix @ middle


def draw_stars(number, seed=0, shape=SHAPE):
    rng = np.random.default_rng(seed)
    places = rng.uniform(-20, np.array(shape) + 20, (number, 2))
    return np.column_stack([places, rng.uniform(2000, 40000, number)])


def scene(stars, move, shape=SHAPE, fwhm=3.0):
    image = np.full(shape, SKY)
    matrix, offset = mapping(move, shape)
    simulate._add_stars(image, stars[:, :2] @ matrix.T + offset, stars[:, 2], fwhm, 0.0)
    return image


def noisy(image, rng):
    return rng.poisson(image * GAIN) / GAIN + rng.normal(0, READNOISE / GAIN, image.shape)


def header_of(move, shape=SHAPE):
    """The WCS of a frame, made from its move by hand: x first, pixels from 1."""
    matrix, offset = mapping(move, shape)
    middle = (np.array(shape) - 1) / 2
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 50, 20
    wcs.wcs.crpix = (matrix @ middle + offset)[::-1] + 1
    wcs.wcs.cd = np.diag([-1, 1]) / 3600 @ np.linalg.inv(matrix)[::-1, ::-1]
    return wcs.to_header()


def write_set(folder, frames, headers=None, masks=None):
    folder.mkdir(exist_ok=True)
    for i, frame in enumerate(frames):
        hdus = fits.HDUList([fits.PrimaryHDU(frame, headers[i] if headers else None)])
        if masks is not None:
            hdus.append(fits.ImageHDU(masks[i], name="DQ"))
        hdus.writeto(folder / f"f{i}.fits")
    return read_image_set(folder)


@pytest.fixture(scope="module")
def stars():
    return draw_stars(60)


@pytest.fixture
def turned(tmp_path, stars):
    """Four frames without noise, shifted and turned, with their WCS."""
    frames = [scene(stars, move).astype(np.float32) for move in MOVES]
    return write_set(tmp_path / "turned", frames, [header_of(move) for move in MOVES])


def align(by, *args, **kwargs):
    if by == "wcs" and not kwargs.get("whole_pixels"):
        pytest.importorskip("reproject")
    return {"wcs": align_by_wcs, "stars": align_by_stars}[by](*args, **kwargs)


# --- where the frames are --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("by", "error"), [("wcs", 1e-3), ("stars", 0.1)])
def test_frames_come_to_lie_on_the_first(turned, by, error):
    before = turned.frames.copy()
    aligned = align(by, turned)
    np.testing.assert_array_equal(turned.frames, before)
    np.testing.assert_array_equal(aligned.frames[0], before[0])
    for i, (dy, dx, angle) in enumerate(MOVES):
        row = aligned.alignment[i]
        assert (row["dy"], row["dx"]) == pytest.approx((-dy, -dx), abs=error)
        assert row["rotation"] == pytest.approx(angle, abs=error / 2)
        good = np.isfinite(aligned.frames[i])
        assert 0.9 < good.mean() <= 1
        assert good[20:-20, 20:-20].all()
        difference = np.abs(aligned.frames[i] - before[0])[good]
        assert np.percentile(difference, 99.5) < 0.01 * before[0].max()
    assert aligned.alignment.meta["by"] == by
    assert "largest shift dy +7.50, dx -2.50 px (f2), largest rotation 0.500 deg" in describe_alignment(
        align("wcs", turned).alignment
    )


def test_outside_of_its_field_a_frame_is_nan(turned):
    aligned = align_by_wcs(turned, whole_pixels=True)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for i, move in enumerate(MOVES):
        matrix, offset = mapping(move)
        there = np.einsum("ij,j...->i...", matrix, np.array([y, x])) + offset[:, None, None]
        sizes = np.array(SHAPE)[:, None, None]
        clearly_in = ((there > 1) & (there < sizes - 2)).all(axis=0)
        clearly_out = ((there < -2) | (there > sizes + 1)).any(axis=0)
        assert np.isfinite(aligned.frames[i][clearly_in]).all()
        assert np.isnan(aligned.frames[i][clearly_out]).all()
    assert aligned.alignment.meta["common"] == pytest.approx(np.isfinite(aligned.frames).all(axis=0).mean())


@pytest.mark.parametrize("angle", [180.0, 90.0, 33.0])
def test_stars_of_a_frame_that_is_turned_round(angle):
    shape = (260, 260)
    stars = draw_stars(80, 3, shape)
    rng = np.random.default_rng(1)
    move = (4.0, -9.0, angle)
    image_set = ImageSet([noisy(scene(stars, m, shape), rng) for m in ((0, 0, 0), move)])
    aligned = align_by_stars(image_set)
    good = np.isfinite(aligned.frames[1])
    assert good.mean() > 0.7
    table = measure_shifts(np.where(np.isfinite(aligned.frames), aligned.frames, SKY))
    assert np.hypot(table["dy"], table["dx"]).max() < 0.1
    assert aligned.shifts[1] == pytest.approx([np.nan, np.nan], nan_ok=True)


@pytest.mark.parametrize("angle", [1.0, -0.8])
def test_few_stars_tell_a_rotation(angle):
    rng = np.random.default_rng(3)
    stars = np.array([(40, 50, 9e3), (60, 210, 2e4), (190, 70, 7e3), (170, 200, 3e4)])
    frames = [noisy(scene(stars, move), rng) for move in ((0, 0, 0), (6.0, -3.0, angle))]
    aligned = align_by_stars(ImageSet(frames)).frames
    table = measure_shifts(np.where(np.isfinite(aligned), aligned, SKY))
    assert np.hypot(table["dy"], table["dx"]).max() < 0.2
    difference = np.abs(aligned[1] - frames[0])[30:-30, 30:-30]
    assert difference.max() < 0.15 * frames[0].max()


def test_a_shift_that_the_stars_contradict_is_not_believed():
    """Few stars, and few others: the light of some of them overlaps at one shift or another."""
    rng = np.random.default_rng(5)
    frames = [noisy(scene(draw_stars(4, seed), (0, 0, 0)), rng) for seed in (7, 8)]
    assert np.isfinite(measure_shifts(frames, reference=0)["dy"]).all()
    with pytest.raises(ValueError, match="frame 2: no stars in common with frame 1"):
        align_by_stars(ImageSet(frames))


def test_another_reference(turned, stars):
    aligned = align_by_wcs(turned, reference=2, whole_pixels=True)
    np.testing.assert_array_equal(aligned.frames[2], turned.frames[2])
    for header in aligned.headers:
        assert header["CRPIX1"] == turned.headers[2]["CRPIX1"]
    x, y = WCS(turned.headers[0]).all_pix2world(100, 90, 0)
    np.testing.assert_allclose(
        aligned.wcs.all_world2pix(x, y, 0), WCS(turned.headers[2]).all_world2pix(x, y, 0), atol=1e-6
    )
    by_stars = align_by_stars(turned, reference=2)
    assert by_stars.wcs.wcs.crpix[0] == turned.headers[2]["CRPIX1"]
    with pytest.raises(ValueError, match=r"reference is 4; the set has the frames 0 to 3"):
        align_by_stars(turned, reference=4)


@pytest.mark.parametrize("number", [2, 12])
def test_hot_pixels_do_not_mislead(number):
    """They stay where they are, and are brighter and more than the stars."""
    rng = np.random.default_rng(number)
    stars = draw_stars(number, 5)
    stars[:, :2] = np.clip(stars[:, :2], 40, np.array(SHAPE) - 40)
    hot = np.where(rng.uniform(size=SHAPE) < 0.003, 20000, 0)
    frames = [noisy(scene(stars, move), rng) + hot for move in ((0, 0, 0), (6.4, -11.3, 0), (-3.2, 8.5, 0))]
    aligned = align_by_stars(ImageSet(frames))
    np.testing.assert_allclose(aligned.shifts, [(0, 0), (-6.4, 11.3), (3.2, -8.5)], atol=0.3)
    assert len(find_stars(ImageSet(frames), 0)) <= number + 2


def test_real_stars(shared):
    folder = shared / "microobs_hatp32"
    with open(folder / "frames.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    known = np.array([(float(row["dy_px"]), float(row["dx_px"])) for row in rows])
    raw, registered = read_image_set(folder / "raw"), read_image_set(folder / "aligned")
    aligned = align_by_stars(raw, reference=10, whole_pixels=True)
    fractions = align_by_stars(raw, reference=10).alignment
    np.testing.assert_allclose(np.column_stack([fractions["dy"], fractions["dx"]]), -known, atol=0.3)
    np.testing.assert_allclose(fractions["rotation"], [float(row["rot_deg"]) for row in rows], atol=0.03)
    np.testing.assert_allclose(aligned.shifts, -np.rint(known), atol=1)  # where the shift is nearly half a pixel
    # where the frames of aligned/ were cut out: the same pixels, so that there are no more false alarms
    np.testing.assert_array_equal(aligned.frames[:, 18 : 18 + 477, 24 : 24 + 603], registered.frames)


# --- the noise -------------------------------------------------------------------------------------------------------


def false_alarms(frames, deposits):
    rejected = clean_image_set(frames, CleanSettings(kinds=False)).rejected
    clean = np.isfinite(frames) & (np.abs(deposits) < 0.2 * np.sqrt(SKY / GAIN + (READNOISE / GAIN) ** 2))
    return (rejected & clean).sum() / clean.sum()


@pytest.mark.parametrize("by", ["wcs", "stars"])
def test_no_more_false_alarms_than_in_a_registered_set(tmp_path, by):
    shape = (400, 400)
    rng = np.random.default_rng(7)
    stars = draw_stars(150, 11, shape)
    moves = [(0, 0, 0), *zip(*rng.uniform(-10, 10, (2, 7)), rng.uniform(-0.5, 0.5, 7), strict=True)]
    registered, frames, deposits = [], [], []
    for move in moves:
        deposit = np.zeros(shape)
        simulate._add_hits(rng, deposit, 0.003, GAIN, None)
        deposits.append(deposit)
        registered.append(noisy(scene(stars, moves[0], shape), rng) + deposit)
        frames.append(noisy(scene(stars, move, shape), rng) + deposit)
    headers = [header_of(move, shape) for move in moves]
    image_set = write_set(tmp_path / "frames", np.float32(frames), headers)
    aligned = align(by, image_set)
    # what was added is moved by the very same mapping
    added = align("wcs", write_set(tmp_path / "added", np.float32(deposits), headers)).frames
    ours = false_alarms(aligned.frames, added)
    assert ours <= 1.5 * false_alarms(np.float32(registered), np.float32(deposits))


@pytest.mark.parametrize("by", ["wcs", "stars"])
def test_the_noise_of_interpolated_frames_is_told(tmp_path, by):
    rng = np.random.default_rng(2)
    stars = draw_stars(40, 2)
    moves = [(0, 0, 0), (4.5, -3.5, 0), (2.0, 5.25, 0)]
    frames = np.float32([scene(stars, move) for move in moves])
    noise = np.float32(rng.normal(0, 2, frames.shape))
    headers = [header_of(move) for move in moves]
    aligned = [align(by, write_set(tmp_path / name, f, headers)) for name, f in (("a", frames), ("b", frames + noise))]
    difference = aligned[1].frames - aligned[0].frames
    for i in range(3):
        assert np.nanvar(difference[i][30:-30, 30:-30]) / 4 == pytest.approx(aligned[0].alignment["noise"][i], rel=0.06)
    gain, readnoise = noise_after_alignment(aligned[0], 1.5, [6, 6, 6])
    factor = np.array(aligned[0].alignment["noise"])
    assert factor[0] == 1
    assert factor[1] < 0.7
    # the same variance at any level
    level = np.array([[100.0], [3000.0]])
    np.testing.assert_allclose(
        level / gain + (readnoise / gain) ** 2, factor * (level / 1.5 + (6 / 1.5) ** 2), rtol=1e-12
    )
    assert noise_after_alignment(aligned[0], None, None) == (None, None)
    assert noise_after_alignment(ImageSet(frames), 2.0, None) == (2.0, None)


# --- whole pixels, masks ---------------------------------------------------------------------------------------------


def test_whole_pixels_change_no_value(tmp_path, stars):
    rng = np.random.default_rng(3)
    moves = [(0, 0, 0), (4.4, -7.2, 0.02), (-2.6, 3.1, 0)]
    frames = [np.round(noisy(scene(stars, move), rng)).astype(np.uint16) for move in moves]
    image_set = write_set(tmp_path / "set", frames)
    aligned = align_by_stars(image_set, whole_pixels=True)
    assert aligned.frames.dtype == np.float32
    assert aligned.mask is None
    np.testing.assert_array_equal(aligned.shifts, [(0, 0), (-4, 7), (3, -3)])
    assert aligned.shifts_source == "alignment"
    np.testing.assert_array_equal(aligned.alignment["noise"], 1)
    np.testing.assert_array_equal(aligned.frames[1][:-4, 7:], frames[1][4:, :-7])
    assert np.isnan(aligned.frames[1][-4:]).all()
    assert np.isnan(aligned.frames[1][:, :7]).all()
    np.testing.assert_array_equal(aligned.frames[2][3:, :-3], frames[2][:-3, 3:])


def test_what_lies_on_whole_pixels_is_not_interpolated(tmp_path, stars):
    frames = np.float32([scene(stars, move) for move in ((0, 0, 0), (4, -7, 0), (0, 0, 0))])
    headers = [header_of(move) for move in ((0, 0, 0), (4, -7, 0), (0, 0, 0))]
    aligned = align("wcs", write_set(tmp_path / "set", frames, headers))
    np.testing.assert_array_equal(aligned.frames[1][:-4, 7:], frames[1][4:, :-7])
    np.testing.assert_array_equal(aligned.frames[2], frames[2])
    np.testing.assert_array_equal(aligned.alignment["noise"], 1)


def test_shifts_before_are_added(tmp_path, stars):
    frames = np.float32([scene(stars, move) for move in ((0, 0, 0), (2, 5, 0))])
    headers = [fits.Header({"LTV1": 10.0 * i, "LTV2": -3.0}) for i in range(2)]
    aligned = align_by_stars(write_set(tmp_path / "set", frames, headers), whole_pixels=True)
    np.testing.assert_array_equal(aligned.shifts, [(-3, 0), (-5, 5)])
    assert [(header["LTV2"], header["LTV1"]) for header in aligned.headers] == [(-3, 0), (-5, 5)]


@pytest.mark.parametrize("whole", [True, False])
def test_masks_come_along(tmp_path, stars, whole):
    moves = [(0, 0, 0), (3.4, -5.4, 0)]
    frames = np.float32([scene(stars, move) for move in moves])
    clean = align_by_stars(write_set(tmp_path / "clean", frames), whole_pixels=whole)
    quality = np.zeros(frames.shape, np.int16)
    quality[1, 100, 120] = 4  # on empty sky
    quality[1, 50:60, 60:70] = 64
    frames[1, 100, 120] = np.nan
    frames[1, 50:60, 60:70] = 60000
    image_set = write_set(tmp_path / "set", frames, masks=quality)
    aligned = align_by_stars(image_set, whole_pixels=whole)
    np.testing.assert_array_equal(aligned.mask, aligned.dq != 0)
    assert aligned.dq.dtype == np.int16
    assert not aligned.mask[0].any()
    y, x = np.nonzero(aligned.dq[1] == 4)
    assert np.hypot(y - (100 - 3.4), x - (120 + 5.4)).max() < 2.2
    assert y.size == 1 if whole else y.size >= 4
    assert (aligned.dq[1, 48:56, 66:74] == 64).all()
    assert np.count_nonzero(aligned.dq[1] == 64) <= 13**2
    if not whole:
        assert np.isnan(aligned.frames[1][aligned.mask[1]]).all()
        # a bad pixel does not reach beyond what is masked
        here = np.isfinite(aligned.frames[1]) & np.isfinite(clean.frames[1])
        difference = np.abs(aligned.frames[1] - clean.frames[1])[here]
        assert difference.max() < 0.02 * 60000
        assert difference[np.hypot(*(np.argwhere(here) - (96.6, 125.4)).T) < 15].max() < 1


# --- what is written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["wcs", "stars"])
def test_headers_tell(tmp_path, turned, by):
    aligned = align(by, turned)
    write_result(make_result(aligned), aligned, tmp_path / "out")
    written = [fits.getheader(tmp_path / "out" / f"f{i}_crclean.fits") for i in range(4)]
    sky = WCS(turned.headers[0]).all_pix2world([[3, 4], [200, 100]], 0)
    for i, header in enumerate(written):
        np.testing.assert_allclose(WCS(header).all_world2pix(sky, 0), [[3, 4], [200, 100]], atol=1e-6)
        history = "".join(str(line) for line in header["HISTORY"])
        assert f"aligned by {by} to f0" in history
        # the detector's pixels, counted from 1: image = LTM * physical + LTV
        scale = np.array([[header.get(f"LTM{k}_{j}", float(k == j)) for j in (1, 2)] for k in (1, 2)])
        matrix, offset = mapping(MOVES[i])
        x, y = scale @ ((matrix @ [60, 70] + offset)[::-1] + 1) + [header["LTV1"], header["LTV2"]] - 1
        assert (y, x) == pytest.approx((60, 70), abs=0.5)


def test_the_map_tells_of_the_alignment(tmp_path, turned):
    aligned = align_by_wcs(turned, whole_pixels=True)
    write_result(make_result(aligned), aligned, tmp_path / "out")
    history = "".join(str(line) for line in fits.getheader(tmp_path / "out" / "rejection_map.fits")["HISTORY"])
    assert describe_alignment(aligned.alignment) in history


def test_shifts_are_read_back(tmp_path, stars):
    frames = np.float32([scene(stars, move) for move in ((0, 0, 0), (2.4, 5.3, 0), (-4, 1, 0))])
    aligned = align_by_stars(write_set(tmp_path / "set", frames), whole_pixels=True)
    write_result(make_result(aligned), aligned, tmp_path / "out")
    again = read_image_set(tmp_path / "out")
    np.testing.assert_array_equal(again.shifts, aligned.shifts)


# --- what cannot be done ---------------------------------------------------------------------------------------------


def test_frames_without_wcs_are_named(tmp_path, stars):
    frames = np.float32([scene(stars, move) for move in MOVES])
    headers = [header_of(MOVES[0]), None, header_of(MOVES[2]), None]
    image_set = write_set(tmp_path / "set", frames, headers)
    with pytest.raises(ValueError, match=r"no celestial WCS in the header of f1, f3; align by stars"):
        align_by_wcs(image_set, whole_pixels=True)
    with pytest.raises(TypeError, match="image_set is a ImageSet; a set of FITS files is needed"):
        align_by_wcs(ImageSet(frames))


def test_frames_of_another_field_are_named(tmp_path, stars):
    elsewhere = [header_of(move) for move in MOVES]
    elsewhere[1]["CRVAL2"] += 1
    elsewhere[3]["CRVAL1"] += 180
    frames = np.float32([scene(stars, move) for move in MOVES])
    image_set = write_set(tmp_path / "set", frames, elsewhere)
    with pytest.raises(ValueError, match=r"f1, f3: no part of the field of f0 by the WCS"):
        align_by_wcs(image_set, whole_pixels=True)
    rng = np.random.default_rng(4)
    frames = [noisy(scene(field, MOVES[0]), rng) for field in (stars, draw_stars(60, 9), stars, draw_stars(0))]
    with pytest.raises(ValueError, match=r"frame 2, frame 4: no stars in common with frame 1; leave out"):
        align_by_stars(ImageSet(frames))


def test_reproject_is_asked_for(turned, monkeypatch):
    monkeypatch.setitem(sys.modules, "reproject", None)
    with pytest.raises(ImportError, match=r"needs reproject, pip install 'glue-cleanset\[align\]'"):
        align_by_wcs(turned)
    assert align_by_wcs(turned, whole_pixels=True).shape == turned.shape


@pytest.mark.parametrize("align_by", [align_by_wcs, align_by_stars])
def test_progress_and_cancel(turned, align_by):
    seen = []
    align_by(turned, whole_pixels=True, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 8)
    assert seen[-1] == (8, 8)
    with pytest.raises(CleanCancelled):
        align_by(turned, whole_pixels=True, progress=lambda done, total: done < 5)
