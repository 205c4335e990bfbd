"""Darknet's .cfg and .weights to a PyTorch network: `importer.py` first."""
