"""Darknet's .cfg and .weights to a PyTorch network: importer.py first.

importer.py  a pair of files in, a network out, and back; the format of .weights
cfg.py       sections and options
layers.py    from sections to modules and their shapes
"""
