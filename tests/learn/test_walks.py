"""In the world of walks RAFT, PPO and DPO each find shorter ways than what they cloned."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from assent.audit.walks import measure_walks
from assent.training.run_folder import RunFolder

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "randomwalks.py"

pytestmark = pytest.mark.slow


def _benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("randomwalks", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_method_exceeds_cloning_and_reaches_nine_tenths(tmp_path: Path) -> None:
    randomwalks = _benchmark()
    start = RunFolder(tmp_path / "clone")
    cloned = measure_walks(
        randomwalks.clone(0, start), randomwalks.TOKENIZER, randomwalks.WORLD
    ).mean_optimality
    assert cloned == pytest.approx(0.79, abs=0.02)
    for name in ("raft", "ppo", "dpo"):
        policy = randomwalks.METHODS[name](start.model, RunFolder(tmp_path / name), 0)
        found = measure_walks(policy, randomwalks.TOKENIZER, randomwalks.WORLD)
        assert found.mean_optimality > 0.9, name
