"""A run in bfloat16 on a processor that has no products of it is told, once."""

from collections.abc import Iterator

import pytest
import torch

from assent.models import bfloat16
from assent.models.states import autocast

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    bfloat16.tell_if_slow.cache_clear()
    yield
    bfloat16.tell_if_slow.cache_clear()


def test_slow_products_are_told_once_and_only_where_they_are_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bfloat16, "speed_on_cpu", lambda: 0.125)
    autocast(CPU, "float32")
    assert not caplog.records
    autocast(CPU, "bfloat16")
    autocast(CPU, "bfloat16")
    [said] = caplog.messages
    assert "0.12 times the speed of float32" in said
    assert "precision = 'float32'" in said


def test_fast_products_are_not_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bfloat16, "speed_on_cpu", lambda: 1.9)
    autocast(CPU, "bfloat16")
    assert not caplog.records


@pytest.mark.parametrize(
    ("speed", "faster"), [(1.9, "bfloat16"), (0.1, "float32"), (0.0, "float32")]
)
def test_the_faster_of_the_two_is_named(
    speed: float, faster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bfloat16, "speed_on_cpu", lambda: speed)
    assert bfloat16.faster_on_cpu() == faster


def test_the_speed_is_that_of_products() -> None:
    assert 0 < bfloat16.speed_on_cpu() < 20


def test_a_torch_without_such_products_has_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(dtype: torch.dtype) -> float:
        if dtype == torch.bfloat16:
            message = '"addmm_impl_cpu_" not implemented for BFloat16'
            raise RuntimeError(message)
        return 1.0

    monkeypatch.setattr(bfloat16, "_seconds", missing)
    bfloat16.speed_on_cpu.cache_clear()
    assert bfloat16.speed_on_cpu() == 0
    bfloat16.speed_on_cpu.cache_clear()
