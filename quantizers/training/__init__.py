"""Quantization-aware training that ends in both runtimes, with its scales.

training_schedule.py     budget, rates, looks
training_samples.py      what is trained on, and the validation part
differentiable_graph.py  a file's operators, constants and scales, whatever its format
fake_quantized.py        such a graph as a PyTorch module
distillation.py          what it learns from the float network
label_tasks.py           which tasks have a loss of their labels
label_loss.py            that loss, a user's own too
validation_part.py       what the validation part says of a network, and of the file that ships
course.py                the loop: looks, checkpoints, how it ends
trainer.py               from a float artifact to a trained one: what a toolchain's stage calls
trained_file.py          the trained ranges, as the quantizer reads them

What is trained is the quantized file itself. A case is quantized as calibration would have it, that
file is read as a differentiable graph (`toolchains/NAME/differentiable.py`), its integer constants
are the float file's again, and fake quantization stands where the file has a scale. So placement,
dtypes, fused operators, shared scales, int32 biases and rewritten operators are those of the target
by construction, for a model from any source: Keras, PyTorch, a frozen graph, a file. Trained
weights go into the float artifact, trained ranges to the toolchain's quantizer in place of
calibration's, and the trainer compares every scale and zero point of what comes out with what it
trained.

The other way is to put fake-quantization modules into the network before it is exported (PT2E,
tfmot). Then the rules of each runtime have to be written a second time for each framework, the
exporter folds and fuses after training what was not fused in training, tfmot takes no Keras 3
model, and a converter that calibrates again throws the scales away. It was left for that. What this
way costs: every operator of a file needs a PyTorch form (`torch_operators.py` of each toolchain; a
file with another one is refused by its name), and one training serves one toolchain, because what
the two compute differs.
"""
