"""Which token follows, at each place of a text."""

from int8gate.tasks.task import Task

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
    accuracy="1.01 * float",
)
