# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From a model that fails to one that ships
#
# A network that is right in float32 and wrong in INT8, why that is so, and the cheapest way out:
# measured at every step. It takes about two minutes and no download.
#
#     pip install "int8gate[onnx,torch,zoo]" jupyter
#
# ## A model of your own
#
# A small classifier of scikit-learn's handwritten digits, trained here. Its channels then get very
# unlike ranges, as batch normalization leaves them in many a published MobileNet: each channel of
# the first layers is multiplied by a number, and the layer behind divides by it. In float that
# changes nothing.

# %%
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from IPython.display import HTML, display
from sklearn.datasets import load_digits
from torch import nn

digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.images))
pictures = (digits.images[order, None] / 16).astype(np.float32)  # (1797, 1, 8, 8)
labels = digits.target[order]
train, calibration, evaluation = slice(0, 600), slice(600, 800), slice(800, None)

torch.manual_seed(0)
network = nn.Sequential(
    *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU()),
    *(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU(), nn.Conv2d(16, 32, 1), nn.ReLU()),
    *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 4 * 4, 10)),
)
optimizer = torch.optim.Adam(network.parameters(), 3e-3)
for _ in range(60):
    for batch in torch.randperm(600).split(50):
        optimizer.zero_grad()
        answers = network(torch.tensor(pictures[train])[batch])
        nn.functional.cross_entropy(answers, torch.tensor(labels[train])[batch]).backward()
        optimizer.step()

# %%
first, depthwise, pointwise = network[0], network[2], network[4]
with torch.no_grad():
    for before, behind in ((first, depthwise), (depthwise, pointwise)):
        factors = torch.logspace(-1.5, 1.5, 16)[torch.randperm(16)]
        before.weight *= factors[:, None, None, None]
        before.bias *= factors
        if behind is depthwise:
            behind.weight /= factors[:, None, None, None]
        else:
            behind.weight /= factors[None, :, None, None]

torch.onnx.export(
    network.eval(),
    torch.tensor(pictures[:1]),
    "digits.onnx",
    input_names=["picture"],
    output_names=["scores"],
    external_data=False,
    verbose=False,
)
Path("samples").mkdir(exist_ok=True)
for split, rows in (("calibration", calibration), ("evaluation", evaluation)):
    np.savez(f"samples/{split}.npz", picture=pictures[rows], labels=labels[rows])

# %% [markdown]
# ## Declare it, and let the gates judge
#
# Six lines of TOML. The network is far too small to gain speed or size from INT8, so that those
# gates get limits of their own here.

# %%
Path("models.toml").write_text(
    """
[models.digits]
file = "digits.onnx"
task = "classification"
data = "samples"
recipes = ["onnx_int8"]
expect = { accuracy = "0.98 * float", cpu_speedup_x86 = 0.01, size_ratio = 2.0 }
"""
)


def shell(command: str) -> int:
    """Runs a command of this environment, shows what it says, and returns its exit code."""
    program, *arguments = shlex.split(command)
    called = [str(Path(sys.executable).with_name(program)), *arguments]
    done = subprocess.run(called, capture_output=True, text=True, check=False)
    print(done.stdout + done.stderr[-2000:] * (done.returncode > 1))
    return done.returncode


failed = shell("pytest --zoo models.toml --report=report -q -p no:cacheprovider -m accuracy")
assert failed, "the plain recipe was to fail"

# %% [markdown]
# The gate says what was measured, what is allowed, at which operator the error arises, the worst
# layers, and which command looks for a remedy.
#
# ## Which layers?
#
# Each layer quantized alone, and each layer alone kept float, measured on the network's own
# outputs and on the task's metric.

# %%
assert shell("int8gate sensitivity digits --zoo models.toml --samples 200 --report here") == 0

# %%
display(HTML(Path("here/sensitivity.html").read_text()))

# %% [markdown]
# ## The cheapest way out
#
# The ladder tries remedies from the cheapest for the device to the dearest, each by the gates of
# the case, and ends at the first that passes.

# %%
rescued = shell("int8gate rescue digits-onnx_int8 --zoo models.toml --target host_cpu --budget 5m")
assert rescued == 0, "no rung of the ladder passed"

# %% [markdown]
# It prints the line for the TOML. With it the case is gated like any other, in every run and in
# CI.

# %%
text = Path("models.toml").read_text()
Path("models.toml").write_text(
    text.replace('recipes = ["onnx_int8"]', 'recipes = ["onnx_int8+cle", "onnx_int8"]')
)
passed = shell(
    "pytest --zoo models.toml --report=report -q -p no:cacheprovider --artifacts=ship "
    "--int8-case digits-onnx_int8+cle"
)
assert passed == 0
print(*Path("ship").iterdir(), sep="\n")

# %% [markdown]
# ## All methods beside each other

# %%
shell("pytest --zoo models.toml --report=report -q -p no:cacheprovider --tb=no")
assert shell("int8gate methods digits --report report --html methods.html") == 0
display(HTML(Path("methods.html").read_text()))
