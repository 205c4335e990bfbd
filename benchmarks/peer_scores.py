"""What `benchmarks.peers` judges the quantized files by: our evaluation, and SQNR of the logits."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.peer_environments import Absent
from int8gate.engine.worker import WorkerError
from int8gate.model_zoo.spec import ModelSpec
from int8gate.quantizers import steps
from int8gate.quantizers.pipeline import Built, Pipeline
from int8gate.quantizers.recipe_type import Recipe
from int8gate.quantizers.toolchains import registry
from int8gate.runtimes import litert, onnx_session, ort
from int8gate.runtimes.artifact import SAVED_MODEL, as_artifact
from int8gate.validation import cached_results, case_stages
from int8gate.validation.around_network import Scoring, network_inputs
from int8gate.validation.case_run import CaseRun
from int8gate.validation.evaluation import FIDELITY_SAMPLES
from int8gate.validation.fidelity import OutputFidelity, worst_sqnr
from int8gate.validation.metrics.registry import metric
from int8gate.validation.speed import interleave

AROUND_SOFTMAX = ("DequantizeLinear", "QuantizeLinear", "Identity")


class Judge:
    """Scores files of one model against its float artifact."""

    def __init__(
        self, spec: ModelSpec, first: Recipe, pipeline: Pipeline, samples: int | None
    ) -> None:
        self._run, self._pipeline = CaseRun(spec, first, pipeline), pipeline
        self._count = min(samples or self._run.scoring.samples, self._run.scoring.samples)
        done = steps.run_steps(pipeline.steps(spec, first), pipeline.runner)
        self.samples = steps.arrays_of(done[steps.INPUTS])
        saved = done[steps.EXPORTED].path / SAVED_MODEL
        self.saved_model = saved if saved.is_dir() else None
        self.float_file = self._run.float_built.artifact.path

    def row(self, file: Path, cost: dict) -> list[str]:
        """The figures of a file as the table has them, and of its making (`cpu_s`, `peak_mb`)."""
        run, runner = self._run, self._pipeline.runner
        describe = litert.describe if file.suffix == ".tflite" else onnx_session.describe
        try:
            built = Built(as_artifact(file, runner.in_worker(describe, file).value, {}))
            own = case_stages.evaluate_pair(
                run.plan,
                self._pipeline,
                run.float_built,
                run.scoring,
                run.result("host"),
                self._count,
                built,
            )
            timed = runner.in_worker(interleave, self.float_file, file).value
            kind = registry.find(file.suffix[1:])
            integer = runner.in_worker(kind.integer_operators, file).value["fraction"]
            logits = runner.in_worker(logits_sqnr, self.float_file, file, self._scoring).value
        except WorkerError as error:
            raise Absent(str(error).splitlines()[0][:120]) from error
        gated = metric(run.plan.metrics[0])
        found = cached_results.compared(
            self._pipeline.cache,
            run.plan.metrics,
            run.float_evaluation,
            own,
            run.expected.accuracy,
            lambda score: run.expected.tolerance(score, gated.higher_is_better),
            self._pipeline.settings.seed,
        )
        return [
            f"{found.quantized_score:.4f}",
            f"{found.test.drop:+.4f}",
            _figure(found.test.drop_upper_95, "+.4f"),
            _figure(own.sqnr_db, ".1f"),
            _figure(logits, ".1f"),
            _figure(integer, ".1%"),
            f"{cost['cpu_s']:.1f}",
            f"{cost['peak_mb']:.0f}",
            f"{file.stat().st_size / 1024:.0f}",
            f"{1000 * float(np.median(timed.quantized_s)):.2f}",
            f"{timed.speedup:.2f}",
        ]

    @cached_property
    def _scoring(self) -> Scoring:
        run, scoring, host = self._run, self._run.scoring, self._run.result("host")
        samples = self._pipeline.data.samples(run.spec, "evaluation")
        around = run.plan.network, scoring.decode, host and host.path
        return Scoring(samples, run.spec.preprocessing, scoring.metrics, *around)


def logits_sqnr(reference: Path, file: Path, scoring: Scoring) -> float | None:
    """SQNR in dB of what the last softmax reads; None where the output is no softmax's.

    On the samples that fidelity is measured on, with one output alone.
    """
    inputs = network_inputs(scoring, FIDELITY_SAMPLES)
    if len(inputs) != 1:
        return None
    found = []
    for model in (reference, file):
        values = (_of_tflite if model.suffix == ".tflite" else _of_onnx)(model, inputs[0])
        if values is None:
            return None
        found.append(values.reshape(len(values), -1))
    fidelity = OutputFidelity("logits")
    fidelity.add(*found)
    return worst_sqnr([fidelity.row()])


def _of_onnx(file: Path, pictures: np.ndarray) -> np.ndarray | None:
    import onnx

    from int8gate.runtimes.session import in_layout

    model = onnx.load(str(file))
    producer = {name: node for node in model.graph.node for name in node.output}
    node = producer.get(model.graph.output[0].name)
    while node is not None and node.op_type in AROUND_SOFTMAX:
        node = producer.get(node.input[0])
    if len(model.graph.output) != 1 or node is None or node.op_type != "Softmax":
        return None
    name = node.input[0]
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, 1, None))
    session = ort.open_model(model.SerializeToString(), ort.options())
    (given,) = session.get_inputs()
    turned = in_layout(pictures, tuple(given.shape))
    rows = [session.run([name], {given.name: np.ascontiguousarray(x[None])})[0] for x in turned]
    return np.concatenate(rows)


def _of_tflite(file: Path, pictures: np.ndarray) -> np.ndarray | None:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(file), num_threads=1, experimental_preserve_all_tensors=True)
    runner.allocate_tensors()
    softmax = [each for each in runner._get_ops_details() if each["op_name"] == "SOFTMAX"]
    if len(runner.get_output_details()) != 1 or len(softmax) != 1:
        return None
    details = {each["index"]: each for each in runner.get_tensor_details()}
    given = litert.spec_of(runner.get_input_details()[0])
    index = int(softmax[0]["inputs"][0])
    rows = []
    for picture in pictures:
        runner.set_tensor(runner.get_input_details()[0]["index"], given.quantize(picture[None]))
        runner.invoke()
        rows.append(litert.spec_of(details[index]).dequantize(runner.get_tensor(index)))
    return np.concatenate(rows)


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
