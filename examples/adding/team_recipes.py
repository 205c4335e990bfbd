"""A recipe of the team: all is INT8 but for the head."""

from int8gate.quantizers.recipe import Recipe, Rule, register

register(
    Recipe(
        name="team_int8",
        summary="static INT8 (QDQ) but for the head, one scale for each weight tensor",
        toolchain="onnx",
        rules=(
            Rule("*", weights="int8", activations="uint8"),
            Rule("head*", weights="float32", activations="float32"),
        ),
        calibration="percentile",
        per_channel=False,
    )
)
