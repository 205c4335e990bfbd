"""Diffusion models. Compact: handwritten digits of 32x32. Full: the official repositories.

A sample is noise and the tokens of a prompt; the host makes a text encoder's contexts of the
tokens, and calls the denoiser once for each time step.
"""

from int8gate.calibration_data.arrays.kinds import Input
from int8gate.calibration_data.preprocessing import AS_THEY_ARE
from int8gate.model_zoo.spec import NO_PICTURE, ModelSpec, Network

_FAMILY = "int8gate.model_zoo.families.diffusion"
_TOKENIZERS = "int8gate.calibration_data.texts.tokenizers"
DIGITS = 10  # what the compact models draw
TOKENS, CLIP_TOKENS, T5_TOKENS = 24, 77, 256  # of a prompt: compact, full
RECIPES = (
    "onnx_int8",
    "onnx_fp32",
    "onnx_int8_mse",
    "onnx_int8_percentile",
    "onnx_int8_entropy",
    "onnx_weight_int8",
    "onnx_dynamic_int8",
    "tflite_int8",
    "tflite_fp32",
)

# Compact: 32x32 pixels are 8x8 latents of 4 channels, or 4x4 places of 16.
_COMPACT_CLIP = {
    "vocab_size": 257,
    "num_hidden_layers": 2,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "max_position_embeddings": TOKENS,
    "bos_token_id": 256,
    "eos_token_id": 0,  # its first place is where the pooled output is taken
    "pad_token_id": 0,
}
_COMPACT_VAE = {
    "in_channels": 1,
    "out_channels": 1,
    "latent_channels": 4,
    "block_out_channels": (16, 16, 24),
    "layers_per_block": 1,
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "norm_num_groups": 8,
    "sample_size": 32,
    "scaling_factor": 1.0,  # training makes them of unit variance
}
_FULL_CLIP = {  # ViT-L/14's
    "vocab_size": 49408,
    "num_hidden_layers": 12,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "max_position_embeddings": CLIP_TOKENS,
    "eos_token_id": 2,  # as both repositories have it: the token of the largest number
}
_FULL_VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}

MODELS = [
    ModelSpec(
        name="stable_diffusion_1_5",
        task="diffusion",
        source_format="diffusers",
        preprocessing=AS_THEY_ARE,
        compact=Network(
            f"{_FAMILY}.stable_diffusion:stable_diffusion",
            classes=DIGITS,
            arguments={
                "unet": {
                    "block_out_channels": (32, 48),
                    "layers_per_block": 1,
                    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
                    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
                    "attention_head_dim": 4,
                    "norm_num_groups": 8,
                },
                "text": _COMPACT_CLIP,
                "vae": _COMPACT_VAE,
                "steps": 10,
                "guidance": 2.0,
            },
            inputs=(
                Input("latents", (4, 8, 8), "float32"),
                Input("time", (32,), "float32"),
                Input("context", (TOKENS, 48), "float32"),
            ),
            drawn=(Input("noise", (4, 8, 8), "float32"), Input("tokens", (TOKENS,), "int32")),
            tokenizer=f"{_TOKENIZERS}:of_bytes",
            **NO_PICTURE,
        ),
        full=Network(
            f"{_FAMILY}.stable_diffusion:stable_diffusion",
            classes=DIGITS,
            arguments={
                "unet": {
                    "block_out_channels": (320, 640, 1280, 1280),
                    "layers_per_block": 2,
                    "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
                    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
                    "attention_head_dim": 8,
                },
                "text": _FULL_CLIP,
                "vae": _FULL_VAE
                | {"latent_channels": 4, "sample_size": 512, "scaling_factor": 0.18215},
                "steps": 50,
                "guidance": 7.5,
            },
            official="stable-diffusion-v1-5/stable-diffusion-v1-5",
            inputs=(
                Input("latents", (4, 64, 64), "float32"),
                Input("time", (320,), "float32"),
                Input("context", (CLIP_TOKENS, 768), "float32"),
            ),
            drawn=(
                Input("noise", (4, 64, 64), "float32"),
                Input("tokens", (CLIP_TOKENS,), "int32"),
            ),
            tokenizer=f"{_TOKENIZERS}:of_pipeline",
            **NO_PICTURE,
        ),
        paper="Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, 2022",
        recipes=RECIPES,
    ),
    ModelSpec(
        name="flux_1_schnell",
        task="diffusion",
        source_format="diffusers",
        preprocessing=AS_THEY_ARE,
        compact=Network(
            f"{_FAMILY}.flux:flux",
            classes=DIGITS,
            arguments={
                "transformer": {
                    "num_layers": 2,
                    "num_single_layers": 3,
                    "attention_head_dim": 16,
                    "num_attention_heads": 4,
                    "axes_dims_rope": (4, 6, 6),
                },
                "text": _COMPACT_CLIP,
                "text_2": {
                    "vocab_size": 257,
                    "num_layers": 2,
                    "num_heads": 4,
                    "d_kv": 12,
                    "d_ff": 96,
                    "feed_forward_proj": "gated-gelu",
                    "dropout_rate": 0.0,
                },
                "vae": _COMPACT_VAE | {"use_quant_conv": False, "use_post_quant_conv": False},
                "steps": 4,
            },
            inputs=(
                Input("latents", (16, 16), "float32"),
                Input("time", (256,), "float32"),
                Input("context", (TOKENS, 48), "float32"),
                Input("pooled", (48,), "float32"),
            ),
            drawn=(Input("noise", (16, 16), "float32"), Input("tokens", (TOKENS,), "int32")),
            tokenizer=f"{_TOKENIZERS}:of_bytes",
            **NO_PICTURE,
        ),
        full=Network(
            f"{_FAMILY}.flux:flux",
            classes=DIGITS,
            arguments={
                "transformer": {
                    "num_layers": 19,
                    "num_single_layers": 38,
                    "attention_head_dim": 128,
                    "num_attention_heads": 24,
                    "axes_dims_rope": (16, 56, 56),
                },
                "text": _FULL_CLIP,
                "text_2": {
                    "vocab_size": 32128,
                    "num_layers": 24,
                    "num_heads": 64,
                    "d_kv": 64,
                    "d_ff": 10240,
                    "feed_forward_proj": "gated-gelu",
                },
                "vae": _FULL_VAE
                | {
                    "latent_channels": 16,
                    "sample_size": 1024,
                    "scaling_factor": 0.3611,
                    "shift_factor": 0.1159,
                    "use_quant_conv": False,
                    "use_post_quant_conv": False,
                },
                "steps": 4,
            },
            official="black-forest-labs/FLUX.1-schnell",
            inputs=(
                Input("latents", (4096, 64), "float32"),
                Input("time", (256,), "float32"),
                Input("context", (T5_TOKENS, 4096), "float32"),
                Input("pooled", (768,), "float32"),
            ),
            drawn=(
                Input("noise", (4096, 64), "float32"),
                Input("tokens", (CLIP_TOKENS,), "int32"),
                Input("tokens_2", (T5_TOKENS,), "int32"),
            ),
            tokenizer=f"{_TOKENIZERS}:of_pipeline",
            **NO_PICTURE,
        ),
        paper="Black Forest Labs, FLUX.1 [schnell], 2024",
        recipes=RECIPES,
    ),
]
