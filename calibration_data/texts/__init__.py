"""Text of the language models: what every installation of Python carries, in two corpora.

corpora.py      the documents: the language reference (prose), the standard library (code)
tokenizers.py   from text to token numbers: bytes (compact), a repository's own (full);
                prompts for text encoders
windows.py      `TextWindows`: the samples, sequences of tokens with those that follow
"""
