"""Artifacts, and what executes them.

    artifact.py    `Artifact` and `TensorSpec`: a model file and its input and output tensors
    session.py     `Session`, what executes a file: arrays in, arrays out; a subclass per runtime
    sessions.py    the session for a file, by what it is
    not_finite.py  outputs that hold NaN or infinity
    litert.py      LiteRT on the host CPU (measured)
    tflite_graph.py  a TFLite file read and changed: operators, tensors, multiply-accumulates;
                   tflite_integers.py: what it computes with integers
    onnx_session.py  ONNX Runtime, by default on the host CPU (measured), or on Qualcomm's HTP
    ort.py         how ONNX Runtime and its providers are set up; onnx_file.py: its files
    onnx_graph.py  what ONNX Runtime really computed with integers; onnx_integer_forms.py: what it
                   can compute so
    tensorflow_graphs.py  a SavedModel, what an export is compared with; the host's part of a TF1
                   graph
    torch_program.py  an exported PyTorch program, likewise; program_archive.py: whether its file
                   can be loaded without running code of it
    archive.py     what is in a zip archive, before anything of it is unpacked

A new runtime is a subclass of `Session`, and its suffix in `sessions.py`.
"""
