"""A recipe of the team."""

from int8gate.quantizers.recipe import Recipe, Rule, register

register(
    Recipe(
        name="team_int8",
        summary="static INT8 (QDQ), one scale for each weight tensor, ranges of 99.99%",
        toolchain="onnx",
        rules=(Rule("*", weights="int8", activations="uint8"),),
        calibration="percentile",
        per_channel=False,
    )
)
