"""TensorFlow Lite's quantization, and the ways to a float `.tflite` of each source format.

toolchain.py    `Tflite`: what the pipeline knows of this toolchain; loads nothing of the rest
stages.py       calibration and quantization, as they run in the worker process
convert.py      a SavedModel or float `.tflite`, converted and quantized by TensorFlow
from_torch.py   a float `.tflite` of a PyTorch program
from_onnx.py    a float `.tflite` of an ONNX file (onnx_forms.py, onnx2tf_runner.py)
collector.py    statistics of activations
broadcasts.py   repetitions as an NPU has them; embeddings.py: lookups as the quantizer takes them
layer_list.py   what can be quantized; segments.py: of parts of a graph, in memory
weighted_network.py  a float file's layers, read and changed (graph_edit.py);
                rounded_weights.py: with the weights of a quantized one; remedies.py,
                rounding_remedies.py: the stages of remedies
ranges.py       ranges written into the file
width_forms.py  which operators can have int16 or int4; int16_forms.py: some that cannot, by others
                that can; attention_masks.py: masks that a scale of 8 bits can hold
tensor_names.py the names of inputs and outputs that a user's file has
"""
