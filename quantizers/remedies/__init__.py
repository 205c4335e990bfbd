"""Remedies: they change a float artifact before it is quantized.

float_network.py       the view of an artifact that all of them take, whatever its format
equalization.py        cross-layer equalization, of groups of layers (scaling_groups.py)
smoothing.py           SmoothQuant
bias_correction.py     mean errors of channels taken from their biases
adaptive_rounding.py   weights rounded for a layer's real inputs; rounding.py: which way
patches.py             what a layer multiplies its weights with
trial.py               a network quantized on trial and compared with float, on samples held out
notes.py               what was left alone, in words

Their stages are in `remedies.py` and `rounding_remedies.py` of each toolchain.
"""
