"""As if a module's source were another: the keys of all that reaches it change."""

from __future__ import annotations

import pytest

from int8gate.engine import code_identity


def edit(patch: pytest.MonkeyPatch, module: str) -> None:
    unedited = code_identity.identity

    def identity(*roots: str) -> dict:
        found = unedited(*roots)
        is_reached = module in code_identity.closure(*roots).modules
        return {**found, "code": found["code"] + module * is_reached}

    patch.setattr(code_identity, "identity", identity)
