"""What a network reads in a picture, or hears: a text for each sample."""

from int8gate.tasks.task import Task

TASK = Task(
    name="text",
    order=9,
    metrics=("cer", "wer", "exact"),
    data="pictures and labels.csv (file,text) or PaddleOCR's label.txt; or pictures alone",
    folders=("texts",),
    arrays="text",
    array_labels="the texts, of dtype str",
    decode="int8gate.model_zoo.user_models.decoding:texts",
    heads={"ctc": "int8gate.model_zoo.user_models.known_heads:ctc"},
    read_by="`blank` (the end of the outputs that is no symbol), the order and the number of "
    "`classes` (is a space the last, as PaddleOCR adds it?), or a decode of your own",
    agreement="int8gate.validation.agreement:same_text",
    least_agreement=0.97,
    accuracy="1 - 0.99 * (1 - float)",
    packages=("rapidfuzz",),  # edit distances
)
