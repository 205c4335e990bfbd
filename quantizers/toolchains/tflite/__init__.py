"""TensorFlow Lite's quantization, and the ways to a float `.tflite` of each source format."""
