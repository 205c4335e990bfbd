"""A `torch.export` program of a network that was in training mode, brought to inference.

The exporter writes the mode into each operator: dropout draws, a batch normalization takes the
statistics of its batch. Where an operator says so by an argument, and the running statistics are
in the file, changing that argument gives the program that `model.eval()` would have given; what
was decomposed further is refused.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

# By operator of ATen: the position and the name of the argument that makes it train, and its value
# at inference.
SWITCHES = {
    "batch_norm": (5, "training", False),
    "instance_norm": (5, "use_input_stats", False),
    "dropout": (2, "train", False),
    "feature_dropout": (2, "train", False),
    "alpha_dropout": (2, "train", False),
    "feature_alpha_dropout": (2, "train", False),
    "rrelu": (3, "training", False),
    "scaled_dot_product_attention": (4, "dropout_p", 0.0),
}
STATISTICS = {"batch_norm": 3, "instance_norm": 3}  # where the running mean stands
# What remains of training behind a decomposition, and other random numbers.
DECOMPOSED = {"native_dropout", "native_batch_norm", "_native_batch_norm_legit"} | {
    "_native_batch_norm_legit_functional"
}
RANDOM = {"bernoulli", "rand", "randn", "rand_like", "randn_like", "randint", "normal", "uniform"}
COUNTER = "num_batches_tracked"


def for_inference(program, file: Path) -> list[str]:
    """Turns training off in an `ExportedProgram`, in place; returns sentences on what was done.

    Raises ValueError naming the file where something that trains cannot be turned off exactly.
    """
    import torch

    parts = [m for m in program.graph_module.modules() if isinstance(m, torch.fx.GraphModule)]
    changed: Counter = Counter()
    for node in [node for part in parts for node in part.graph.nodes]:
        if node.op != "call_function":
            continue
        name = _operator(node.target)
        if name in SWITCHES and _trains(node, *SWITCHES[name], STATISTICS.get(name)):
            _switch_off(node, *SWITCHES[name])
            changed[name] += 1
        elif _is_left_of_training(name, node):
            raise ValueError(
                f"{file} answers one picture differently each time or by its batch (operator "
                f"{name}, node {node.name}): it was exported in training mode; call model.eval() "
                "before torch.export.export"
            )
        elif name == "add_" and COUNTER in str(node.args[0]) and not node.users:
            node.graph.erase_node(node)
    if not changed:
        return []
    for part in parts:
        part.recompile()
    listed = ", ".join(f"{count} {name}" for name, count in sorted(changed.items()))
    return [
        f"The program was exported in training mode: {listed} set to inference, as model.eval() "
        "before torch.export.export does; export it so, for the network may differ in more."
    ]


def _operator(target) -> str:
    """The name of an operator of ATen; "" of anything else."""
    return getattr(getattr(target, "overloadpacket", None), "__name__", "")


def _trains(node, position: int, name: str, inference, statistics: int | None) -> bool:
    """A normalization without running statistics takes those of its input in every mode."""
    if statistics is not None and _argument(node, statistics, "running_mean", None) is None:
        return False
    if name == "dropout_p":
        return bool(_argument(node, position, name, inference))
    probability = _argument(node, 1, "p", 1) if name == "train" else 1
    return bool(_argument(node, position, name, inference)) and bool(probability)


def _argument(node, position: int, name: str, default):
    if name in node.kwargs:
        return node.kwargs[name]
    return node.args[position] if position < len(node.args) else default


def _switch_off(node, position: int, name: str, inference) -> None:
    if name in node.kwargs:
        node.kwargs = node.kwargs | {name: inference}
    else:
        node.update_arg(position, inference)


def _is_left_of_training(name: str, node) -> bool:
    if name.rstrip("_") in RANDOM or name in RANDOM:
        return True
    if name == "_native_batch_norm_legit":  # without running statistics: no sign of training
        return bool(_argument(node, 5, "training", False)) and len(node.args) > 7
    if name == "native_dropout":
        return bool(_argument(node, 2, "train", False)) and bool(_argument(node, 1, "p", 1))
    return name in DECOMPOSED and bool(_argument(node, 5, "training", False))
