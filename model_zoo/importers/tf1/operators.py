"""TensorFlow's operators by their place in a network: the rule that uses them is told in `cut`."""

CONVOLUTIONS = {
    "Conv2D",
    "Conv2DBackpropInput",
    "Conv3D",
    "Conv3DBackpropInputV2",
    "DepthwiseConv2dNative",
}
PRODUCTS = {"MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum"}
SHAPES = {"Shape", "ShapeN", "Size", "Rank"}
INPUTS = {"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"}

PREPARING = {"Cast", "CropAndResize", "Bitcast", "OneHot", "GatherV2", "Gather", "GatherNd"} | {
    "ResizeBilinear",
    "ResizeNearestNeighbor",
    "ResizeBicubic",
    "ResizeArea",
    "ScaleAndTranslate",
}
ACTIVATIONS = {"Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Sigmoid", "Tanh", "Softmax"} | {
    "Softplus",
    "LogSoftmax",
}
NORMALIZATIONS = {"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"}
BY_CHANNEL = {"BiasAdd"} | NORMALIZATIONS
LINEAR = {"Add", "AddV2", "Sub", "Mul", "RealDiv"}
MOVING = {"Identity", "Reshape", "Squeeze", "ExpandDims", "ConcatV2", "Concat", "Pad"} | {
    "DepthToSpace",
    "SpaceToDepth",
    "BatchToSpaceND",
    "SpaceToBatchND",
    "ResizeBilinear",
    "ResizeNearestNeighbor",
}
FAKE_QUANTIZATION = {
    "FakeQuantWithMinMaxArgs",
    "FakeQuantWithMinMaxVars",
    "FakeQuantWithMinMaxVarsPerChannel",
}
NARROW = FAKE_QUANTIZATION | ACTIVATIONS | BY_CHANNEL | LINEAR | MOVING
CONVERTIBLE = (
    NARROW
    | CONVOLUTIONS
    | PRODUCTS
    | {
        "Transpose",
        "Pack",
        "Unpack",
        "Split",
        "SplitV",
        "Slice",
        "StridedSlice",
        "PadV2",
        "MirrorPad",
        "MaxPool",
        "AvgPool",
        "Mean",
        "Sum",
        "Max",
        "Min",
        "Maximum",
        "Minimum",
        "Square",
        "SquaredDifference",
        "Rsqrt",
        "Sqrt",
        "Abs",
        "Neg",
        "AddN",
        "Tile",
    }
)

TAKING_APART = {"StridedSlice", "Slice", "Pack", "Unpack", "Transpose"} | MOVING - {"Pad"}
