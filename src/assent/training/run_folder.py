"""A run on disk: resolved settings, metrics, resumable state, and the finished model.

    run/settings.toml     what the run was given; a run with other settings refuses to go on here
    run/inputs.json       its seed and a hash of its data; the same for these
    run/metrics.jsonl     one line a step
    run/state/step-…      weights, optimiser moments and counters of that step (safetensors, JSON)
    run/model/            the finished Hugging Face folder; its presence means the run is done

Random draws derive from the seed and the step, so no generator state is needed. Metrics beyond the
state that a run goes on from are dropped and computed again.
"""

import hashlib
import json
import shutil
import tomllib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from assent.config.base import Settings
from assent.config.files import whole_folder, write_file
from assent.config.sinks import JsonlSink
from assent.config.write import dump_toml
from assent.errors import CannotResume

WEIGHTS, OPTIMISER, STATE = "weights.safetensors", "optimiser.safetensors", "state.json"
SAME_RESULTS = ("micro_batch_size", "gradient_checkpointing", "checkpoint_every")
"""Settings that a run may go on with others of."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run; made when first written to."""

    path: Path

    @property
    def model(self) -> Path:
        """The finished model folder."""
        return self.path / "model"

    @property
    def checkpoints(self) -> Path:
        """Models kept along the way."""
        return self.path / "checkpoints"

    @property
    def is_done(self) -> bool:
        """The finished model is there, whole."""
        return self.model.is_dir()

    def begin(self, settings: Settings, *, seed: int | None = None, data: str = "") -> None:
        """Write what the run is given, or check that the run that was begun here got the same.

        Settings that change memory and not results may differ: a run that ran out of memory goes on
        with smaller micro-batches.

        Args:
            settings: of the stage.
            seed: of the stage.
            data: from `fingerprint`.

        Raises:
            CannotResume: settings, seed or data differ; the message names the file to compare with.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        file = self.path / "settings.toml"
        text = dump_toml(settings, comments=False)
        if file.exists() and _results_of(file) != _results_of(text):
            message = (
                f"{self.path} was begun with other settings; compare {file}, or remove the folder"
            )
            raise CannotResume(message)
        self._require_inputs({"seed": seed, "data": data})
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            write_file(file, text)
        for unfinished in sorted(self.path.rglob(".*.tmp")):  # of a process killed while it wrote
            if unfinished.is_file():
                unfinished.unlink(missing_ok=True)

    def _require_inputs(self, given: Mapping[str, Any]) -> None:
        file = self.path / "inputs.json"
        if not file.exists():
            write_file(file, json.dumps(given) + "\n")
            return
        try:
            begun: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            odd = [name for name in given if begun[name] != given[name]]
        except (ValueError, KeyError, TypeError) as error:
            message = f"{file} cannot be read back; remove {self.path} to start the stage again"
            raise CannotResume(message) from error
        if not odd:
            return
        what = f"seed {begun['seed']}, not {given['seed']}" if odd[0] == "seed" else "other data"
        message = (
            f"{self.path} was begun with {what}; give it what it had, or remove the folder to "
            "start the stage again"
        )
        raise CannotResume(message)

    def sink(self, resumed_at: int, name: str = "metrics") -> JsonlSink:
        """The metrics file, cut back to the step the run goes on from."""
        sink = JsonlSink(self.path / f"{name}.jsonl")
        sink.truncate_after(resumed_at)
        return sink

    def save_state(
        self,
        step: int,
        modules: Mapping[str, nn.Module],
        optimiser: Optimizer,
        values: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep everything that step `step` left behind, whole or not at all; older states go.

        Raises:
            DiskFull: no room; the state before is untouched.
        """
        folder = self.path / "state" / f"step-{step:06d}"
        with whole_folder(folder) as aside:
            save_file(_weights(modules), aside / WEIGHTS)
            save_file(_moments(modules, optimiser), aside / OPTIMISER)
            hashes = {name: _sha256(aside / name) for name in (WEIGHTS, OPTIMISER)}
            state = {"step": step, **(values or {}), "sha256": hashes}
            write_file(aside / STATE, json.dumps(state) + "\n")
        for other in folder.parent.glob("step-*"):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)

    def restore(self, modules: Mapping[str, nn.Module], optimiser: Optimizer) -> dict[str, Any]:
        """Put the newest saved state back; `{"step": 0}` where there is none.

        Raises:
            CannotResume: the state is damaged or belongs to another model; says which file.
        """
        states = sorted((self.path / "state").glob("step-*"))
        if not states:
            return {"step": 0}
        newest = states[-1]
        file = newest / STATE
        try:
            values: dict[str, Any] = json.loads(file.read_text("utf-8"))
            hashes = values["sha256"]
            int(values["step"])
            for name in (WEIGHTS, OPTIMISER):
                file = newest / name
                _require_hash(file, hashes[name])
            file = newest / WEIGHTS
            _put_weights(modules, load_file(file))
            file = newest / OPTIMISER
            _put_moments(modules, optimiser, load_file(file))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            message = (
                f"{file} cannot be read back ({reason}); remove {newest.parent} to start the stage "
                "again"
            )
            raise CannotResume(message) from error
        return values

    def finish(self) -> None:
        """Drop the resumable state: the run is done."""
        shutil.rmtree(self.path / "state", ignore_errors=True)


def fingerprint(*parts: Iterable[str | Sequence[int]]) -> str:
    """SHA-256 of texts and token lists, in order: whether a run was given this data before."""
    digest = hashlib.sha256()
    for part in parts:
        for item in part:
            content = (
                item.encode("utf-8", "surrogatepass")
                if isinstance(item, str)
                else array("q", item).tobytes()
            )
            digest.update(len(content).to_bytes(8, "little") + content)
        digest.update(b"\xff" * 8)
    return digest.hexdigest()


def _results_of(settings: Path | str) -> dict[str, Any]:
    """The settings that results depend on."""
    text = settings.read_text(encoding="utf-8") if isinstance(settings, Path) else settings
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {"damaged": text}
    return {key: value for key, value in table.items() if key not in SAME_RESULTS}


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _require_hash(file: Path, expected: str) -> None:
    if _sha256(file) != expected:
        message = "its content is not what was saved"
        raise ValueError(message)


def _parameters(modules: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """Trainable parameters by name, tied ones once."""
    return {
        f"{prefix}.{name}": parameter
        for prefix, module in modules.items()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def _weights(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {name: p.detach().contiguous() for name, p in _parameters(modules).items()}


def _put_weights(modules: Mapping[str, nn.Module], weights: Mapping[str, Tensor]) -> None:
    parameters = _parameters(modules)
    if parameters.keys() != weights.keys():
        odd = sorted(parameters.keys() ^ weights.keys())[0]
        message = f"the weights do not fit the model: {odd}"
        raise KeyError(message)
    for name, parameter in parameters.items():
        parameter.data.copy_(weights[name])


def _moments(modules: Mapping[str, nn.Module], optimiser: Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": value.detach().contiguous().clone()
        for name, parameter in _parameters(modules).items()
        for key, value in optimiser.state.get(parameter, {}).items()
    }


def _put_moments(
    modules: Mapping[str, nn.Module], optimiser: Optimizer, moments: Mapping[str, Tensor]
) -> None:
    parameters = _parameters(modules)
    for full_name, value in moments.items():
        name, _, key = full_name.rpartition("/")
        parameter = parameters[name]
        placed = value if key == "step" else value.to(parameter.device)
        optimiser.state[parameter][key] = placed
