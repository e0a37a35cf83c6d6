"""How a command ends: exit status, and who is told what."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from assent import __version__
from assent.cli.interrupts import Interrupted, interruptible
from assent.cli.main import main, run
from assent.errors import AssentError, ConfigError, NotAProject

SRC = Path(__file__).parents[3] / "src"


def assent(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "assent.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SRC)},
    )


def commands_that_raise(error: BaseException) -> typer.Typer:
    commands = typer.Typer(pretty_exceptions_enable=False)

    @commands.command()
    def fail(as_json: bool = typer.Option(False, "--json")) -> None:  # noqa: ARG001
        raise error

    return commands


def status_of(error: BaseException, *arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as stopped:
        run(commands_that_raise(error), arguments)
    return stopped.value.code


@pytest.mark.parametrize("error", [ConfigError("no such key"), NotAProject("no such key")])
def test_what_the_user_can_mend_is_one_line_on_stderr_and_status_2(
    error: AssentError, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(error) == 2
    assert capsys.readouterr() == ("", "no such key\n")


def test_with_json_the_error_is_an_object_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(ConfigError("no such key"), "--json") == 2
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"error": {"name": "ConfigError", "message": "no such key"}}
    assert shown.err == ""


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run(commands_that_raise(ZeroDivisionError("ours")), [])


def test_an_interrupted_command_says_what_is_kept_and_how_to_go_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with (
        pytest.raises(Interrupted, match=r"^interrupted: all of it is kept; go on with: again$"),
        interruptible("all of it is kept", "again"),
    ):
        raise KeyboardInterrupt
    assert status_of(Interrupted("interrupted: go on")) == 130
    assert capsys.readouterr().err == "interrupted: go on\n"


def test_ctrl_c_ends_with_130_and_that_line_on_stderr() -> None:
    program = (
        "import signal, typer\n"
        "from assent.cli.interrupts import interruptible\n"
        "from assent.cli.main import run\n"
        # Where the tests run in the background of a shell, a process begins with Ctrl-C ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "commands = typer.Typer(pretty_exceptions_enable=False)\n"
        "@commands.command()\n"
        "def wait():\n"
        "    with interruptible('step 3 is kept', 'assent loop run here'):\n"
        "        print('ready', flush=True)\n"
        "        signal.pause()\n"
        "run(commands, [])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SRC)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == "interrupted: step 3 is kept; go on with: assent loop run here\n"


def test_success_is_status_0_and_a_result_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["version", "--json"])
    assert stopped.value.code == 0
    assert json.loads(capsys.readouterr().out) == {"version": __version__}


def test_a_wrong_option_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["version", "--jsn"])
    assert stopped.value.code == 2
    assert "--jsn" in capsys.readouterr().err


def test_the_command_runs_as_a_process_of_its_own() -> None:
    done = assent("version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{__version__}\n", "")


def test_a_reader_who_leaves_early_hears_no_complaint() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "assent.cli", "version"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SRC)},
    )
    os.close(write)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_help_does_not_wait_for_heavy_packages() -> None:
    heavy = ["torch", "transformers", "sqlalchemy", "matplotlib", "numpy", "scipy"]
    program = (
        "import sys\nfrom assent.cli.main import main\n"
        "try:\n    main(['train', 'ppo', '--help'])\n"
        f"except SystemExit:\n    print([name for name in {heavy} if name in sys.modules])"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(SRC)},
    )
    assert "Optimise the policy against the reward model" in done.stdout
    assert done.stdout.endswith("[]\n")
    assert time.monotonic() - started < 10  # 0.3 s on a quiet machine; torch alone takes 2


def test_what_the_loader_chose_is_said_on_stderr_once_however_often_main_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for _ in range(2):
        with pytest.raises(SystemExit):
            main(["version"])
    logging.getLogger("assent.config.load").info("kl.kind is not given")
    logging.getLogger("assent.training").info("step 3")
    logging.getLogger("assent.training").warning("the KL is negative")
    assert capsys.readouterr().err == "kl.kind is not given\nthe KL is negative\n"
