"""ONNX Runtime's quantization: from a float graph to QDQ, and the ways to that graph.

toolchain.py         `Onnx`: what the pipeline knows of this toolchain; loads nothing of the rest
stages.py            calibration and quantization, as they run in the worker process
from_torch.py        a float ONNX file of a PyTorch program, or of a user's file
prepare.py           what the stock quantizer needs of a graph
rewrites.py          operators without an integer kernel, by others: convolution_forms.py,
                     tensor_forms.py; graph_view.py: what they look at
collector.py         statistics of activations, through taps in the graph (taps.py)
layer_list.py        what can be quantized; segments.py: of parts of a graph, in memory
quantize.py          to INT8; static.py: QDQ, by stock_quantizer.py; weight_scales.py: of channels;
                     placement.py: which nodes compute with integers
weight_only.py       weights of matrix products in blocks, activations float
gptq_rounding.py     and their rounding by what a layer reads
weighted_network.py  a float file's layers, read and changed; rounded_weights.py: with the weights
                     of a quantized one; remedies.py, rounding_remedies.py: stages of remedies
"""
