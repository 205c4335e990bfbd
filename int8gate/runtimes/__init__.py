"""Artifacts, and what executes or times them.

    artifact.py    `Artifact` and `TensorSpec`: a model file and its input and output tensors
    litert.py      LiteRT on the host CPU (measured)
    tflite_graph.py  operators, tensor types and multiply-accumulates of a TFLite file
    onnx_session.py  ONNX Runtime, by default on the host CPU (measured); onnx_file.py its files
    onnx_graph.py  what ONNX Runtime really computed with integers
    saved_model.py a TensorFlow SavedModel, what an export is compared with
    torch_program.py  an exported PyTorch program, likewise; program_archive.py, program_graph.py
                   whether its file can be loaded without running code of it
    archive.py, memory.py, tflite_sizes.py  what a file asks for, counted before it is read
    sessions.py    the session for a file, by what it is
    code_identity.py  which code a result depends on, for cache keys
    targets.py     host CPU and NPUs by name
    ethos_u.py     Arm Ethos-U through the Vela compiler (modelled)
    qnn_htp.py     Qualcomm's HTP through ONNX Runtime (simulated; an extra)
    arm_cpu.py     Arm Cortex-A cores as a roofline range (modelled)

A new NPU is one module here, and its entry in `targets.py`.
This room imports nothing of ours.
"""
