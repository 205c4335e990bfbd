"""Tests that interrupt a process also run in the background: what a shell starts there
(`nohup make test &`) ignores Ctrl+C, and hands that down to its children.

And on busy machines: hypothesis fails no property because drawing an example took long.
"""

import signal

from hypothesis import HealthCheck, settings

settings.register_profile(
    "shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared machine")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
