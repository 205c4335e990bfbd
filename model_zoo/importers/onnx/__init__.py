"""An ONNX file checked and repaired before anything else: `importer.py` first."""
