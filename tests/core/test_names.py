"""Names of frames."""

import pytest

from glue_cleanset.core.names import distinct, listed


def test_each_its_own():
    assert distinct(["a", "b", "A", "a", "a_2"]) == ["a", "b", "A_2", "a_3", "a_2_2"]


@pytest.mark.parametrize(("n", "text"), [(1, "0"), (2, "0, 1"), (3, "0, 1 and 1 more")])
def test_the_first_of_many(n, text):
    assert listed(list(range(n)), most=2) == text
