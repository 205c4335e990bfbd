"""ONNX Runtime's quantization: from a float graph to QDQ, and the ways to that graph."""
