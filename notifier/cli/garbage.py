"""The search for garbage of a service: cycles of objects that refer to each other."""

import gc

THRESHOLDS = (20_000, 5, 5)
"""A search of the youngest objects for each 20,000 that were made and not given back; then older ones, as `gc` has it.

Polls and messages make no cycles, and a search among many thousand events and tasks that are in use holds up the event
loop. If something did make cycles, up to 20,000 young objects would wait, about 4 MB, and 500,000 of any age.
"""


def leave_out_what_lasts() -> None:
    """Let no search look at what there is now, and search seldom.

    Called again, it searches once for what was left out before, which may have become garbage since.
    """
    if gc.get_threshold() == THRESHOLDS:
        gc.unfreeze()
        gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
