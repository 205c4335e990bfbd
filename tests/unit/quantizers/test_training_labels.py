"""Labels of the validation part are such as the model's metric takes, whatever the loss takes."""

from __future__ import annotations

import numpy as np
import pytest

from int8gate.model_zoo.registry import zoo
from int8gate.quantizers.data_sets import open_samples
from int8gate.quantizers.settings import Settings
from int8gate.quantizers.training.training_samples import TrainingSamples, refusal

TRAINED = [name for name, spec in zoo().items() if spec.compact and not refusal(spec, "compact")]


def test_most_of_the_zoo_can_be_trained():
    assert len(TRAINED) > 20


@pytest.mark.parametrize("name", TRAINED)
def test_labels_are_those_of_evaluation(name):
    spec = zoo()[name]
    _, scored = open_samples(spec, "evaluation", Settings()).named(0)
    drawn = TrainingSamples(spec, 2, 2)
    (_, labels), *_ = drawn.validation(2)
    assert labels.shape == (2, *np.shape(scored))
    assert labels.dtype.kind == scored.dtype.kind
