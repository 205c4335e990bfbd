"""Networks that arrive as files of other frameworks, brought to what the quantizers read.

A folder for each kind of file, importer.py first: Darknet's .cfg and .weights, ONNX, TF1 frozen
graphs (`.pb`). Nothing here loads TensorFlow before a function is called.
"""
