"""Tests that interrupt a process also run in the background.

What a shell starts there (`nohup make test &`) ignores Ctrl+C, and hands that down to its children.
"""

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
