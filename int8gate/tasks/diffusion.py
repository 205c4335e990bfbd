"""Pictures made of noise and a prompt, step by step."""

from int8gate.tasks.task import Scenes, Task

TASK = Task(
    name="diffusion",
    order=11,
    scenes={"diffusion": Scenes("int8gate.calibration_data.synthetic.prompts:draw", 10)},
    training="int8gate.model_zoo.training.torch_diffusion:DIFFUSION",
    zoo="int8gate.model_zoo.diffusion",
)
