"""Object detection. Compact: handwritten digits among strokes. Full: COCO, 90 classes."""

from calibration_data.preprocessing import PIXELS
from model_zoo.spec import ModelSpec, Network

SSD = "model_zoo.architectures.ssd_mobilenet_v1:ssd_mobilenet_v1"

MODELS = [
    ModelSpec(
        name="ssd_mobilenet_v1",
        task="detection",
        source_format="frozen_graph",
        preprocessing=PIXELS,  # the network scales to -1..1 by itself
        compact=Network(
            SSD, (128, 128, 3), (128, 128), 5, arguments={"alpha": 0.3}, picture=(160, 160)
        ),
        full=Network(SSD, (300, 300, 3), (300, 300), 90, picture=(480, 640)),
        paper="Huang et al., Speed/accuracy trade-offs for modern convolutional detectors, 2017",
        graph="model_zoo.architectures.ssd_graph:frozen_graph",
        decode="model_zoo.architectures.ssd_graph:decode",
    ),
]
