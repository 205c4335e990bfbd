"""TensorFlow graphs on the host: SavedModels, and a TF1 graph whose network runs elsewhere.

A `SavedModelSession` is what an export is compared with. A `HostGraph` is what an imported frozen
graph computes before and after its network.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from int8gate.runtimes.artifact import TensorSpec, in_order
from int8gate.runtimes.host import Host
from int8gate.runtimes.session import UNKNOWN, Session

GRAPH, REPORT = "host.pb", "import.json"


class SavedModelSession(Session):
    """The `serving_default` signature of a SavedModel whose batch dimension is 1."""

    def __init__(self, directory: Path):
        import tensorflow as tf

        self._loaded = tf.saved_model.load(str(directory))
        self._serve = self._loaded.signatures["serving_default"]
        ends = self._serve.structured_input_signature[1], self._serve.structured_outputs
        super().__init__(directory, *([_spec(n, end[n]) for n in in_order(end)] for end in ends))
        self._inputs, self._results = {}, {}

    def set_input(self, position: int, value: np.ndarray) -> None:
        import tensorflow as tf

        self._inputs[self.inputs[position].name] = tf.constant(value)

    def invoke(self) -> None:
        self._results = self._serve(**self._inputs)

    def get_outputs(self) -> list[np.ndarray]:
        return [self._results[spec.name].numpy() for spec in self.outputs]


def _spec(name: str, tensor) -> TensorSpec:
    sides = tensor.shape.as_list() if tensor.shape.rank is not None else []
    shape = tuple(UNKNOWN if side is None else side for side in sides)
    return TensorSpec(name, shape, tensor.dtype.name)


def session(graph, optimize: bool):
    """A `tf.compat.v1.Session` of one thread on the CPU.

    Without `optimize` it runs the graph as it is written, and begins sooner.
    """
    import tensorflow as tf

    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=1, inter_op_parallelism_threads=1, device_count={"GPU": 0}
    )
    if not optimize:
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        config.graph_options.optimizer_options.opt_level = tf.compat.v1.OptimizerOptions.L0
    return tf.compat.v1.Session(graph=graph, config=config)


class HostGraph(Host):
    """Pre- and post-processing of an imported frozen graph, in float, on one thread of the CPU.

    `directory` holds host.pb and import.json. An image is (1, ...), of a dtype that casts to the
    graph's; a graph of several inputs takes a list of them. `optimize`: TensorFlow may rewrite the
    graph for speed, which rounds elsewhere.
    """

    def __init__(self, directory: Path, optimize: bool = True):
        import tensorflow as tf

        report = json.loads((Path(directory) / REPORT).read_text())
        self._inputs, self._outputs = report["inputs"], report["outputs"]
        self._begin, self._end = report["network_inputs"], report["network_outputs"]
        self.has_preprocessing: bool = self._inputs != self._begin
        self.has_postprocessing: bool = self._outputs != self._end
        graph_def = tf.compat.v1.GraphDef.FromString((Path(directory) / GRAPH).read_bytes())
        self._graph = tf.Graph()
        with self._graph.as_default():
            tf.graph_util.import_graph_def(graph_def, name="")
        self._session = session(self._graph, optimize)

    def before(self, sample: np.ndarray | list[np.ndarray]) -> list[np.ndarray]:
        """The network's inputs, float32."""
        feed = self._feed(sample)
        return self._run(self._begin, feed) if self.has_preprocessing else list(feed.values())

    def after(
        self, sample: np.ndarray | list[np.ndarray], outputs: list[np.ndarray]
    ) -> list[np.ndarray]:
        """The graph's outputs, from the network's (real values, float32)."""
        if len(outputs) != len(self._end):
            raise ValueError(
                f"{len(outputs)} outputs of the network, expected {len(self._end)}: "
                f"{', '.join(self._end)}"
            )
        fed = dict(zip(self._end, map(np.asarray, outputs), strict=True))
        if not self.has_postprocessing:
            return list(fed.values())
        return self._run(self._outputs, self._feed(sample) | fed)

    def whole(self, image: np.ndarray | list[np.ndarray]) -> list[np.ndarray]:
        """The graph's outputs in float, from end to end."""
        return self._run(self._outputs, self._feed(image))

    def _run(self, fetch: list[str], feed: dict) -> list[np.ndarray]:
        return [np.asarray(value) for value in self._session.run(fetch, feed)]

    def _feed(self, image: np.ndarray | list[np.ndarray]) -> dict[str, np.ndarray]:
        images = image if isinstance(image, (list, tuple)) else [image]
        if len(images) != len(self._inputs):
            raise ValueError(
                f"{len(images)} images, expected one for each of {', '.join(self._inputs)}"
            )
        pairs = zip(self._inputs, images, strict=True)
        return {name: self._fitted(name, np.asarray(value)) for name, value in pairs}

    def _fitted(self, name: str, image: np.ndarray) -> np.ndarray:
        declared = self._graph.get_tensor_by_name(name)
        dtype, shape = declared.dtype.as_numpy_dtype, tuple(declared.shape)
        if image.shape not in {shape, (1, *shape)} or not np.can_cast(
            image.dtype, dtype, "same_kind"
        ):
            raise ValueError(
                f"image for {name} is {image.dtype} {image.shape}, expected "
                f"{np.dtype(dtype)} {shape}"
            )
        return image.astype(dtype).reshape(shape)
