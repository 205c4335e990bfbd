"""Artifacts, and what executes them.

    artifact.py    `Artifact` and `TensorSpec`: a model file and its input and output tensors
    session.py     `Session`, what executes a file: arrays in, arrays out; a subclass per runtime
    sessions.py    the session for a file, by what it is
    litert.py      LiteRT on the host CPU (measured)
    tflite_graph.py  operators, tensor types and multiply-accumulates of a TFLite file
    onnx_session.py  ONNX Runtime, by default on the host CPU (measured); qnn.py on Qualcomm's HTP
    ort.py         how ONNX Runtime is set up; onnx_file.py its files
    onnx_graph.py  what ONNX Runtime really computed with integers
    saved_model.py a TensorFlow SavedModel, what an export is compared with
    torch_program.py  an exported PyTorch program, likewise; program_archive.py, program_graph.py
                   whether its file can be loaded without running code of it
    archive.py  what a file asks for, counted before it is read

A new runtime is a subclass of `Session`, and its suffix in `sessions.py`.
"""
