"""How a model runs, said in one way."""

from dataclasses import asdict

import pytest

from boxwright.runtime import PRECISIONS, ConfigError, Execution


def test_everything_is_open_at_first():
    assert Execution() == Execution("auto", "auto", "cpu", None, None)
    assert not Execution().settled
    assert not Execution("torch").settled
    assert not Execution(precision="fp32").settled
    assert Execution("torch", "fp32").settled


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_variant_is_read_back(precision):
    for backend in ("onnxruntime", "torch-compile"):
        execution = Execution(backend, precision)
        assert execution.variant == f"{backend}-{precision}"
        assert Execution.of_variant(execution.variant) == execution


def test_a_variant_of_an_unknown_precision_is_refused():
    with pytest.raises(ConfigError, match=r"'fp64' is unknown\. Use auto, fp32, bf16, int8"):
        Execution.of_variant("cuda-fp64")


@pytest.mark.parametrize("number", [0, -1, 1.5, "2", True])
@pytest.mark.parametrize("name", ["threads", "sessions"])
def test_numbers_are_whole_and_positive(name, number):
    with pytest.raises(ConfigError, match=f"{name} = .* does not fit"):
        Execution(**{name: number})


MEASURED = Execution("openvino", "bf16", threads=1, sessions=2)


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        (Execution(), True),
        (Execution("openvino"), True),
        (Execution("torch"), False),
        (Execution(precision="bf16"), True),
        (Execution(precision="fp32"), False),
        (Execution(threads=1), True),
        (Execution(threads=2), False),
        (Execution(sessions=2), True),
        (Execution(sessions=1), False),
        (Execution(device="cuda:0"), False),
        (MEASURED, True),
    ],
)
def test_what_is_settled_decides_what_fits(asked, fits):
    assert asked.admits(MEASURED) is fits


def test_another_variant_keeps_device_threads_and_sessions():
    asked = Execution(device="cuda:0", threads=3, sessions=2)
    assert asked.with_variant(Execution("torch", "bf16", threads=9)) == Execution("torch", "bf16", "cuda:0", 3, 2)


def test_it_goes_through_a_dictionary_and_is_a_key():
    assert Execution(**asdict(MEASURED)) == MEASURED
    assert len({MEASURED, Execution(**asdict(MEASURED)), Execution()}) == 2


@pytest.mark.parametrize(
    ("execution", "text"),
    [
        (MEASURED, "openvino-bf16, 1 thread x 2 sessions"),
        (Execution("torch", "fp32", threads=2), "torch-fp32, 2 threads x 1 session"),
        (Execution("torch", "fp32"), "torch-fp32, default threads x 1 session"),
    ],
)
def test_people_read_it_in_one_line(execution, text):
    assert str(execution) == text
