"""DETR (Carion et al. 2020, arXiv:2005.12872): a ResNet, a transformer, a set of boxes.

The parts are those of `transformers`. This module runs them for one input size: no padding mask,
the position embeddings a constant, the ResNet's frozen batch normalizations ordinary ones again
(equal in eval mode, trainable, and every exporter folds them into the convolutions).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from int8gate.model_zoo.families.hf_resnet import MEAN, STD, STRIDE

WITHOUT_TIMM = "no_timm"  # the revision of the official weights whose ResNet is transformers' own


def detr(
    input_shape: tuple,
    classes: int,
    weights: str | None = None,
    queries: int = 100,
    width: int = 256,
    heads: int = 8,
    layers: int = 6,
    feed_forward: int = 2048,
    backbone: dict | None = None,
    dilated: bool = False,
) -> Detr:
    """DETR for inputs of `input_shape` (h, w, channels); by default DETR-R50.

    `width` is the transformer's, `layers` those of the encoder and of the decoder each, `backbone`
    what `transformers.ResNetConfig` takes. `dilated` gives the last stage of the ResNet a dilation
    instead of its stride (DETR-DC5, section 4.1). `weights` names official ones of this very
    network. Raises OSError if they cannot be fetched, ValueError or RuntimeError if they are not.
    """
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    shape = {"out_features": ["stage4"], "num_channels": input_shape[-1], **(backbone or {})}
    config = DetrConfig(
        backbone_config=ResNetConfig(**shape),
        num_channels=input_shape[-1],
        num_labels=classes,
        num_queries=queries,
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=feed_forward,
        decoder_ffn_dim=feed_forward,
        dropout=0.0,
        attn_implementation="eager",
    )
    if weights:
        network = _official(weights, config)
    else:
        network = DetrForObjectDetection(config)
        _initialize(network)
    resnet = network.model.backbone.model
    _thaw(resnet)
    if dilated:
        _dilate(resnet.encoder.stages[-1])
    return Detr(network, input_shape[:2], STRIDE // 2 if dilated else STRIDE)


class Detr(nn.Module):
    """Pictures (n, 3, h, w) float32 0..1 to class logits (n, queries, classes + 1), boxes
    (n, queries, 4).

    The last column of the logits is "no object". Boxes are [cx, cy, w, h] in parts of the picture
    before the sigmoid. In training mode both outputs are lists: what the heads say of the encoder's
    places (n, places, ...), then of the queries after every layer of the decoder.
    """

    encoder: Any  # of layers
    decoder: Any
    queries: Any

    def __init__(self, network: nn.Module, size: tuple[int, int], stride: int):
        super().__init__()
        model: Any = network.model  # its parts are annotated as tensors
        self.backbone = model.backbone.model
        self.input_projection = model.input_projection
        self.encoder, self.decoder = model.encoder.layers, model.decoder.layers
        self.decoder_norm = model.decoder.layernorm
        self.queries = model.query_position_embeddings
        self.classifier, self.boxes = network.class_labels_classifier, network.bbox_predictor
        shape = torch.Size([1, 1, *(-(-side // stride) for side in size)])
        position = model.position_embedding(shape, torch.device("cpu"), torch.float32)
        self._constant("position", position.flatten(2).transpose(1, 2))
        mean, std = torch.tensor(MEAN), torch.tensor(STD)
        self._constant("slope", (1 / std).reshape(3, 1, 1, 1))  # a depthwise convolution, which
        self._constant("offset", -mean / std)  # integer kernels have for every channel apart

    def forward(self, pictures):
        normalized = nn.functional.conv2d(pictures, self.slope, self.offset, groups=3)
        features = self.backbone(normalized).feature_maps[-1]
        places = self.input_projection(features).flatten(2).transpose(1, 2)
        for layer in self.encoder:
            places = layer(places, None, spatial_position_embeddings=self.position)
        queries = self.queries.weight[None].expand(len(pictures), -1, -1)
        objects = torch.zeros_like(queries)
        decoded = []
        for layer in self.decoder:
            objects = layer(
                objects,
                spatial_position_embeddings=self.position,
                object_queries_position_embeddings=queries,
                encoder_hidden_states=places,
            )
            decoded.append(objects)
        if not self.training:
            return self._heads(self.decoder_norm(objects))
        stages = [places, *map(self.decoder_norm, decoded)]
        return tuple(map(list, zip(*map(self._heads, stages), strict=True)))

    def _heads(self, states):
        return self.classifier(states), self.boxes(states)

    def _constant(self, name: str, value) -> None:
        self.register_buffer(name, value, persistent=False)


def _official(weights: str, config):
    """The network of `config` with published weights; their own configuration is too old to read.

    It says null where today's `transformers` wants a bool.
    """
    from transformers import DetrForObjectDetection

    loaded: Any = DetrForObjectDetection.from_pretrained(
        weights,
        config=config,
        revision=WITHOUT_TIMM,
        dtype=torch.float32,
        output_loading_info=True,
    )
    network, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise ValueError(
            f"official weights {weights}: {len(missing)} tensors of the network are not in them, "
            f"the first is {missing[0]}: are they of this DETR?"
        )
    return network


def _initialize(network: Any) -> None:
    """As the authors' code does it; transformers' own start is meant for trained weights."""
    model = network.model
    for part in (model.encoder, model.decoder, network.bbox_predictor):
        for parameter in part.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
    nn.init.normal_(model.query_position_embeddings.weight)
    nn.init.xavier_uniform_(network.class_labels_classifier.weight)


def _thaw(module: nn.Module) -> None:
    """Makes frozen batch normalizations ordinary ones, and everything trainable, in place."""
    for name, child in module.named_children():
        if type(child).__name__ == "DetrFrozenBatchNorm2d":
            ordinary = nn.BatchNorm2d(len(child.weight))
            ordinary.load_state_dict(child.state_dict(), strict=False)
            setattr(module, name, ordinary)
        else:
            _thaw(child)
    module.requires_grad_(True)


def _dilate(stage: nn.Module) -> None:
    """Takes the stride out of a ResNet's stage, in place.

    The 3x3 convolutions behind the one that had it skip a place each, and so see what they saw.
    """
    for number, layer in enumerate(stage.layers):
        for convolution in (m for m in layer.modules() if isinstance(m, nn.Conv2d)):
            convolution.stride = (1, 1)
            if number and convolution.kernel_size == (3, 3):
                convolution.dilation = convolution.padding = (2, 2)
