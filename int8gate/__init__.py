"""int8gate: proves, as a pytest run, that a quantized model may ship.

The work is in its rooms, the folders; `cli/app.py` is what is not a test run.
"""
