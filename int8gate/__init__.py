"""int8gate: proves, as a pytest run, that a quantized model may ship.

The work is in the rooms beside this package; `app.py` is what is not a test run.
"""
