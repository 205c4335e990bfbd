"""The same failure raised anew."""

from __future__ import annotations

import copy


def again(error: Exception) -> Exception:
    """A fresh exception of the same type, message, notes and attributes, without a traceback.

    An exception object that is raised twice collects the tracebacks of both: whoever met it second
    is told where the first was. One that cannot be copied is returned itself.
    """
    try:
        twin = copy.copy(error)
    except Exception:  # its class takes other arguments than it keeps in `args`
        twin = _rebuilt(error)
    if type(twin) is not type(error) or str(twin) != str(error):
        return error
    twin.__cause__, twin.__suppress_context__ = error.__cause__, True
    if notes := getattr(error, "__notes__", None):
        twin.__notes__ = list(notes)
    return twin


def _rebuilt(error: Exception) -> Exception:
    twin = type(error).__new__(type(error), *error.args)
    twin.args = error.args
    twin.__dict__.update(error.__dict__)
    return twin
