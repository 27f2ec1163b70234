import numpy as np
import pytest
from core_oracles import noise_frames

from glue_cleanset.core.clean import clean_image_set
from glue_cleanset.core.imageset import ImageSet

FRAMES = noise_frames(3, (6, 8))


def bad_frame(value):
    frames = FRAMES.copy()
    frames[1] = value
    return frames


# what is wrong -> (frames, keywords, error, text of the message)
BAD = {
    "one frame": (FRAMES[:1], {}, ValueError, "1 frame; one frame cannot be compared with itself"),
    "one 2-D frame": (FRAMES[0], {}, ValueError, r"shape \(6, 8\); one frame cannot be compared with itself"),
    "a spectrum": (FRAMES[0, 0], {}, ValueError, r"shape \(8,\)"),
    "4-D": (FRAMES[None], {}, ValueError, r"shape \(1, 3, 6, 8\); give \(N, ny, nx\)"),
    "one frame in a list": ([FRAMES[0]], {}, ValueError, "one frame cannot be compared with itself"),
    "list of spectra": ([FRAMES[0, 0]] * 3, {}, ValueError, r"shape \(3, 8\)"),
    "shapes that differ": (
        [FRAMES[0], FRAMES[1], FRAMES[2, :, :7]],
        {},
        ValueError,
        r"differ in shape: frame 1 is \(6, 8\), frame 3 is \(6, 7\); register or crop",
    ),
    "ragged frame": ([FRAMES[0], [[1, 2], [3]]], {}, (ValueError, TypeError), "."),
    "no frames": ([], {}, (ValueError, TypeError), "."),
    "empty frames": (np.zeros((3, 0, 8)), {}, ValueError, r"empty.*\(3, 0, 8\)"),
    "complex": (FRAMES + 0j, {}, TypeError, "complex128"),
    "text": (np.full((3, 6, 8), "a"), {}, TypeError, "real numbers"),
    "objects": (np.full((3, 6, 8), None), {}, TypeError, "object"),
    "folder": ("night/", {}, TypeError, r"read_image_set\('night/'\)"),
    "bool": (FRAMES > 100, {}, TypeError, "bool"),
    "dates": (np.zeros((3, 6, 8), "M8[s]"), {}, TypeError, "datetime64"),
    "nothing": (None, {}, TypeError, "."),
    "no finite pixel": (bad_frame(np.nan), {}, ValueError, "frame 2 has no finite unmasked pixel"),
    "infinite": (bad_frame(np.inf), {}, ValueError, "frame 2 has no finite unmasked pixel"),
    "constant": (bad_frame(7.0), {}, ValueError, r"frame 2 is constant \(7.0\)"),
    "constant where not masked": (
        np.where(np.arange(3)[:, None, None] == 1, np.where(np.arange(8) < 4, 7.0, FRAMES), FRAMES),
        {"mask": np.broadcast_to(np.arange(8) >= 4, (6, 8))},
        ValueError,
        r"frame 2 is constant \(7.0\)",
    ),
    "all masked": (FRAMES, {"mask": np.ones((6, 8))}, ValueError, "frame 1 has no finite unmasked pixel"),
    "mask of another shape": (
        FRAMES,
        {"mask": np.zeros((6, 7), bool)},
        ValueError,
        r"mask has shape \(6, 7\), the frames \(3, 6, 8\)",
    ),
    "mask of other frames": (FRAMES, {"mask": np.zeros((2, 6, 8), bool)}, ValueError, r"mask has shape \(2, 6, 8\)"),
    "mask of text": (FRAMES, {"mask": np.full((6, 8), "no")}, TypeError, "mask holds"),
    "names": (FRAMES, {"names": ["a", "b"]}, ValueError, "names has 2 entries for 3 frames"),
}
for word in ("gain", "readnoise", "exptime"):
    for value, text in {
        0: f"{word} is 0; it must be a positive number",
        -1.5: f"{word} is -1.5; it must be",
        np.nan: f"{word} is nan; it must be",
        np.inf: f"{word} is inf; it must be",
        "many": f"{word} is 'many'; give one number or 3",
        (1.0, 2.0): f"{word} has 2 values for 3 frames",
        (1.0, -2.0, 3.0): rf"{word} is -2\.0; it must be",
        ((1.0, 1.0, 1.0),): f"{word} has 3 values for 3 frames",
    }.items():
        BAD[f"{word} {value}"] = (FRAMES, {word: value}, ValueError, text)


@pytest.mark.parametrize("case", BAD)
def test_bad_input_of_an_image_set(case):
    frames, keywords, error, text = BAD[case]
    with pytest.raises(error, match=text):
        ImageSet(frames, **keywords)


@pytest.mark.parametrize("case", [case for case in BAD if "names" not in BAD[case][1]])
def test_bad_input_of_a_cleaning_comes_before_any_work(case):
    frames, keywords, error, text = BAD[case]
    calls = []
    with pytest.raises(error, match=text):
        clean_image_set(frames, **keywords, progress=lambda done, total: calls.append(done))
    assert not calls


def test_settings_of_another_type():
    with pytest.raises(TypeError, match=r"settings is {'high': 4}; give a CleanSettings"):
        clean_image_set(FRAMES, {"high": 4})


def test_exptime_unknown():
    from glue_cleanset.core.settings import CleanSettings

    with pytest.raises(ValueError, match="exptime is not known; give exptime"):
        clean_image_set(FRAMES, CleanSettings(normalize="exptime"))


def test_an_array_is_kept_as_it_is():
    assert ImageSet(FRAMES).frames is FRAMES


def test_frames_in_a_list_are_stacked():
    np.testing.assert_array_equal(ImageSet(list(FRAMES)).frames, FRAMES)
    np.testing.assert_array_equal(ImageSet(tuple(frame.tolist() for frame in FRAMES)).frames, FRAMES)


def test_numbers_become_one_for_each_frame():
    image_set = ImageSet(FRAMES, gain=2, readnoise=[1, 2, 3], exptime=np.array(60.0))
    np.testing.assert_array_equal(image_set.gain, [2, 2, 2])
    np.testing.assert_array_equal(image_set.readnoise, [1, 2, 3])
    np.testing.assert_array_equal(image_set.exptime, [60, 60, 60])
    assert len(image_set) == 3
    assert image_set.shape == (3, 6, 8)
    assert image_set.names == ("frame 1", "frame 2", "frame 3")


@pytest.mark.parametrize("dtype", [bool, "u1", ">i4", "f4"])
def test_mask_of_any_number(dtype):
    mask = np.zeros((6, 8))
    mask[2, 3] = 1
    image_set = ImageSet(FRAMES, mask=mask.astype(dtype))
    assert image_set.mask.shape == FRAMES.shape
    assert image_set.mask.sum() == 3
    assert image_set.mask[:, 2, 3].all()


def test_read_marks_what_is_not_to_be_used():
    frames = FRAMES.astype("f4")
    frames[0, 1, 1], frames[1, 2, 2] = np.inf, np.nan
    mask = np.zeros(frames.shape, bool)
    mask[2, 3, 3] = True
    part = ImageSet(frames, mask=mask).read(slice(1, 4), slice(0, 5))
    assert part.shape == (3, 3, 5)
    assert {tuple(p) for p in np.argwhere(np.isnan(part)).tolist()} == {(0, 0, 1), (1, 1, 2), (2, 2, 3)}
    part[:] = 0
    assert np.isfinite(frames[2, 3, 3])
    assert frames[0, 0, 0] != 0


@pytest.mark.parametrize(
    ("dtype", "work"),
    [("u1", "f4"), (">i2", "f4"), ("u2", "f4"), ("f2", "f4"), ("f4", "f4"), ("i4", "f8"), ("f8", "f8")],
)
def test_work_dtype_holds_the_values_exactly(dtype, work):
    assert ImageSet((FRAMES).astype(dtype)).work_dtype == np.dtype(work)


def test_a_frame_that_varies_in_one_pixel_only_is_no_constant():
    frames = np.full((3, 100, 100), 5.0)
    frames[:, 77, 33] = 6.0
    assert len(ImageSet(frames)) == 3


@pytest.mark.parametrize("kind", ["masked array", "list of masked arrays", "list of CCDData"])
def test_frames_that_bring_their_mask(kind):
    from astropy.nddata import CCDData

    rng = np.random.default_rng(0)
    frames = rng.normal(100, 5, (4, 12, 14))
    mask = rng.uniform(size=frames.shape) < 0.1
    masked = np.ma.array(frames, mask=mask)
    given = {
        "masked array": masked,
        "list of masked arrays": list(masked),
        "list of CCDData": [CCDData(f, mask=m, unit="adu") for f, m in zip(frames, mask, strict=True)],
    }[kind]
    other = np.zeros(frames.shape[1:], int)
    other[3, 4] = 7
    image_set = ImageSet(given, mask=other)
    np.testing.assert_array_equal(image_set.mask, mask | (other != 0))
    assert type(image_set.frames) is np.ndarray
    np.testing.assert_array_equal(image_set.frames, frames)


def test_shifts_are_kept_and_follow_a_part():
    frames = np.arange(3 * 8 * 9.0).reshape(3, 8, 9)
    image_set = ImageSet(frames, shifts=[(0, 0), (1.5, -2), (np.nan, 3)])
    assert image_set.shifts.dtype == np.float64
    np.testing.assert_array_equal(image_set.shifts, [(0, 0), (1.5, -2), (np.nan, np.nan)])
    assert image_set.shifts_source == "given"
    # detector pixel (y, x) is at (y + dy - 2, x + dx - 3) of the part
    np.testing.assert_array_equal(image_set.part(slice(2, 6), slice(3, None)).shifts[:2], [(-2, -3), (-0.5, -5)])
    np.testing.assert_array_equal(image_set.part(slice(None), slice(None)).shifts, image_set.shifts)
    np.testing.assert_array_equal(image_set.without(np.zeros((8, 9), bool)).shifts, image_set.shifts)
    assert ImageSet(frames).part(slice(2, 6), slice(3, 5)).shifts is None


@pytest.mark.parametrize(
    ("shifts", "message"),
    [
        ([(0, 0), (1, 1)], r"shifts has shape \(2, 2\) for 3 frames"),
        ([0, 1, 2], r"shifts has shape \(3,\) for 3 frames"),
        ("left", "shifts is 'left'; give dy and dx"),
        ([(0, 0), (np.inf, 1), (2, 2)], "shifts holds infinite values"),
    ],
)
def test_shifts_that_will_not_do(shifts, message):
    with pytest.raises(ValueError, match=message):
        ImageSet(np.arange(3 * 8 * 9.0).reshape(3, 8, 9), shifts=shifts)
