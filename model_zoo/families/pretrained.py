"""Networks of Hugging Face repositories, for whatever library: what does not fit is a ValueError.

The libraries draw tensors that are missing at random and go on with a warning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError

# What the libraries say of shapes that do not fit, and diffusers of a damaged file.
MISMATCHES = ("ignore_mismatched_sizes", "size mismatch")
DAMAGED = "Unable to load weights"


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
        raise _damaged(place, error) from error
    except OSError as error:
        if DAMAGED in str(error):
            raise _damaged(place, error) from error
        if not (isinstance(error, FileNotFoundError) or Path(weights).is_dir()):
            raise  # of the hub
        raise ValueError(
            f"the weights of {place} are not complete ({_first_line(error)}): copy the file that "
            "is missing"
        ) from error
    except RuntimeError as error:
        if not any(words in str(error) for words in MISMATCHES):
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


def _damaged(place: str, error: Exception) -> ValueError:
    return ValueError(
        f"the weights of {place} cannot be read ({_first_line(error)}): a shard is truncated or "
        "damaged, copy it again"
    )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(". ")
