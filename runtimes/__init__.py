"""Artifacts, and what executes or times them.

    artifact.py    `Artifact` and `TensorSpec`: a model file and its input and output tensors
    litert.py      LiteRT on the host CPU (measured)
    tflite_graph.py  operators, tensor types and multiply-accumulates of a TFLite file
    saved_model.py a TensorFlow SavedModel, what an export is compared with
    ethos_u.py     Arm Ethos-U through the Vela compiler (modelled)
    arm_cpu.py     Arm Cortex-A cores as a roofline range (modelled)

A new NPU is one module here that offers `targets()`; see `ethos_u.py`.
This room imports nothing of ours.
"""
