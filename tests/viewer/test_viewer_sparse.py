"""Sessions hold what differs, and bring back all of it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from glue.core.component import CategoricalComponent, Component
from glue.core.data_factories import load_data
from glue.core.state import GlueSerializer, GlueUnSerializer
from glue.core.subset import ElementSubsetState
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from viewer_sets import ViewerApplication, attach, make_result, subset_of

from glue_cleanset.viewer import factories, sparse
from glue_cleanset.viewer.attach import find_attached
from glue_cleanset.viewer.sparse import SparseCategoricalComponent, SparseComponent
from glue_cleanset.viewer.stack import stack_images

DTYPES = [np.dtype(d) for d in ("u1", "<u2", ">i2", "<i4", "<f2", ">f4", "<f4", "<f8", ">f8")]
SHARE = 0.01


def again(component):
    return GlueUnSerializer.loads(GlueSerializer(component).dumps()).object("__main__")


def assert_same_bits(values, expected):
    assert values.dtype == expected.dtype
    assert values.shape == expected.shape
    np.testing.assert_array_equal(values, expected)  # NaN equals NaN
    np.testing.assert_array_equal(np.signbit(values), np.signbit(expected))


def assert_same_collection(collection, expected):
    assert [data.label for data in collection] == [data.label for data in expected]
    for data, other in zip(collection, expected, strict=True):
        assert [cid.label for cid in data.components] == [cid.label for cid in other.components]
        for cid, theirs in zip(data.main_components, other.main_components, strict=True):
            if other.get_kind(theirs) == "categorical":
                assert data[cid].tolist() == other[theirs].tolist()
            else:
                assert_same_bits(data[cid], other[theirs])
            assert data.get_component(cid).units == other.get_component(theirs).units
    assert len(collection.external_links) == len(expected.external_links)


@st.composite
def pairs(draw):
    """Values, and a base that is equal to them in some places."""
    dtype, other = draw(st.sampled_from(DTYPES)), draw(st.sampled_from(DTYPES))
    values = draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=3, max_side=5)))
    base = draw(hnp.arrays(other, values.shape))
    equal = draw(hnp.arrays(bool, values.shape))
    with np.errstate(all="ignore"):
        return np.where(equal, base.astype(dtype), values).astype(dtype), base


@given(pairs(), st.integers(1, 40))
def test_any_values_come_back(pair, part):
    values, base = pair
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse, "_PART", part)  # several parts also in small arrays
        with np.errstate(all="ignore"):
            for component in (
                SparseComponent(values.copy()),
                SparseComponent(values.copy(), Component(base.copy())),
                SparseComponent(values.copy(), SparseComponent(base.copy(), Component(values.copy()))),
            ):
                assert_same_bits(again(component).data, values)
            if values.ndim > 1:
                assert_same_bits(again(SparseComponent(values.copy(), [Component(one) for one in base])).data, values)


def test_zeros_keep_their_sign():
    base = np.array([0.0, -0.0, 0.0, -0.0, np.nan, np.inf])
    values = np.array([-0.0, 0.0, 0.0, -0.0, np.nan, -np.inf])
    assert_same_bits(again(SparseComponent(values, Component(base))).data, values)
    assert_same_bits(again(SparseComponent(values)).data, values)


def test_only_what_differs_is_stored():
    base = np.random.default_rng(1).normal(size=(10, 100, 100)).astype(np.float32)
    base[:, 3, 3] = np.nan
    values = base.copy()
    values[2, 5, 6] = 7
    record = SparseComponent(values, Component(base)).__gluestate__(GlueSerializer(None))
    assert len(json.dumps(record)) < 300


def test_what_is_turned_comes_back():
    base = Component(np.arange(60.0).reshape(3, 4, 5))
    values = np.moveaxis(np.moveaxis(base.data, 2, 0) + np.eye(5)[:, :3, None], 0, 2)
    assert_same_bits(again(SparseComponent(values, base)).data, values)


def test_files_that_have_another_shape_now():
    record = json.loads(GlueSerializer(SparseComponent(np.ones((2, 3)), Component(np.ones((2, 3))))).dumps())
    record["__main__"]["shape"] = [2, 4]
    with pytest.raises(ValueError, match=r"shape \(2, 4\).*\(2, 3\) now.*put the old ones back"):
        GlueUnSerializer.loads(json.dumps(record)).object("__main__")


def test_words():
    words = np.array(["bright", "dark", "bright", "größer"])
    component = again(SparseCategoricalComponent(words, units="u"))
    assert component.labels.tolist() == words.tolist()
    assert component.categories.tolist() == CategoricalComponent(words).categories.tolist()
    assert component.units == "u"
    jittered = SparseCategoricalComponent(words, jitter="uniform")
    assert again(jittered).labels.tolist() == words.tolist()
    assert again(jittered).jitter_method == "uniform"


def write_frames(folder, shape):
    """Frames of noise as FITS files, with a pixel that has no value."""
    folder.mkdir()
    frames = np.random.default_rng(5).normal(200, 8, shape).astype(np.float32)
    frames[:, 9, 9] = np.nan
    for i, frame in enumerate(frames):
        fits.writeto(folder / f"f{i:02d}.fits", frame)
    return folder


def make_hits(shape):
    """Events of three pixels in a row that are `SHARE` of all pixels, at random."""
    places = np.arange(np.prod(shape)).reshape(shape)[:, :, 1:-3:4].reshape(-1)
    chosen = np.random.default_rng(3).choice(places, round(SHARE * np.prod(shape) / 3), replace=False)
    return [[np.unravel_index(place + k, shape) for k in range(3)] for place in np.sort(chosen)]


@pytest.fixture
def hits():
    return make_hits((10, 64, 64))


@pytest.fixture
def night(tmp_path):
    return write_frames(tmp_path / "night", (10, 64, 64))


@pytest.fixture
def reviewed(app, night, hits):
    """The set of `night`, cleaned with `hits`."""
    cube = load_data(str(night), factory=factories.image_set)
    app.data_collection.append(cube)
    return attach(app, cube, "image", result=make_result(cube["image"], hits))


def reopen(app, path):
    app.save_session(str(path))
    return ViewerApplication.restore_session(str(path))


def test_the_session_is_small(app, tmp_path):
    shape = (20, 160, 160)
    cube = load_data(str(write_frames(tmp_path / "night", shape)), factory=factories.image_set)
    app.data_collection.append(cube)
    attached = attach(app, cube, "image", result=make_result(cube["image"], make_hits(shape)))
    assert 0.99 * SHARE < cube[attached.rejected].mean() < 1.01 * SHARE
    collection = reopen(app, tmp_path / "s.glu").data_collection
    assert_same_collection(collection, app.data_collection)
    size = (tmp_path / "s.glu").stat().st_size
    # without loss, and of numbers that are nothing but noise: 5 % of a cube of 20 frames at most, as an image is
    records = json.loads((tmp_path / "s.glu").read_text()).values()
    (reference,) = [
        len(r["values"])
        for r in records
        if r.get("dtype") == "<f4" and r.get("shape") == [160, 160] and len(r["values"]) > 30000
    ]
    assert reference < 0.05 * cube["image"].nbytes
    assert size - reference < 0.1 * cube["image"].nbytes


def test_values_changed_after_the_cleaning_come_back(app, reviewed, tmp_path):
    cube = reviewed.cube
    restored = cube[reviewed.cleaned].copy()
    restored[1] = cube["image"][1]
    restored[2, 10:12, 10:12] = -0.0
    rejected = cube[reviewed.rejected].copy()
    rejected[1] = 0
    app.save_session(str(tmp_path / "before.glu"))  # what was stored once is not taken for what is there now
    cube.update_components({reviewed.cleaned: restored, reviewed.rejected: rejected})
    collection = reopen(app, tmp_path / "s.glu").data_collection
    (found,) = find_attached(collection)
    assert_same_bits(found.cube[found.cleaned], restored)
    assert_same_bits(found.cube[found.rejected], rejected)


def test_files_changed_since(app, reviewed, night, tmp_path):
    cube = reviewed.cube
    kept = cube[reviewed.cleaned].copy()
    rejected = cube[reviewed.rejected] == 1
    app.save_session(str(tmp_path / "s.glu"))
    new = cube["image"][4] + 1
    fits.writeto(night / "f04.fits", new, overwrite=True)
    (found,) = find_attached(ViewerApplication.restore_session(str(tmp_path / "s.glu")).data_collection)
    kept[4] = np.where(rejected[4], kept[4], new)
    assert_same_bits(found.cube[found.cleaned], kept)


def test_a_second_cleaning_of_the_cleaned(app, reviewed, tmp_path):
    cube = reviewed.cube
    attach(app, cube, "image cleaned", result=make_result(cube["image cleaned"], (((5, 1, 1),),)))
    collection = reopen(app, tmp_path / "s.glu").data_collection
    assert_same_collection(collection, app.data_collection)


def test_an_attribute_that_was_derived(app, reviewed, tmp_path):
    cube = reviewed.cube
    cube.add_component_link(cube.id["image"] * 2.0, "twice")
    attach(app, cube, "twice", result=make_result(cube["twice"].astype(np.float32)))
    collection = reopen(app, tmp_path / "s.glu").data_collection
    assert_same_collection(collection, app.data_collection)


def test_a_source_that_was_removed(app, reviewed, tmp_path):
    cube = reviewed.cube
    expected = cube[reviewed.cleaned]
    cube.remove_component(reviewed.source)
    again = reopen(app, tmp_path / "s.glu").data_collection[0]
    assert_same_bits(again["image cleaned"], expected)


def test_a_stack_is_stored_as_its_images(app, night, hits, tmp_path):
    images = [load_data(str(path)) for path in sorted(night.glob("*.fits"))]
    app.data_collection.extend(images)
    stack = stack_images(images)
    attached = attach(app, stack, "PRIMARY", result=make_result(stack["PRIMARY"], hits), images=images)
    app.data_collection.new_subset_group("row", ElementSubsetState([1], data=attached.events))
    collection = reopen(app, tmp_path / "s.glu").data_collection
    assert_same_collection(collection, app.data_collection)
    again = collection[stack.label]
    np.testing.assert_array_equal(
        subset_of(again, collection.subset_groups[0]), stack[attached.event] == attached.events["event"][1]
    )
    # no value of the stack, and no more than its rejected pixels of the rest
    values = json.loads((tmp_path / "s.glu").read_text())
    cubes = [record for record in values.values() if record.get("shape") == [10, 64, 64]]
    assert len(cubes) == 4
    assert min(len(record["values"]) for record in cubes) < 20
    assert sum(len(record["values"]) + len(record["steps"]) for record in cubes) < 0.1 * stack["PRIMARY"].nbytes


# so few pixels of pure noise hardly tell their noise; that is not the point here
@pytest.mark.filterwarnings("ignore::UserWarning")
class TestCleanedSet:
    """What the factory *Cleaned image set* made."""

    @pytest.fixture
    def made(self, app, night):
        fits.writeto(night / "f03.fits", fits.getdata(night / "f03.fits") + 900 * np.eye(64, k=5), overwrite=True)
        app.data_collection.extend(load_data(str(night), factory=factories.cleaned_image_set))
        return find_attached(app.data_collection)[0]

    def test_it_is_not_cleaned_again(self, app, made, tmp_path, monkeypatch):
        app.save_session(str(tmp_path / "s.glu"))
        monkeypatch.setattr("glue_cleanset.core.clean.clean_image_set", None)
        collection = ViewerApplication.restore_session(str(tmp_path / "s.glu")).data_collection
        assert_same_collection(collection, app.data_collection)
        assert (tmp_path / "s.glu").stat().st_size < made.cube["image"].nbytes
        # and a second time
        collection = reopen(ViewerApplication(collection), tmp_path / "t.glu").data_collection
        assert_same_collection(collection, app.data_collection)

    def test_what_was_changed_is_not_lost(self, app, made, tmp_path):
        assert made.cube[made.rejected][3].sum() > 30
        made.cube.update_components(
            {made.cleaned: np.array(made.cube["image"]), made.rejected: 0 * made.cube[made.rejected]}
        )
        made.map.update_components({made.map.id["times rejected"]: np.zeros((64, 64), np.uint16)})
        made.events.update_components({made.events.id["total"]: np.arange(len(made.events["event"])) + 0.5})
        collection = reopen(app, tmp_path / "s.glu").data_collection
        assert_same_collection(collection, app.data_collection)


ELSEWHERE = """
import sys
sys.path.insert(0, sys.argv[2])
import numpy as np
from glue.core.subset import ElementSubsetState
from glue_cleanset import setup
from glue_cleanset.viewer.attach import find_attached
from viewer_sets import ViewerApplication, subset_of

setup()
collection = ViewerApplication.restore_session(sys.argv[1]).data_collection
(a,) = find_attached(collection)
row, hit = (subset_of(a.cube, group) for group in collection.subset_groups)
new = collection.new_subset_group("new", ElementSubsetState([0], data=a.events))
values = [a.cube[cid] for cid in (a.source, a.cleaned, a.rejected, a.event)]
values += [a.map[cid] for cid in a.map.main_components]
np.savez(sys.argv[3], row, hit, subset_of(a.cube, new), *values)
"""


def test_in_another_process(app, reviewed, tmp_path):
    a = reviewed
    app.data_collection.new_subset_group("row", ElementSubsetState([1, 2], data=a.events))
    app.data_collection.new_subset_group("hit", a.map.id["times rejected"] > 0)
    app.save_session(str(tmp_path / "s.glu"))
    subprocess.run(
        [sys.executable, "-c", ELSEWHERE, tmp_path / "s.glu", Path(__file__).parent, tmp_path / "seen.npz"],
        cwd=Path(__file__).parents[2],
        check=True,
    )
    row, hit, new, *values = np.load(tmp_path / "seen.npz").values()
    numbers = a.cube[a.event]
    np.testing.assert_array_equal(row, np.isin(numbers, [2, 3]))
    np.testing.assert_array_equal(new, numbers == 1)
    np.testing.assert_array_equal(hit, np.broadcast_to(a.map["times rejected"] > 0, hit.shape))
    expected = [a.cube[cid] for cid in (a.source, a.cleaned, a.rejected, a.event)]
    expected += [a.map[cid] for cid in a.map.main_components]
    for one, other in zip(values, expected, strict=True):
        assert_same_bits(one, other)
