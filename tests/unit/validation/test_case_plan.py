"""A case's stages: in the order of the data, each once, a fresh exception for each gate."""

from __future__ import annotations

from graphlib import TopologicalSorter

import pytest
import tiny_torch

from int8gate.model_zoo.registry import zoo
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.settings import Settings
from int8gate.validation.case_plan import CasePlan, plan
from int8gate.validation.case_run import CaseRun
from int8gate.validation.case_stages import CaseStage, stages_of
from int8gate.validation.expectations import expectations_for

EXPECTED = expectations_for("unet-tflite_int8")


class Planning:
    """What a plan asks of a pipeline, of the zoo's models without quantized files' float twins."""

    settings = Settings()

    def __init__(self, has_weights: bool = True):
        self.has_weights = has_weights

    def resolved(self, spec):
        return spec

    def weights(self, spec):
        if not self.has_weights:
            raise FileNotFoundError(spec.name)


def planned(name: str, recipe: str, **chosen) -> CasePlan:
    return plan(zoo()[name], RECIPES[recipe], Planning(**chosen))


CASES = {
    "calibrated": planned("unet", "tflite_int8"),
    "reference": planned("unet", "tflite_fp32"),
    "slow": planned("unet", "tflite_int16x8"),
    "graph": planned("fsrcnn", "tflite_int8"),
    "torch": planned("vit", "onnx_int8"),
    "prequantized": planned("efficientnet_edgetpu_s", "prequantized"),
    "alone": planned("efficientnet_edgetpu_s", "prequantized", has_weights=False),
}


@pytest.mark.parametrize("case", CASES)
def test_every_stage_stands_behind_what_it_takes(case):
    listed = stages_of(CASES[case], EXPECTED)
    seen: set[str] = set()
    for stage in listed:
        assert {*stage.inputs, *stage.on_demand} <= seen, stage.name
        seen.add(stage.name)
    assert len(seen) == len(listed)
    TopologicalSorter({stage.name: stage.inputs for stage in listed}).prepare()
    assert {"built", "scoring", "evaluation", "audit"} <= seen
    assert ("float_built" in seen) == CASES[case].has_float


def test_a_plan_is_resolved_and_frozen():
    case = CASES["graph"]
    assert case.source.is_cut
    assert case.toolchain.reference.name == "tflite_fp32"
    with pytest.raises(AttributeError):
        case.recipe = RECIPES["tflite_fp32"]
    assert not CASES["alone"].has_float


def run_of(*stages: CaseStage) -> CaseRun:
    run = CaseRun(tiny_torch.TORCH, RECIPES["onnx_int8"], Planning())
    run.__dict__["_stages"] = {stage.name: stage for stage in stages}
    return run


def test_a_stage_runs_once_and_only_where_it_is_asked_for():
    calls = []

    def stage(name, *inputs, later=()):
        def called(plan, pipeline, *values):
            calls.append(name)
            return (name, *(value() if callable(value) else value for value in values))

        return CaseStage(name, called, inputs, later)

    run = run_of(stage("a"), stage("unused"), stage("b", "a"), stage("c", "b", later=("a",)))
    assert run.result("c") == ("c", ("b", ("a",)), ("a",))
    assert run.result("b") == ("b", ("a",))
    assert calls == ["a", "b", "c"]


def test_a_failure_is_met_once_and_raised_afresh():
    calls = []

    def fails(plan, pipeline):
        calls.append(1)
        raise RuntimeError("the converter crashed")

    run = run_of(CaseStage("built", fails), CaseStage("evaluation", lambda *_: None, ("built",)))
    met = []
    for name in ("built", "evaluation", "built"):
        with pytest.raises(RuntimeError, match="the converter crashed") as found:
            run.result(name)
        met.append(found.value)
    assert len(calls) == 1
    assert len({id(error) for error in met}) == 3
