"""Remedies: they change a float artifact before it is quantized.

`network.py` is the view of an artifact that all of them take, whatever its format.
"""
