"""Pictures that cannot be used, all told at once: before anything is converted, not one a run.

A few that are too small or too thin for the network's frame are left out with a note; one that
cannot be read, or many that are too small, are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from int8gate.calibration_data.fit import Fit
from int8gate.calibration_data.folders.examples import Example, Objects
from int8gate.calibration_data.pictures import by, picture_size, shown, unfit

NAMED = 10  # pictures that a message names
FEW = 0.1  # of all pictures: so many may be left out with a note


def fitting(
    examples: list[Example], fit: Fit, root: object
) -> tuple[list[Example], tuple[str, ...]]:
    """The examples whose pictures fill the network's frame, and notes on those left out.

    Looks at headers alone. Raises ValueError that names all pictures that cannot be read, or those
    that do not fit where they are more than a few.
    """
    reasons: dict[int, str] = {}
    broken = []
    for number, (path, label) in enumerate(examples):
        try:
            size = label.size if isinstance(label, Objects) else picture_size(path)
        except ValueError as error:
            broken.append(str(error))
            continue
        if reason := unfit(size, fit):
            reasons[number] = f"{shown(path.name)} ({by(size)}: {reason})"
    refuse_all(broken, f"data folder {shown(str(root))}")
    if not reasons:
        return examples, ()
    told = _some(reasons.values())
    if len(reasons) > FEW * len(examples):
        raise ValueError(
            f"data folder {shown(str(root))}: {len(reasons)} of {len(examples)} pictures do not "
            f"fill the network's {by(fit.size[::-1])}: {told}: replace or remove them (a model of "
            "your own may say enlarge = true, which takes small ones)"
        )
    left = [example for number, example in enumerate(examples) if number not in reasons]
    return left, (f"left out {len(reasons)} of {len(examples)} pictures: {told}",)


def refuse_all(problems: list[str], where: str, what: str = "pictures") -> None:
    """One ValueError with every problem, each a sentence that names its file and its cure."""
    if not problems:
        return
    if len(problems) == 1:
        raise ValueError(problems[0])
    shown_ones = "\n".join(f"- {problem}" for problem in problems[:NAMED])
    more = f"\n- and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
    raise ValueError(f"{where}: {len(problems)} {what} cannot be used:\n{shown_ones}{more}")


def problems_of(read: Callable[[int], object], count: int) -> list[str]:
    """What is wrong with each of so many samples, by reading every one."""
    found = []
    for number in range(count):
        try:
            read(number)
        except (ValueError, OSError) as error:
            found.append(str(error))
    return found


def _some(reasons: Iterable[str]) -> str:
    listed = list(reasons)
    return ", ".join(listed[:NAMED]) + (f", and {len(listed) - NAMED} more" * (len(listed) > NAMED))
