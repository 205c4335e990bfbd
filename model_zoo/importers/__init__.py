"""Networks that arrive as files of other frameworks, brought to what the quantizers read.

`frozen_graph.import_frozen_graph` reads a TF1 frozen graph (`.pb`). Nothing here loads TensorFlow
before a function is called.
"""
