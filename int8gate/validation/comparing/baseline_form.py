"""The form of a baseline's file, in the order in which its keys are written."""

from __future__ import annotations

from pydantic import Field, FiniteFloat

from int8gate.engine.schema import Exact


class Accuracy(Exact):
    metric: str
    unit: str = "fraction"
    float: FiniteFloat | None = None
    quantized: FiniteFloat
    lower_95: FiniteFloat | None = None
    upper_95: FiniteFloat | None = None
    samples: int
    sources: int
    tolerance: FiniteFloat | None = None
    tolerance_rule: str | None = None
    predictions: str | None = None


class Size(Exact):
    float: int | None = None
    quantized: int


class Npu(Exact):
    latency_ms: FiniteFloat | None = None
    coverage: FiniteFloat | None = None
    compiler: str | None = None
    system_config: str | None = None
    memory_mode: str | None = None


class Case(Exact):
    environment: str
    artifact: str | None = None
    sqnr_db: FiniteFloat | None = None
    accuracy: Accuracy | None = None
    size_bytes: Size | None = None
    npu: dict[str, Npu] = Field(default_factory=dict)


class BaselineForm(Exact):
    schema_: int = Field(alias="schema")
    environments: dict[str, dict[str, str]] = Field(default_factory=dict)
    cases: dict[str, Case] = Field(default_factory=dict)
