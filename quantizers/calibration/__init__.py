"""Calibration in constant memory: what is kept of each tensor, and the ranges made of it.

onnx_collector.py, tflite_collector.py   one pass over the samples: statistics of every tensor
shards.py          the same in parts, on workers, that are merged and not done twice
histogram.py       counts on a dyadic lattice: a function of the values, not of their order
statistics.py      `TensorStatistics`: histogram, extremes, moments; merging is exact
magnitudes.py      the histogram as seen from zero
thresholds.py      statistics to ranges: min_max, percentile, entropy, mse
divergence.py      the search behind entropy
expected_error.py  the error behind mse and what the report tells of a range
table.py           statistics of all tensors in a file, and as rows of the report
"""
