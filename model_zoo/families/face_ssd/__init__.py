"""A face detector of one class, SSD on MobileNet v1, as an ONNX file."""
