"""Into which folder a set that is read on demand is cleaned: what it takes, and what is there already."""

import os
from itertools import count
from pathlib import Path

from glue_cleanset.core.names import listed

__all__ = ["MEMORY", "REPLACE", "Output", "default_folder", "in_words_of_dialog"]

MEMORY = 0.15  # GB that the blocks take; larger ones are hardly faster
REPLACE = "Replace what is there"


class Output:
    """A folder for the files of a cleaning.

    Parameters
    ----------
    image_set : FitsImageSet
        Read on demand.
    folder : str
    replace : bool
        Whether what is there may be replaced.
    settings : CleanSettings
    gain, readnoise
        As for `glue_cleanset.clean_image_set`.

    Attributes
    ----------
    folder : Path
    overwrite : bool
        As `replace`.
    others : list of str or None
        As `glue_cleanset.io.stream.unfinished_run`, without a look at regions.

    Raises
    ------
    ValueError
        Where no folder is given.
    OSError
        Where it cannot be looked at.
    """

    def __init__(self, image_set, folder, replace, settings, gain=None, readnoise=None):
        from glue_cleanset.io.costs import expected_costs
        from glue_cleanset.io.stream import unfinished_run  # what it loads takes a while

        if not folder.strip():
            raise ValueError("Choose the folder that the cleaned frames go to.")
        self._image_set = image_set
        self.folder = Path(os.path.abspath(os.path.expanduser(folder.strip())))
        self.others = unfinished_run(image_set, self.folder, settings, gain=gain, readnoise=readnoise, regions=False)
        self.overwrite = replace
        self.costs = expected_costs(image_set, self.folder, MEMORY)

    @property
    def has_work(self):
        """Whether a cleaning that was stopped has left there what it had done."""
        from glue_cleanset.io.stream import RUN_FOLDER

        return (self.folder / RUN_FOLDER).exists()

    def resume(self, others):
        """Whether to go on with what is there, which is other in `others`.

        Raises
        ------
        ValueError
            Where it must be begun anew, and nobody said so.
        """
        if others and not self.overwrite:
            raise ValueError(
                f"{self.folder} holds a cleaning that was stopped, one with another {listed(others)}. Choose "
                f"another folder, or tick '{REPLACE}' to begin anew."
            )
        return others == []

    def check(self, in_use=()):
        """See whether the cleaning can begin; creates nothing.

        Parameters
        ----------
        in_use : set of Path
            Folders that the session reads results from.

        Raises
        ------
        ValueError, OSError
            Where it cannot.
        """
        from glue_cleanset.io.stream import check_folder

        if Path(os.path.realpath(self.folder)) in in_use:
            raise ValueError(
                f"{self.folder} holds cleaned frames that this session shows; choose another folder, or take that "
                "cleaning out of the session first."
            )
        resume = self.resume(self.others)
        try:
            check_folder(self._image_set, self.folder, overwrite=self.overwrite, resume=resume)
        except OSError as error:
            raise OSError(in_words_of_dialog(str(error))) from None

    def describe(self):
        """In words: what is read and written, and what is done with what is there."""
        from glue_cleanset.io.costs import describe_size

        costs = self.costs
        texts = [
            f"Reads {describe_size(costs.read)} and writes {describe_size(costs.written)} into this folder, where "
            f"{describe_size(costs.free)} are free. Works on blocks of {describe_size(1e9 * MEMORY)}."
        ]
        if self.others == []:
            texts.append("Goes on with the cleaning that was stopped there.")
        elif self.others and self.overwrite:
            texts.append("Begins anew; what the cleaning that was stopped there had done is thrown away.")
        return " ".join(texts)


def default_folder(image_set):
    """A folder for cleaned frames, beside them where that can be written to: one that is not there yet, or that holds
    a cleaning that was stopped."""
    from glue_cleanset.io.stream import RUN_FOLDER

    beside = Path(os.path.abspath(image_set.sources[0][0])).parent
    if not os.access(beside, os.W_OK):
        beside = Path.home()
    for number in count(1):
        folder = beside / ("cleaned" if number == 1 else f"cleaned_{number}")
        if not folder.exists() or (folder / RUN_FOLDER).exists():
            return str(folder)


def in_words_of_dialog(text):
    """A message about a folder that speaks of the box to tick instead of arguments and options."""
    return text.replace(" (resume, --resume)", "").replace("allow to overwrite", f"tick '{REPLACE}'")
