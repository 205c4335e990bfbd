"""Networks of Hugging Face repositories, for whatever library: what does not fit is a ValueError.

The libraries draw tensors that are missing at random and go on with a warning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError

TRANSFORMERS_MISMATCH = "ignore_mismatched_sizes"  # what the library says of shapes
DIFFUSERS_MISMATCH = "size mismatch"


def loaded(kind: Any, weights: str, subfolder: str = "", **settings: Any) -> Any:
    """The network of class `kind`, of a repository or its folder, from safetensors files.

    `kind` is a class of transformers or of diffusers, `settings` go to its `from_pretrained`. Code
    of the repository is not run. Raises OSError where the repository cannot be fetched, ValueError
    where its files are damaged or not complete, or its tensors not those of its config.json.
    """
    place = f"{weights}/{subfolder}" if subfolder else weights
    try:
        network, found = kind.from_pretrained(
            weights,
            subfolder=subfolder,
            use_safetensors=True,
            output_loading_info=True,
            **settings,
        )
    except SafetensorError as error:
        raise ValueError(
            f"the weights of {place} cannot be read ({error}): a shard is truncated or damaged, "
            "copy it again"
        ) from error
    except FileNotFoundError as error:
        raise _not_complete(place, error) from error
    except OSError as error:
        if not Path(weights).is_dir():
            raise  # of the hub
        raise _not_complete(place, error) from error
    except RuntimeError as error:
        if not any(words in str(error) for words in (TRANSFORMERS_MISMATCH, DIFFUSERS_MISMATCH)):
            raise
        raise ValueError(
            f"the weights of {place}: tensors have other shapes than its config.json says: copy "
            "both from one repository"
        ) from error
    for what in ("missing_keys", "unexpected_keys"):
        if names := sorted(map(str, found[what])):
            lacks = "lacks" if what == "missing_keys" else "has beside those of its config.json"
            raise ValueError(
                f"the weights of {place}: the repository {lacks} the tensor {names[0]} "
                f"({len(names)} in all): copy all of its files again"
            )
    return network


def _not_complete(place: str, error: OSError) -> ValueError:
    return ValueError(
        f"the weights of {place} are not complete ({str(error).splitlines()[0]}): copy the file "
        "that is missing"
    )
