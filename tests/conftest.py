"""A small simulated set with its truth, and how hypothesis works in this suite."""

import os

import pytest
from hypothesis import HealthCheck, settings

from glue_cleanset.core.simulate import simulate_set

# the first call of a kernel compiles it, so that no example has a time limit
settings.register_profile("local", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session")
def small_set():
    """9 frames of 96 x 128 pixels with stars, hits, hot and cold pixels, and the truth. Not to be written to."""
    simulated = simulate_set(9, (96, 128), seed=5, star_density=2e-3, cold_fraction=1e-3)
    simulated.frames.flags.writeable = False
    return simulated


@pytest.fixture(scope="session")
def small_result(small_set):
    """The small set cleaned with default settings."""
    from glue_cleanset.core.clean import clean_image_set

    return clean_image_set(small_set.frames)
