"""Pose estimation: of several people at once (task "pose"), of one in a crop ("keypoints").

Compact: drawn people on textures.
"""

from int8gate.calibration_data.preprocessing import PIXELS, SIGNED_UNIT
from int8gate.model_zoo.spec import TORCH_RECIPES, ModelSpec, Network

MODELS = [
    ModelSpec(
        name="posenet_mobilenet_v1",
        task="pose",
        source_format="frozen_graph",
        preprocessing=PIXELS,
        compact=Network(
            "int8gate.model_zoo.families.posenet.network:posenet",
            (None, None, 3),
            (145, 113),
            classes=17,
            arguments={"width": 0.375},
            picture=(181, 141),
        ),
        full=Network(
            "int8gate.model_zoo.families.posenet.network:posenet",
            (None, None, 3),
            (353, 257),
            classes=17,
            picture=(441, 321),
        ),
        paper="Papandreou et al., PersonLab: Person Pose Estimation and Instance Segmentation "
        "with a Bottom-Up, Part-Based, Geometric Embedding Model, 2018",
        graph="int8gate.model_zoo.families.posenet.graph:frozen_graph",
        decode="int8gate.model_zoo.families.posenet.decoding:decode",
    ),
    ModelSpec(
        name="cpn",
        task="keypoints",
        source_format="pytorch",
        preprocessing=SIGNED_UNIT,
        compact=Network(
            "int8gate.model_zoo.families.cpn.network:cpn",
            (128, 96, 3),
            (128, 96),
            classes=17,
            arguments={"features": 24, "embedding_size": 16, "hidden_sizes": (32, 64, 128, 256)},
        ),
        full=Network(
            "int8gate.model_zoo.families.cpn.network:cpn", (256, 192, 3), (256, 192), classes=17
        ),
        paper="Chen et al., Cascaded Pyramid Network for Multi-Person Pose Estimation, 2018",
        decode="int8gate.model_zoo.families.cpn.decoding:decode",
        training="int8gate.model_zoo.families.cpn.training:CPN",
        recipes=TORCH_RECIPES,
    ),
]
