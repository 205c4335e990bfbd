"""Language models. Compact: bytes of English and Python. Full: the official repositories."""

from int8gate.calibration_data.arrays.kinds import Input
from int8gate.calibration_data.preprocessing import AS_THEY_ARE
from int8gate.model_zoo.spec import NO_PICTURE, ModelSpec, Network

_FAMILY = "int8gate.model_zoo.families.causal_lm"
_TOKENIZERS = "int8gate.calibration_data.texts.tokenizers"
LENGTH, FULL_LENGTH = 128, 512  # tokens of a sample
RECIPES = (
    "onnx_weight_int8",
    "onnx_fp32",
    "onnx_weight_int4",
    "onnx_weight_int4_hqq",
    "onnx_weight_int4_gptq",
    "onnx_dynamic_int8",
    "onnx_int8_mse",
    "onnx_int8",
    "onnx_smoothquant_int8",
    "tflite_int8",
    "tflite_fp32",
)


def _tokens(length: int) -> tuple[Input, ...]:
    """Whole numbers of 32 bits: TFLite's converter takes no others as they are."""
    return (Input("tokens", (length,), "int32"),)


def _compact(builder: str, **sizes) -> Network:
    """Four blocks as narrow as bytes need, with two query heads to each key head."""
    shape = {
        "hidden_size": 64,
        "intermediate_size": 192,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": LENGTH,
        "initializer_range": 0.125,  # 1 / sqrt(64): the library's 0.02 is for wide networks
    }
    return Network(
        f"{_FAMILY}:{builder}",
        classes=257,  # bytes, and the mark before the first
        arguments=shape | sizes,
        inputs=_tokens(LENGTH),
        tokenizer=f"{_TOKENIZERS}:of_bytes",
        steps="int8gate.model_zoo.families.kv_cache:with_cache",
        **NO_PICTURE,
    )


def _full(builder: str, official: str, vocabulary: int, **sizes) -> Network:
    return Network(
        f"{_FAMILY}:{builder}",
        classes=vocabulary,
        arguments=sizes,
        official=official,
        inputs=_tokens(FULL_LENGTH),
        tokenizer=f"{_TOKENIZERS}:of_repository",
        **NO_PICTURE,
    )


MODELS = [
    ModelSpec(
        name="llama_3_2_3b",
        task="language",
        source_format="pytorch",
        preprocessing=AS_THEY_ARE,
        compact=_compact("llama", tie_word_embeddings=True),
        full=_full(
            "llama",
            "meta-llama/Llama-3.2-3B",
            128256,
            hidden_size=3072,
            intermediate_size=8192,
            num_hidden_layers=28,
            num_attention_heads=24,
            num_key_value_heads=8,
            max_position_embeddings=131072,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
            rope_parameters={
                "rope_type": "llama3",
                "rope_theta": 500000.0,
                "factor": 32.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
        ),
        paper="Grattafiori et al., The Llama 3 Herd of Models, 2024",
        recipes=RECIPES,
    ),
    ModelSpec(
        name="mistral_7b",
        task="language",
        source_format="pytorch",
        preprocessing=AS_THEY_ARE,
        compact=_compact("mistral", sliding_window=32),
        full=_full(
            "mistral",
            "mistralai/Mistral-7B-v0.1",
            32000,
            hidden_size=4096,
            intermediate_size=14336,
            num_hidden_layers=32,
            num_attention_heads=32,
            num_key_value_heads=8,
            max_position_embeddings=32768,
            rms_norm_eps=1e-5,
            sliding_window=4096,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        ),
        paper="Jiang et al., Mistral 7B, 2023",
        recipes=RECIPES,
    ),
]
