"""How well the outliers of simulated sets are found: default settings beside the peers at their best."""

import sys
from time import perf_counter

import numpy as np

from glue_cleanset import clean_image_set
from glue_cleanset.core.simulate import VARIANTS, simulate_set

from .peers import common_scale, installed_peers, tune
from .score import score, score_stars
from .table import markdown

__all__ = ["measure_accuracy"]

FRAMES = (2, 3, 5, 9, 20, 50, 200)
FULL_SERIES = ("base", "hard")  # the variants that are run at every number of frames, the others at OTHERS
OTHERS = 9
PEERS_UP_TO = 50  # frames: some peers take minutes and ten times the memory of the set beyond that


def measure_accuracy(variants=None, frames=None, size=1024, seed=0, peers=True):
    """Clean simulated sets with default settings, and with the peers tuned on the truth.

    Parameters
    ----------
    variants : sequence of str, optional
        Of `VARIANTS`; None = all.
    frames : sequence of int, optional
        Numbers of frames; None = 2 to 200 for base and hard, 9 for the others.
    size : int
        Frames of size x size pixels.
    seed : int
        Of the sets.
    peers : bool
        Whether the installed peers are run too, up to 50 frames.

    Returns
    -------
    list of str
        Tables (markdown): F1 of all methods, the stars' cores of all methods, and all figures of ours.
    """
    methods = [peer for peer in installed_peers() if peers]
    f1, cores, ours = [], [], []
    for variant in variants or VARIANTS:
        for n in frames or (FRAMES if variant in FULL_SERIES else (OTHERS,)):
            start = perf_counter()
            simulated = simulate_set(n, (size, size), seed=seed, **VARIANTS[variant])
            result = clean_image_set(simulated.frames)
            figures = score(simulated, result.rejected)
            stars = score_stars(simulated, result.cleaned)
            key = {"set": variant, "N": n}
            ours.append({**key, **_own_columns(figures, stars, result.noise)})
            del result
            found = {"ours": figures}
            compared = methods if n <= PEERS_UP_TO else []
            scaled = common_scale(simulated) if compared else None
            for peer in compared:
                tuned = tune(peer, simulated)
                found[peer.name] = score(simulated, peer.run(*scaled, **tuned))
                if peer.defaults is not None:
                    found[f"{peer.name}, defaults"] = score(simulated, peer.run(*scaled, **peer.defaults))
            if compared:
                f1.append({**key, **{name: f"{one['f1']:.4f}" for name, one in found.items()}})
                cores.append({**key, **{name: _core(one) for name, one in found.items()}})
            print(f"{variant}, N = {n}: {perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    if not f1:
        return [markdown("Ours, default settings", ours)]
    return [
        markdown("F1 per pixel", f1),
        markdown(
            "Within 3 px of stars: share of the deposits > 5 sigma found / share of the clean pixels rejected", cores
        ),
        markdown("Ours, default settings", ours),
    ]


def _core(figures):
    if np.isnan(figures["false_stars"]):
        return "no stars"
    return f"{figures['found_stars']:.3f} / {figures['false_stars']:.1e}"


def _own_columns(figures, stars, noise):
    return {
        "F1": f"{figures['f1']:.4f}",
        "missed": f"{figures['missed']:.4f}",
        "false": f"{figures['false']:.1e}",
        "false, stars": f"{figures['false_stars']:.1e}",
        "found, stars": f"{figures['found_stars']:.3f}",
        "gain": f"{np.median(noise.gain):.3f}",
        "read noise": f"{np.median(noise.readnoise):.2f}",
        "bias bright %": f"{stars['bias_bright']:.4f} ({stars['mean_bright']:.4f})",
        "bias faint %": f"{stars['bias_faint']:.4f} ({stars['mean_faint']:.4f})",
        "repaired": f"{stars['repaired']:.2f}",
        "within 2": f"{stars['within_2']:.3f}",
    }
