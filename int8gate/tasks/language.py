"""Which token follows, at each place of a text."""

from int8gate.tasks.task import Scenes, Task

TASK = Task(
    name="language",
    order=10,
    metrics=("perplexity", "next_token"),
    data="arrays of token numbers, with the tokens that follow as labels",
    array_labels="the token that follows at each place, (n, length) of whole numbers, -100 where "
    "none counts",
    arrays="any",
    decode="int8gate.model_zoo.user_models.decoding:token_scores",
    read_by="the tokenizer, the template, and by how many places labels are shifted (a label is "
    "the token that follows)",
    agreement="int8gate.validation.agreement:same_class",
    least_agreement=0.95,
    to_float={
        "kl_divergence": "int8gate.validation.to_float:kl_divergence",
        "same_next_token": "int8gate.validation.to_float:same_next_token",
    },
    generation={"greedy_tokens_alike": "int8gate.validation.greedy:tokens_alike"},
    accuracy="1.01 * float",
    scenes={"language": Scenes("int8gate.calibration_data.texts.windows:draw", 257)},
    training="int8gate.model_zoo.training.torch_text:LANGUAGE",
    zoo="int8gate.model_zoo.language_models",
)
