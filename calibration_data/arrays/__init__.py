"""A user's own samples as arrays: of any shape and dtype, one for each input of the network.

    DATA.npz            an array (n, ...) for each input, by its name (any name where there is one
                        input), beside them `labels` (n, ...) and `sources` (n,)
    DATA.npy            (n, ...) of the only input; DATA.labels.npy beside it
    DATA.csv            a row for each sample, a header; the column `label` (or class, target), and
                        `source`; the others are features, in their order
    a folder of those   read one after another
    a folder of CLASS/*.wav   recordings, through the hook `features`

Samples of one source (a speaker, a machine, a day) never stand on both sides of a split; without
sources, samples of equal values share one. ``calibration`` and ``evaluation`` in a folder, files or
folders, are the splits themselves.

`opening.open_arrays` is the door: opening.py splits the samples and makes the `SampleSet` of them,
reading.py reads files and labels, kinds.py tells arrays from pictures, and what fits an input.
"""
