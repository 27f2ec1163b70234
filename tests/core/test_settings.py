import dataclasses
import math

import numpy as np
import pytest

from glue_cleanset.core.settings import DETECTIONS, NORMALIZATIONS, REPAIRS, CleanSettings


def test_the_choices_of_the_contract_are_there():
    assert {"noise", "sigma", "mad", "minmax"} <= set(DETECTIONS)
    assert {"auto", "none", "scale", "offset", "both", "exptime"} <= set(NORMALIZATIONS)
    assert {"median", "mean", "neighbours", "zero", "nan", "constant", "none"} <= set(REPAIRS)
    assert all(text for choices in (DETECTIONS, NORMALIZATIONS, REPAIRS) for text in choices.values())


def test_default_is_the_noise_model():
    settings = CleanSettings()
    assert (settings.detection, settings.normalize, settings.repair) == ("noise", "auto", "median")
    assert settings.low_pair <= settings.high_pair


def test_settings_cannot_be_changed():
    settings = CleanSettings()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.high = 3.0


def test_equal_settings_are_equal_and_hash_alike():
    assert CleanSettings(high=5) == CleanSettings(high=5.0)
    assert hash(CleanSettings(high=(5, 6))) == hash(CleanSettings(high=(5.0, 6.0)))
    assert CleanSettings(high=5) != CleanSettings(high=6)


def test_replace_keeps_the_rest():
    settings = dataclasses.replace(CleanSettings(high=6.0, low=3.0), repair="zero")
    assert (settings.high, settings.low, settings.repair) == (6.0, 3.0, "zero")


@pytest.mark.parametrize("field", ["detection", "normalize", "repair"])
@pytest.mark.parametrize("value", ["magic", "", None, 3])
def test_unknown_option_lists_the_known_ones(field, value):
    with pytest.raises(ValueError, match=rf"{field} is {value!r}; choose one of ") as caught:
        CleanSettings(**{field: value})
    choices = {"detection": DETECTIONS, "normalize": NORMALIZATIONS, "repair": REPAIRS}[field]
    assert all(repr(choice) in str(caught.value) for choice in choices)


@pytest.mark.parametrize("field", ["high", "low"])
@pytest.mark.parametrize("value", [0, -1.0, math.nan, "4", True, (4.5, -1)])
def test_thresholds_are_positive(field, value):
    with pytest.raises(ValueError, match=f"{field} is .*positive numbers of sigma"):
        CleanSettings(**{field: value})


@pytest.mark.parametrize("field", ["high", "low"])
def test_thresholds_are_one_number_or_a_pair(field):
    with pytest.raises(ValueError, match=f"{field} is .*one number or a pair"):
        CleanSettings(**{field: (4, 4, 4)})


@pytest.mark.parametrize(
    ("high", "low", "side"), [(4.0, 5.0, "bright"), ((6.0, 3.0), 4.0, "dark"), ((3.0, 6.0), (4.0, 4.0), "bright")]
)
def test_low_above_high(high, low, side):
    with pytest.raises(ValueError, match=rf"low \(\d\) is above high \(\d\) for {side}"):
        CleanSettings(high=high, low=low)


def test_a_high_below_the_default_low_takes_it_along():
    assert CleanSettings(high=2.0).low == 2.0
    assert CleanSettings(high=(2.0, 9.0)).low_pair == (2.0, CleanSettings().low_pair[1])


def test_pairs():
    assert CleanSettings(high=5).high_pair == (5.0, 5.0)
    assert CleanSettings(high=(5, math.inf)).high_pair == (5.0, math.inf)
    assert CleanSettings(high=[5, 5]).high == 5.0


@pytest.mark.parametrize(("field", "values"), [("grow", [-1, 1.5, "1", True]), ("max_rejected", [0, -2, 1.0, True])])
def test_counts_are_whole_numbers(field, values):
    for value in values:
        with pytest.raises(ValueError, match=f"{field} is {value!r}; give a whole number"):
            CleanSettings(**{field: value})


@pytest.mark.parametrize("value", [math.nan, math.inf, "0", None, True])
def test_constant_is_finite(value):
    with pytest.raises(ValueError, match=r"constant is .*finite number"):
        CleanSettings(repair="constant", constant=value)


def test_numpy_numbers_are_numbers():
    settings = CleanSettings(
        high=np.float32(5), low=np.int16(3), grow=np.int64(1), max_rejected=np.uint8(2), constant=np.float64(7)
    )
    assert (settings.high, settings.low, settings.grow, settings.max_rejected) == (5.0, 3.0, 1, 2)


def test_describe_names_every_field():
    texts = CleanSettings(grow=2).describe()
    assert [text.split("=")[0] for text in texts] == [f.name for f in dataclasses.fields(CleanSettings)]
    assert "grow=2" in texts
