"""A picture of twice the size."""

from int8gate.tasks.task import Scenes, Task

TASK = Task(
    name="super_resolution",
    order=6,
    metrics=("psnr", "ssim"),
    data="low/ and high/ of equal names, twice as large; or pictures alone",
    folders=("pairs",),
    decode="int8gate.model_zoo.user_models.decoding:luminance_of",
    read_by="",
    scenes={
        "super_resolution": Scenes(
            "int8gate.calibration_data.synthetic.super_resolution:draw", None
        ),
        "colour_super_resolution": Scenes(
            "int8gate.calibration_data.synthetic.colour_super_resolution:draw", None
        ),
    },
    training="int8gate.model_zoo.training.super_resolution:SUPER_RESOLUTION",
    zoo="int8gate.model_zoo.super_resolution",
    packages=("skimage",),  # SSIM
)
