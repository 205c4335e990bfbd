"""An ONNX file checked and repaired before anything else: importer.py first.

importer.py      somebody's file in, a float model of fixed shape out
checked_file.py  what the file is, whether it is whole, what it asks for
repairs.py       inputs, operator set, precision
qdq/             files that came with scales
structure.py     names, order, types and shapes
"""
