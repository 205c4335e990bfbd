"""Expectations: what the shipped file says, how entries combine, what is refused."""

import subprocess
import sys
import tomllib
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.recipe_type import ALL_GATES
from int8gate.validation.expectations import (
    CONVERSION,
    DEFAULT_FILE,
    KEYS,
    check_entry,
    expectations_for,
    known_failures,
    with_own,
)

COMPLETE = """
["*"]
accuracy = "0.99 * float"
size_ratio = 0.4
cpu_speedup_x86 = 1.0
npu_speedup = 1.0
npu_coverage = 1.0
"""


@pytest.fixture
def written(tmp_path):
    """Writes a complete file with some lines more, and gives its path."""

    def write(lines: str = "", base: str = COMPLETE):
        file = tmp_path / "expectations.toml"
        file.write_text(base + lines)
        return file

    return write


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_shipped_file_holds_for_every_recipe(recipe):
    expected = expectations_for(f"unet-{recipe}")
    assert 0.9 <= expected.minimum(1.0) < 1.0
    assert 0.25 < expected.size_ratio < 1.0
    is_left_to_the_cpu = RECIPES[recipe].activations == "float32" and recipe.startswith("tflite")
    assert ("npu_speedup" in expected.unsupported) == is_left_to_the_cpu


def test_later_entries_override_key_by_key(written):
    file = written(
        """
        ["*-tflite_int8"]
        size_ratio = 0.3
        unsupported.cpu_speedup = "no kernel"
        ["unet-*"]
        size_ratio = 0.5
        unsupported.npu_speedup = "no NPU"
        """
    )
    both = expectations_for("unet-tflite_int8", file)
    assert both.size_ratio == 0.5
    assert both.npu_coverage == 1.0
    assert both.unsupported == {"cpu_speedup": "no kernel", "npu_speedup": "no NPU"}
    assert expectations_for("vit-tflite_int8", file).size_ratio == 0.3
    assert expectations_for("vit-tflite_fp16", file).size_ratio == 0.4
    assert expectations_for("vit-tflite_fp16", file).unsupported == {}


@pytest.mark.parametrize(
    ("text", "minimum"),
    [
        ("0.99 * float", 0.792),
        ("float - 0.01", 0.79),
        ("(float + 1) * 0.5", 0.9),
        ("float + 1 * 0.5", 1.3),
        ("0.7", 0.7),
    ],
)
def test_accuracy_is_arithmetic(written, text, minimum):
    file = written(f'["unet-*"]\naccuracy = "{text}"')
    assert expectations_for("unet-tflite_int8", file).minimum(0.8) == pytest.approx(minimum)


@pytest.mark.parametrize(
    "text",
    [
        "float / 2",
        "0.99 float",
        "-float",
        "float ** 2",
        "int",
        "__import__('os')",
        "True",
        "1j",
        "",
        "float.real",
        "[float]",
        "float if float else 1",
        "0.99 * float; 1",
        "'a' * float",
        pytest.param("1" + "0" * 400, id="no-float"),
        pytest.param("-" * 100_000 + "1", id="signs"),
        pytest.param("+".join(["1"] * 20_000), id="terms"),
    ],
)
def test_other_syntax_is_refused_by_name(written, text):
    file = written(f'["unet-*"]\naccuracy = "{text}"')
    with pytest.raises(ValueError, match=r'\["unet-\*"\]: accuracy = .* must be arithmetic'):
        expectations_for("vit-tflite_int8", file)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("size_ration = 0.4", r'\["unet-\*"\]: unknown size_ration; did you mean size_ratio\?'),
        ("ratio_of_bytes = 0.4", "unknown ratio_of_bytes; known: accuracy, .*size_ratio"),
        ("accuracy = 0.99", "accuracy = 0.99 must be arithmetic"),
        ('size_ratio = "0.4"', "size_ratio must be a positive number, found '0.4'"),
        ("size_ratio = true", "size_ratio must be a positive number, found True"),
        ("npu_speedup = -1", "npu_speedup must be a positive number"),
        ("npu_speedup = inf", "npu_speedup must be a positive number"),
        ('unsupported = "all"', "unsupported must be gate = "),
        ('unsupported.size = ""', "unsupported must be gate = "),
        ('unsupported.npu = "why"', "unsupported: unknown npu; known: accuracy, .*npu_speedup"),
        ("unsupported.size = 3", "unsupported.size: unsupported must be gate = .* found 3"),
        ('unsupported.size = {link = "https://a.b/1"}', "found None as the reason"),
        ('unsupported.size = {reason = " "}', "found ' ' as the reason"),
        (
            'unsupported.size = {reason = "w", expiry = 1}',
            r"size: unknown expiry; did you mean expires\?",
        ),
        ('unsupported.size = {reason = "w", link = "#12"}', "link must be an address .*'#12'"),
        ('unsupported.size = {reason = "w", expires = "2027-03-01"}', "expires must be a date"),
        (
            'unsupported.size = {reason = "w", expires = 2027-03-01T00:00:00}',
            "expires must be a date such as 2027-03-01, without quotes, found datetime",
        ),
    ],
)
def test_a_wrong_entry_is_named(written, lines, message):
    with pytest.raises(ValueError, match=message):
        expectations_for("vit-tflite_int8", written(f'["unet-*"]\n{lines}'))


NO_NUMBER = (
    st.booleans()
    | st.text()
    | st.floats(max_value=0)
    | st.integers(max_value=0)
    | st.sampled_from([float("nan"), float("inf")])
    | st.lists(st.floats(), max_size=2)
    | st.dictionaries(st.text(), st.floats(), max_size=2)
    | st.dates()
)
NO_TEXT = st.text().filter(lambda text: not text.strip()) | st.integers() | st.lists(st.text())


@given(st.sampled_from(sorted(KEYS - {"accuracy", "unsupported"})), NO_NUMBER)
def test_no_number_is_taken_of_another_kind(key, value):
    with pytest.raises(ValueError, match=rf"^here: {key} must be a positive number, found "):
        check_entry("here", {key: value})


@given(st.sampled_from([*ALL_GATES, CONVERSION]), NO_TEXT)
def test_no_gate_is_known_to_fail_without_a_reason(gate, value):
    for told in (value, {"reason": value}, {}):
        with pytest.raises(ValueError, match=rf"^here: unsupported\.{gate}: "):
            check_entry("here", {"unsupported": {gate: told}})


@given(st.text(max_size=9).filter(lambda key: key not in {*KEYS, *ALL_GATES, CONVERSION}))
def test_a_key_that_is_none_is_named_whatever_it_is(key):
    for entry in ({key: 1}, {"unsupported": {key: "why"}}):
        with pytest.raises(ValueError, match=r"did you mean|known: acc") as refused:
            check_entry("here", entry)
        assert f"unknown {key if key.isprintable() else repr(key)}; " in str(refused.value)


def test_a_general_entry_below_a_specific_one_is_refused(written):
    file = written('["unet-tflite_int8"]\nsize_ratio = 0.5\n["*-tflite_int8"]\nsize_ratio = 0.3')
    with pytest.raises(ValueError, match=r'"\*-tflite_int8".* stands below \["unet-tflite_int8"\]'):
        expectations_for("unet-tflite_int8", file)


def test_a_key_that_nothing_sets_is_named(written):
    file = written(base=COMPLETE.replace("npu_coverage = 1.0", ""))
    with pytest.raises(ValueError, match="no entry sets npu_coverage for case unet-tflite_int8"):
        expectations_for("unet-tflite_int8", file)


def test_nothing_heavy_is_imported():
    code = (
        "import sys, int8gate.validation.expectations as read; read.expectations_for('unet-x');"
        "print({'numpy', 'scipy', 'pydantic'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


class TestExpiry:
    LAST = date(2027, 3, 1)
    LINES = """
        ["tiny-*".unsupported]
        accuracy = {reason = "clips", link = "https://bugs.example/7", expires = 2027-03-01}
        size = "metadata weighs most"
        """

    def test_it_holds_to_the_last_day_and_fails_from_the_next(self, written):
        expected = expectations_for("tiny-tflite_int8", written(self.LINES))
        assert expected.expired(self.LAST) == {}
        (said,) = expected.expired(self.LAST + timedelta(days=1)).values()
        assert "the exception of accuracy expired on 2027-03-01" in said
        assert "clips; https://bugs.example/7" in said

    def test_its_reason_names_link_and_last_day(self, written):
        expected = expectations_for("tiny-tflite_int8", written(self.LINES))
        assert expected.unsupported == {
            "accuracy": "clips (https://bugs.example/7; until 2027-03-01)",
            "size": "metadata weighs most",
        }

    def test_an_entry_below_renews_it(self, written):
        renewed = """
            ["tiny-tflite_int8".unsupported]
            accuracy = {reason = "still clips", expires = 2028-03-01}
            """
        file = written(self.LINES + renewed)
        assert expectations_for("tiny-tflite_int8", file).expired(date(2027, 6, 1)) == {}
        assert expectations_for("tiny-onnx_int8", file).expired(date(2027, 6, 1))

    def test_nothing_that_the_shipped_file_declares_is_expired(self):
        for pattern, entry in tomllib.loads(DEFAULT_FILE.read_text()).items():
            for gate, known in known_failures(entry.get("unsupported", {})).items():
                assert not known.is_expired(date.today()), (pattern, gate)


def test_what_is_of_pictures_that_are_drawn_is_no_key_of_users_models():
    """None of their tasks compares such pictures: it would be looked up where there is none."""
    expected = expectations_for("unet-tflite_int8")
    with pytest.raises(ValueError, match=r"models.toml: unknown least_psnr_db; "):
        with_own(expected, {"least_psnr_db": 30.0}, "models.toml")
    assert with_own(expected, {"least_metric": 0.5}, "models.toml").least_metric == 0.5
