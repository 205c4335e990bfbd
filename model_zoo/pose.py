"""Multi-person pose estimation. Compact: one to three drawn people on textures."""

from calibration_data.preprocessing import PIXELS
from model_zoo.spec import ModelSpec, Network

MODELS = [
    ModelSpec(
        name="posenet_mobilenet_v1",
        task="pose",
        source_format="frozen_graph",
        preprocessing=PIXELS,
        compact=Network(
            "model_zoo.architectures.posenet:posenet",
            (None, None, 3),
            (145, 113),
            classes=17,
            arguments={"width": 0.375},
            picture=(181, 141),
        ),
        full=Network(
            "model_zoo.architectures.posenet:posenet",
            (None, None, 3),
            (353, 257),
            classes=17,
            picture=(441, 321),
        ),
        paper="Papandreou et al., PersonLab: Person Pose Estimation and Instance Segmentation "
        "with a Bottom-Up, Part-Based, Geometric Embedding Model, 2018",
        graph="model_zoo.architectures.posenet_graph:frozen_graph",
        decode="model_zoo.architectures.posenet_decoding:decode",
    ),
]
