"""``python -m benchmarks``: tables of accuracy, kinds, speed, response to the mouse and sets in files, as markdown."""

import argparse
import os
import platform
from datetime import date
from importlib.metadata import PackageNotFoundError, version

from glue_cleanset.core.simulate import VARIANTS

from .accuracy import measure_accuracy
from .interaction import measure_interaction
from .kinds import measure_kinds
from .real import measure_injection
from .speed import measure_speed
from .streaming import measure_streaming

PARTS = ("accuracy", "kinds", "real", "speed", "interaction", "streaming")


def main(argv=None):
    """Run the benchmarks and print their tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (all)")
    parser.add_argument("--quick", action="store_true", help="small sets and one round; the figures mean little")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), metavar="NAME", help=", ".join(VARIANTS))
    parser.add_argument("--frames", nargs="+", type=int, metavar="N", help="numbers of frames of every variant")
    parser.add_argument("--size", type=int, help="frames of SIZE x SIZE pixels (accuracy, kinds 1024, others 2048)")
    parser.add_argument("--seed", type=int, default=0, help="of the simulated sets")
    parser.add_argument("--no-peers", action="store_true", help="ours alone")
    args = parser.parse_args(argv)
    if unknown := sorted(set(args.parts) - set(PARTS)):
        parser.error(f"unknown part {unknown[0]!r}; choose from {', '.join(PARTS)}")
    if args.frames and min(args.frames) < 2:
        parser.error(f"--frames {min(args.frames)}: a set has at least 2 frames")
    parts, peers = args.parts or PARTS, not args.no_peers

    print(_machine(args.seed), flush=True)
    if "accuracy" in parts:
        variants, frames, size = args.variants, args.frames, args.size or 1024
        if args.quick:
            variants, frames, size = variants or ["base", "hard"], frames or [3, 9], args.size or 256
        _show(measure_accuracy(variants, frames, size, args.seed, peers))
    if "kinds" in parts:
        if args.quick:
            _show(measure_kinds(args.size or 512, args.frames or (5,), args.seed, 1, args.size or 512, 1))
        else:
            _show(measure_kinds(args.size or 1024, args.frames or (5, 9, 20), args.seed))
    if "real" in parts:
        _show(measure_injection(args.seed) or ["No real sets beside the checkout: injection skipped.\n"])
    if "speed" in parts:
        if args.quick:
            _show(measure_speed(args.size or 256, 5, (5, 9), args.seed, 1, peers))
        else:
            _show(measure_speed(args.size or 2048, seed=args.seed, peers=peers))
    if "interaction" in parts:
        if args.quick:
            tables = measure_interaction(args.size or 256, 5, args.seed, 10)
        else:
            tables = measure_interaction(args.size or 2048, seed=args.seed)
        _show(tables or ["No glue-qt installed: interaction skipped.\n"])
    if "streaming" in parts:
        frames = args.frames or ([5] if args.quick else [20, 50, 100, 200])
        _show(measure_streaming(frames, args.size or (256 if args.quick else 2048), args.seed))


def _show(tables):
    for table in tables:
        print(f"\n{table}", end="", flush=True)


def _machine(seed):
    found = [f"Python {platform.python_version()}"]
    for name in ("numpy", "numba", "astropy", "ccdproc", "stcal"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    return f"{date.today()}, {os.cpu_count()} cores ({platform.machine()}){load}, seed {seed}; {', '.join(found)}"


if __name__ == "__main__":
    main()
