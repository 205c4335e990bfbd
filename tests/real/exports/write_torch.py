"""Files that PyTorch's exporters write of its own quantized networks: eager mode and PT2E.

python write_torch.py SETTING FILE
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.ao.quantization as eager
from digits_network import SHAPE, digits_network, export, feeds, main, train


def eager_qat(target: Path, engine: str = "x86", converts: bool = True) -> None:
    """`prepare_qat`, training, `convert`, and the exporter of TorchScript."""
    torch.backends.quantized.engine = engine
    network = train(digits_network(wrapped=True)).train()
    # The exporter has no operator for the fused observer of later versions.
    version = {} if converts else {"version": 0}
    network.qconfig = eager.get_default_qat_qconfig(engine, **version)
    triples = [[f"{name}.0", f"{name}.1", f"{name}.2"] for name in ("first", "depth")]
    pairs = [[f"{name}.0", f"{name}.1"] for name in ("point", "side", "last")]
    eager.fuse_modules_qat(network, triples + pairs, inplace=True)
    trained = train(eager.prepare_qat(network), epochs=2, rate=5e-4)
    if converts:
        export(eager.convert(trained), target, opset_version=17)
        return
    trained.apply(eager.disable_observer)
    export(trained, target, opset_version=17)


def pt2e(target: Path, is_qat: bool = False, opset: int = 20) -> None:
    """`prepare_pt2e` or `prepare_qat_pt2e`, `convert_pt2e`, and the exporter of `torch.export`."""
    from torchao.quantization.pt2e import move_exported_model_to_eval
    from torchao.quantization.pt2e.quantize_pt2e import (
        convert_pt2e,
        prepare_pt2e,
        prepare_qat_pt2e,
    )
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    config = x86.get_default_x86_inductor_quantization_config(is_qat=is_qat)
    quantizer = x86.X86InductorQuantizer().set_global(config)
    network = digits_network() if is_qat else train(digits_network())
    free = {0: torch.export.Dim("batch", min=1, max=1024)}
    example = (torch.rand(4, *SHAPE[1:]),)
    program = torch.export.export(network, example, dynamic_shapes=(free,), strict=True).module()
    if is_qat:
        prepared = prepare_qat_pt2e(program, quantizer)
        prepared.eval = lambda: prepared  # a program has another way
        train(prepared)
        move_exported_model_to_eval(prepared)
    else:
        prepared = prepare_pt2e(program, quantizer)
        for feed in feeds():
            prepared(torch.from_numpy(feed["digit"]))
    export(convert_pt2e(prepared), target, dynamo=True, opset_version=opset)


SETTINGS = {
    "eager_x86": eager_qat,
    "eager_qnnpack": lambda to: eager_qat(to, "qnnpack"),
    "eager_fake_quantized": lambda to: eager_qat(to, "qnnpack", converts=False),
    "pt2e": pt2e,
    "pt2e_qat": lambda to: pt2e(to, is_qat=True),
    "pt2e_opset_25": lambda to: pt2e(to, opset=25),
}

if __name__ == "__main__":
    main(SETTINGS)
