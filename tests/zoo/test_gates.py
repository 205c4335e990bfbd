"""The gates of every model of the zoo: they stand in `int8gate/gates.py`."""

from int8gate.gates import *  # noqa: F403
