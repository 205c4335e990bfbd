"""The network cut out of a TF1 frozen graph with control flow: `importer.py` first."""
