"""`assent reward serve` as a process: it answers, ends quietly, and refuses in one line."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from tests.training_fixtures import TOKENIZER, small_reward_model

from assent.cli.main import main
from assent.config.files import whole_folder
from assent.models.checkpoints import save_model
from assent.models.rewards import Normalisation, TextReward, save_normalisation
from assent.store import Project

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("made")
    with whole_folder(made / "reward") as aside:
        save_model(aside, small_reward_model(made / "policy"), TOKENIZER)
        save_normalisation(aside, Normalisation(gain=3.0, bias=1.0, samples=4))
    return made


def environment(token: str | None = None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "ASSENT_REWARD_TOKEN"}
    kept |= {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    return kept if token is None else {**kept, "ASSENT_REWARD_TOKEN": token}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "assent.cli", "reward", "serve", *words]


@contextmanager
def process(*words: str, token: str | None = None) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        command(*words), env=environment(token), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as running:  # fmt: skip
        try:
            yield running
        finally:
            running.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_it_answers_with_the_models_rewards_and_ctrl_c_ends_it_quietly(folder: Path) -> None:
    port = free_port()
    with process(str(folder / "reward"), "--port", str(port), token="t0ken") as server:
        assert server.stdout is not None
        assert server.stderr is not None
        line = server.stdout.readline()
        assert line == f"rewards of {folder / 'reward'} at http://127.0.0.1:{port}/rewards\n"
        body = {"prompts": ["a", "bc"], "responses": ["d", ""]}
        address = f"http://127.0.0.1:{port}/rewards"
        with httpx.Client(trust_env=False, timeout=60) as client:
            assert client.post(address, json=body).status_code == 401
            answer = client.post(address, json=body, headers={"authorization": "Bearer t0ken"})
        expected = TextReward.load(folder / "reward")(body["prompts"], body["responses"])
        assert answer.json() == {"rewards": expected}
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0
        assert server.stderr.read() == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere"], "nowhere"),
        (["policy"], "score.weight is missing"),
        (["reward", "--host", "0.0.0.0"], "0.0.0.0 is open to others: set ASSENT_REWARD_TOKEN"),  # noqa: S104
    ],
)
def test_what_cannot_be_served_is_one_line_and_status_2(
    folder: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("ASSENT_REWARD_TOKEN", raising=False)
    port = ["--port", str(free_port())]
    with pytest.raises(SystemExit) as stopped:
        main(["reward", "serve", str(folder / words[0]), *words[1:], *port])
    assert stopped.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert says in shown.err
    assert shown.err.count("\n") == 1


def test_of_a_project_the_newest_reward_model_is_served_or_its_lack_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Project.create(tmp_path / "project", "schema_version = 1\n"):
        pass
    with pytest.raises(SystemExit) as stopped:
        main(["reward", "serve", str(tmp_path / "project"), "--port", str(free_port())])
    assert stopped.value.code == 2
    assert "has no reward model yet; make one with: assent train reward" in capsys.readouterr().err
