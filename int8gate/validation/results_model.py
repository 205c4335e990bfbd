"""`results.json` as types: what `int8gate validate` and the tests check, and its JSON Schema is of.

`results.schema.json`, shipped beside this file, is `schema_text()`; a test compares them. A case
holds the fields that are named here and no others; within them more figures may stand. Nothing of a
run imports this module: pydantic takes a tenth of a second.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, FiniteFloat

from int8gate.engine.schema import Exact, Mistakes, Open, checked
from int8gate.validation.record import SCHEMA

SCHEMA_FILE = Path(__file__).with_name("results.schema.json")
MORE = 3  # mistakes that are told one by one

Status = Literal[
    "passed",
    "recorded",
    "unsupported",
    "not_measured",
    "inconclusive",
    "failed",
    "invalid",
    "error",
]


class Environment(Exact):
    """What the figures depend on besides the models."""

    int8gate: str | None
    python: str
    platform: str
    cpu: str | None
    cores: int | None
    packages: dict[str, str | None]
    profile: Literal["compact", "full"]
    weights: Literal["trained", "random"]
    commit: str | None = Field(description="9 digits, and + where files were changed since")
    started: str = Field(description="ISO 8601")
    command: str
    finished: bool


class Regression(Exact):
    """A figure that got worse than the baseline or an earlier run allow."""

    case: str
    figure: str
    target: str | None
    against: str
    message: str


class Answer(Exact):
    kind: Literal["nothing", "unfinished", "no", "structure", "selected", "declared", "yes"]
    exit_code: int
    may_ship: list[str]


class Conversion(Open):
    status: Literal["converted", "not_converted", "not_applicable"]
    how: str
    repairs: list[Any]
    cut: list[Any]
    left: list[str]
    log: str | None


class Accuracy(Open):
    """Scores in the metric's unit; the drop is from float, with one-sided bounds of 95%."""

    metric: str
    quantized: FiniteFloat | None
    float: FiniteFloat | None
    drop: FiniteFloat | None
    drop_upper_95: FiniteFloat | None
    tolerance: FiniteFloat | None
    tolerance_rule: str | None
    samples: int
    sources: int


class Fidelity(Open):
    sqnr_db: FiniteFloat | None
    cosine: FiniteFloat | None


class Tensor(Open):
    name: str
    shape: list[int | None]
    dtype: str


class Io(Exact):
    inputs: list[Tensor]
    outputs: list[Tensor]


class IntegerOps(Open):
    fraction: FiniteFloat | None
    float_ops: list[Any]


class Size(Open):
    float: int | None
    quantized: int
    ratio: FiniteFloat | None


class Cpu(Open):
    kind: Literal["measured"]
    float_ms: FiniteFloat | None
    quantized_ms: FiniteFloat | None
    speedup: FiniteFloat | None


class Artifact(Open):
    path: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Estimate(Open):
    """A median of rounds with its 95% interval."""

    value: FiniteFloat
    lower_95: FiniteFloat
    upper_95: FiniteFloat


class TimedStep(Open):
    """A step of generation in interleaved rounds; a float case has its own figures alone."""

    float: Estimate
    quantized: Estimate | None
    speedup: Estimate | None
    rounds: int


class Consistency(Open):
    """Logits of generation with a cache against those of the scored artifact, on the same tokens;
    differences are shares of the logits' spread.
    """

    samples: int
    tokens: int
    difference: FiniteFloat | None = Field(description="null where it is not finite")
    quantization: FiniteFloat | None = Field(description="of the scored artifact to float")
    largest_logit: FiniteFloat | None
    same_tokens: FiniteFloat
    same_weights: bool
    allowed: FiniteFloat
    holds: bool


class Generation(Open):
    """Prefill of a prompt, and decode with a key-value cache; `reason` says why not measured."""

    kind: Literal["measured"] | None
    host: str | None
    threads: int | None
    prompt: int | None = Field(description="tokens")
    first_token_ms: TimedStep | None
    tokens_per_s: TimedStep | None
    consistency: Consistency | None
    artifacts: dict[str, Artifact] | None
    reason: str | None


class OnTarget(Open):
    target: str
    kind: Literal["measured", "modelled", "simulated"]


class TriedRecipe(Open):
    """A rung of the ladder of remedies, or the case itself; the gain is over that."""

    recipe: str
    verdict: str
    drop: FiniteFloat | None
    drop_upper_95: FiniteFloat | None
    gain: FiniteFloat | None
    seconds: FiniteFloat


class Rescue(Open):
    """The first recipe that passes is the winner, null where none does."""

    base: TriedRecipe
    tried: list[TriedRecipe]
    winner: str | None
    ending: str


class Training(Open):
    """How a trained recipe's weights and scales were trained; drops are of its validation part."""

    ending: str
    is_within_tolerance: bool
    steps: int
    seconds: FiniteFloat
    best_step: int
    start: str
    looks: list[dict[str, Any]]
    losses: list[tuple[int, FiniteFloat]]
    label_share: FiniteFloat | None = Field(
        default=None, description="of the loss that labels had; the rest is the float network's"
    )
    agreement: dict[str, Any] | None = Field(
        default=None, description="of fake quantization and the runtime, on the validation part"
    )


class Case(Exact):
    """A model with a recipe; a field that was not measured is null."""

    model: str
    recipe: str
    task: str
    source_format: str
    profile: Literal["compact", "full"]
    verdict: (
        Literal["passed", "error", "invalid", "failed", "inconclusive", "not_judged", "unsupported"]
        | None
    )
    reason: str
    gates: dict[str, Status | None]
    pending: list[str] = Field(description="gates that were selected and have not ended")
    deselected: list[str] = Field(description="gates that the command line left out")
    conversion: Conversion | None
    calibration: dict[str, Any] | None
    calibration_audit: list[dict[str, Any]] | None
    training: Training | None = Field(default=None, description="of a trained recipe")
    accuracy: Accuracy | None
    fidelity: Fidelity | None
    error_origin: dict[str, Any] | None
    rescue: Rescue | None = Field(description="what was tried where accuracy did not hold")
    io: Io | None
    integer_ops: IntegerOps | None
    size_bytes: Size | None
    cpu: Cpu | None
    generation: Generation | None = Field(default=None, description="of a language model")
    npu: list[OnTarget]
    seconds: dict[str, FiniteFloat | None] | None
    peak_rss_bytes: int | None
    artifact: Artifact | None
    messages: dict[str, str]
    notes: list[str]


class Recommended(Exact):
    """The recipe to take for a target, null where none passes there."""

    target: str
    recipe: str | None
    reason: str


class Rank(Exact):
    """`rank` is shared by recipes that cannot be told apart, null of what was not scored; `fronts`
    are the targets, and size, in which no other recipe is better in accuracy and cost, those in
    `by_chance` only by a difference of accuracy that may be chance.
    """

    recipe: str
    rank: int | None
    fronts: list[str]
    by_chance: list[str]


class Methods(Exact):
    """The recipes of a model compared, best first."""

    model: str
    profile: Literal["compact", "full"]
    recommended: list[Recommended]
    ranks: list[Rank]
    notes: list[str]


class Results(Exact):
    """A whole run."""

    schema_: Literal[2] = Field(alias="schema")
    environment: Environment
    regressions: list[Regression]
    answer: Answer
    methods: list[Methods] = Field([], description="of models with two recipes that were scored")
    cases: list[Case]


def check(content: object, where: str) -> None:
    """Raises ValueError in one sentence for results that are not of the current schema.

    It says where each mistake is, what was expected and what stands there.
    """
    try:
        checked(Results, content)
    except Mistakes as wrong:
        told = "; ".join(map(str, wrong.found[:MORE]))
        more = f"; and {len(wrong.found) - MORE} more" if len(wrong.found) > MORE else ""
        raise ValueError(
            f"{where} is not of schema {SCHEMA}: {told}{more}: write it again with pytest --report"
        ) from None


def schema_text() -> str:
    """The JSON Schema of `Results`, as `results.schema.json` has it."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"int8gate/results/{SCHEMA}",
        **Results.model_json_schema(by_alias=True),
    }
    return json.dumps(schema, indent=1) + "\n"
