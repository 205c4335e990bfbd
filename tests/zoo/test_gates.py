"""The gates of every model of the zoo: they stand in `int8gate/plugin/gates.py`."""

from int8gate.plugin.gates import *  # noqa: F403
