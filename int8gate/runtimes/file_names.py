"""What the files are called that a stage leaves in its directory."""

SAVED_MODEL = "saved_model"  # a directory, as TensorFlow writes it
PROGRAM = "program.pt2"  # `torch.export`
ONNX = "model.onnx"
TFLITE = "model.tflite"
ARTIFACT = {"onnx": ONNX, "tflite": TFLITE}  # by toolchain
