"""A picture for a prompt, drawn step by step from noise."""

from int8gate.tasks.task import Scenes, Task

TASK = Task(
    name="diffusion",
    order=11,
    metrics=("reads_as",),
    to_float={
        "picture_psnr": "int8gate.validation.to_float:picture_psnr",
        "picture_ssim": "int8gate.validation.to_float:picture_ssim",
    },
    shows_pictures=True,
    is_for_users=False,  # a pipeline of several networks is no file
    scenes={"diffusion": Scenes("int8gate.calibration_data.synthetic.prompts:draw", 10)},
    training="int8gate.model_zoo.training.torch_diffusion:DIFFUSION",
    zoo="int8gate.model_zoo.diffusion",
    packages=("skimage", "sklearn"),  # SSIM, and what reads digits
)
