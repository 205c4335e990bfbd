"""One model by name: of a user's TOML, or of the zoo."""

from __future__ import annotations

from pathlib import Path

from int8gate.engine.plugins import find_modules_in, load_plugins
from int8gate.model_zoo.registry import model, zoo
from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.user_models.resolve import declared_spec
from int8gate.model_zoo.user_models.toml_file import PYPROJECT, read_pyproject, read_zoo


def spec_of(name: str, file: Path | None) -> ModelSpec:
    """One model by name: of a TOML, else of the zoo, else of the `pyproject.toml` of this folder.

    Raises ValueError or OSError in a sentence where there is none.
    """
    settings = Path(PYPROJECT)
    if file is None and (name in zoo() or not settings.is_file()):
        return model(name)
    own = {
        declared.name: declared
        for declared in (read_zoo(file) if file else read_pyproject(settings))
    }
    if file is None and not own:
        return model(name)
    load_plugins(file or settings)
    find_modules_in((file or settings).absolute().parent)
    if name not in own:
        raise ValueError(
            f"{file or settings} declares no model {name}: it has {', '.join(own) or 'none'}"
        )
    return declared_spec(own[name])
