"""Checkpoints of language models that do not fit into memory become quantized ONNX models.

`quantize_checkpoint` is the door. `checkpoint` reads and checks the files, `causal_network` makes
the graph of a network that has no weights, `repeated_layers` repeats a layer of it, `data_plan`
says where each tensor of the ONNX model will lie in its data file, `data_writer` fills that file
and can go on where it was killed.
"""
