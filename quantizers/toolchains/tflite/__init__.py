"""TensorFlow Lite's quantization, and the ways to a float `.tflite` of each source format.

toolchain.py    `Tflite`: what the pipeline knows of this toolchain, and its stages
convert.py      a SavedModel or float `.tflite`, converted and quantized by TensorFlow
from_torch.py   a float `.tflite` of a PyTorch program
from_onnx.py    a float `.tflite` of an ONNX file (onnx_forms.py, onnx2tf_runner.py)
collector.py    statistics of activations
ranges.py       ranges written into the file
int16_forms.py  operators without an int16 form, by others
"""
