"""The compiled loops that look for stars and for what moves. See kernels.py for the arguments."""

import numpy as np

from .kernels import jit


@jit
def bright_peaks(image, low, high, reach):
    """Row and column of the pixels between `low` and `high` that no other within `reach` exceeds, (2, K)."""
    ny, nx = image.shape
    found = np.empty((2, 4096), np.int64)
    number = 0
    for y in range(reach, ny - reach):
        for x in range(reach, nx - reach):
            v = image[y, x]
            if not v > low or v >= high or number == found.shape[1]:
                continue
            if v < image[y, x - 1] or v < image[y, x + 1] or v < image[y - 1, x] or v < image[y + 1, x]:
                continue
            highest = True
            for b in range(y - reach, y + reach + 1):
                for a in range(x - reach, x + reach + 1):
                    if image[b, a] > v or (image[b, a] == v and (b < y or (b == y and a < x))):
                        highest = False
                if not highest:
                    break
            if highest:
                found[0, number], found[1, number] = y, x
                number += 1
    return found[:, :number]
