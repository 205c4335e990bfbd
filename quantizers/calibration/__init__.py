"""Calibration in constant memory: what is kept of each tensor, and the ranges made of it.

    shards.py          one pass over the samples in parts, on workers, merged and not done twice
    sample_file.py     samples on disk, read one at a time
    statistics.py      `TensorStatistics`: histogram, extremes, moments; merging is exact; which
                       elements are counted; the histogram as seen from zero
    histogram.py       counts on a dyadic lattice: a function of the values, not of their order
    thresholds.py      statistics to ranges: min_max, percentile, entropy, mse
    expected_error.py  the error behind mse and what the report tells of a range
    table.py           statistics of all tensors in a file, and as rows of the report

A part is run by `collector.py` of its toolchain.
"""
