"""Real image sets, where they are present beside the checkout."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from core_oracles import assert_same_bits
from scipy import ndimage

from glue_cleanset.core.clean import clean_image_set
from glue_cleanset.core.imageset import ImageSet
from glue_cleanset.core.settings import CleanSettings

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def read(*parts):
    """All FITS files of a folder, sorted, as a cube; the test is skipped where the folder is missing."""
    folder = DATA.joinpath(*parts)
    if not folder.is_dir():
        pytest.skip(f"{'/'.join(parts)} is not here")
    return np.stack([fits.getdata(path) for path in files(folder)])


def files(folder):
    return sorted(path for path in folder.iterdir() if ".fit" in path.name.lower())


def many_pixels_lost(result):
    return [text for text in result.warnings if "pixels were rejected" in text]


# --- MicroObservatory: hot pixels that walk, 1 ADU of noise, a bad last frame -------------------------------------


@pytest.fixture(scope="module")
def microobs():
    frames = read("microobs_hatp32", "aligned")
    truth = DATA / "microobs_hatp32" / "truth"
    names = [path.name for path in files(DATA / "microobs_hatp32" / "aligned")]
    hot = np.stack([fits.getdata(truth / f"aligned_hotmap_{name}.gz") for name in names])
    return frames, hot, clean_image_set(ImageSet(frames, names=names))


def test_microobs_hot_pixels_are_rejected(microobs):
    _, hot, result = microobs
    share = [result.rejected[i][hot[i] == 2].mean() for i in range(len(hot))]
    assert len(share) == 20
    assert min(share) > 0.85
    assert result.rejected[hot == 3].mean() > 0.8


def test_microobs_little_else_is_rejected(microobs):
    _, hot, result = microobs
    percent = 100 * result.rejected.mean(axis=(1, 2))
    assert percent[:-1].max() <= 1.0
    assert 100 * (result.rejected & (hot == 0)).mean(axis=(1, 2))[:-1].max() < 0.3
    assert percent[-1] > 1.1 * np.median(percent[:-1])


def test_microobs_bad_frame_is_reported_and_no_other(microobs):
    *_, result = microobs
    text = " ".join(result.warnings)
    *fine, bad = result.summary["name"]
    assert bad in text
    assert not any(name in text for name in fine)


def test_microobs_unrejected_pixels_are_the_input(microobs):
    frames, _, result = microobs
    assert_same_bits(result.cleaned[~result.rejected], frames[~result.rejected].astype("f4"))


def test_microobs_repaired_pixels_look_like_their_sky(microobs):
    frames, hot, result = microobs
    strong = result.rejected & (hot == 2)
    smooth = ndimage.median_filter(result.reference, 5)
    before = np.abs(frames - smooth)[strong]
    after = np.abs(result.cleaned - smooth)[strong]
    assert np.median(before) > 10
    assert np.median(after) < 2


# --- STIS: two frames, heavily hit, a spectrum with emission lines ------------------------------------------------


@pytest.fixture(scope="module", params=["fitted", "given"])
def stis(request):
    frames = read("hst_stis_ngc1068_crsplit")
    noise = {"gain": 1.0, "readnoise": 3.735} if request.param == "given" else {}
    return frames, clean_image_set(frames, **noise)


def test_stis_share_of_rejected_pixels(stis):
    _, result = stis
    percent = 100 * result.rejected.mean(axis=(1, 2))
    assert (percent > 4).all()
    assert (percent < 12).all()
    assert 4 < 100 * result.rejected.any(axis=0).mean() < 12
    assert len(many_pixels_lost(result)) == 1


def test_stis_emission_lines_stay(stis):
    frames, result = stis
    # a hit is in one frame; what is in both, and wide, is light of the galaxy
    low = frames.min(axis=0).astype(float)
    light = ndimage.median_filter(low, 5) - np.median(low)
    lines = light > 300
    assert lines.sum() > 2000
    elsewhere = result.rejected[:, light < 10].mean()
    for rejected in result.rejected:
        # the lines are hit as often as the sky, at most
        assert rejected[lines].mean() < min(elsewhere, 0.04)
    # no line is eaten as a whole: the largest piece lost of its bright core is that of a track
    bright = light > 1500
    pieces, count = ndimage.label(result.rejected.any(axis=0) & bright)
    assert bright.sum() > 200
    assert count == 0 or np.bincount(pieces.ravel())[1:].max() < 0.1 * bright.sum()


def test_stis_hits_are_gone(stis):
    frames, result = stis
    scales, offsets = result.scales[:, None, None], result.offsets[:, None, None]
    before, after = (np.abs(np.diff((cube - offsets) / scales, axis=0)) for cube in (frames, result.cleaned))
    sky = ndimage.median_filter(frames.min(axis=0), 5) < np.median(frames) + 20
    assert (before[0][sky] > 100).sum() > 10000
    # what is hit in both frames cannot be told from light: a twentieth
    assert (after[0][sky] > 100).sum() < 0.1 * (before[0][sky] > 100).sum()


# --- weakly lit flats --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def flats():
    frames = read("flats_st402_150s_weak")
    truth = read("flats_st402_150s_weak", "truth") > 0
    return frames, truth, clean_image_set(frames)


def test_flats_hits_are_found(flats):
    _, truth, result = flats
    assert truth.sum() == 128
    assert result.rejected[truth].mean() > 0.95
    for frame, rejected in zip(truth, result.rejected, strict=True):
        labels, count = ndimage.label(frame, np.ones((3, 3)))
        assert set(range(1, count + 1)) <= set(labels[rejected])


def test_flats_little_else_is_rejected(flats):
    _, truth, result = flats
    assert (result.rejected & ~truth).mean() < 4e-4
    assert not many_pixels_lost(result)


def test_flats_fixed_hot_pixels_stay(flats):
    frames, truth, result = flats
    # the reference, not a frame, shows what is there in all of them
    median = np.median(frames, axis=0)
    sharp = median - ndimage.median_filter(median, 5)
    hot = sharp > 4 * 1.4826 * np.median(np.abs(sharp))
    assert hot.sum() > 20
    assert (result.rejected & ~truth)[:, hot].mean() < 0.01


@pytest.mark.parametrize("normalize", ["scale", "offset", "both"])
def test_flats_with_any_normalisation(flats, normalize):
    frames, truth, _ = flats
    result = clean_image_set(frames, CleanSettings(normalize=normalize))
    assert result.rejected[truth].mean() > 0.95
    assert (result.rejected & ~truth).mean() < 6e-4


# --- SOHO: the Sun turns ------------------------------------------------------------------------------------------


def test_soho_rotation_is_not_rejected_as_hits():
    frames = read("soho_eit195_20040301")
    result = clean_image_set(frames)
    missing = frames[0] == 0
    assert missing.sum() == 16
    assert result.rejected[0][missing].all()
    percent = 100 * result.rejected.mean(axis=(1, 2))
    # a plain 6 sigma cut rejects up to 1 %
    assert percent.max() < 1.5
    assert np.median(percent) < 0.6
    # the end of the set differs most, and that is said
    assert result.warnings


# --- Kepler: 99 tiny frames with the mission's own cosmic rays ----------------------------------------------------


def test_kepler_tiny_frames():
    folder = DATA / "kepler_kic8462852_q8"
    if not folder.is_dir():
        pytest.skip("kepler_kic8462852_q8 is not here")
    frames = fits.getdata(folder / "with_cr.fits")
    error = fits.getdata(folder / "flux_err.fits")
    cosmic = np.nan_to_num(fits.getdata(folder / "truth" / "cosmic_rays.fits"))
    hits = cosmic > 10 * error
    assert frames.shape == (99, 10, 11)
    assert hits.sum() == 16
    result = clean_image_set(frames)
    assert result.rejected[hits].mean() > 0.6
    assert (result.rejected & (cosmic == 0)).mean() < 0.02
    assert_same_bits(result.cleaned[~result.rejected], frames.astype("f4")[~result.rejected])


def test_kepler_missing_frame():
    path = DATA / "kepler_kic8462852_q8" / "with_cr.fits"
    if not path.is_file():
        pytest.skip("kepler_kic8462852_q8 is not here")
    frames = fits.getdata(path).copy()
    frames[17] = np.nan
    with pytest.raises(ValueError, match="frame 18 has no finite unmasked pixel"):
        clean_image_set(frames)
