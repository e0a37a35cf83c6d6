"""What the tests of training share: a language of letters, small models, and runs cut short."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from assent.config.files import whole_folder
from assent.config.optimiser import OptimiserSettings
from assent.config.ppo import FixedKl, PpoSettings, SamplingSettings
from assent.models.checkpoints import save_model
from assent.models.loading import new_llama, reward_model_from
from assent.training.ppo import Ppo
from assent.types import ProgressTask

LETTERS = "abcdefgh"
PROMPTS = ["a", "bc", "cab", "dd", "ef", "fgha", "g", "hb"]


def letter_tokenizer() -> PreTrainedTokenizerBase:
    """One token a letter, so that every text comes back from its tokens."""
    vocabulary = {token: number for number, token in enumerate(["<pad>", "<eos>", *LETTERS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    )


TOKENIZER = letter_tokenizer()


def small_policy(seed: int = 0, *, width: int = 16, spread: float = 0.25) -> PreTrainedModel:
    """A Llama of one layer, the same for the same seed."""
    return new_llama(
        TOKENIZER,
        hidden_size=width,
        intermediate_size=2 * width,
        layers=1,
        heads=2,
        max_positions=64,
        initial_std=spread,
        seed=seed,
    )


def small_reward_model(folder: Path) -> PreTrainedModel:
    """A reward model on the trunk of `small_policy`, which is written to the folder on the way."""
    if not folder.exists():
        with whole_folder(folder) as aside:
            save_model(aside, small_policy(), TOKENIZER)
    return reward_model_from(folder, seed=1)


def optimiser(lr: float = 1e-2, **given: object) -> OptimiserSettings:
    return OptimiserSettings.model_validate({"lr": lr, "eps": 1e-5, **given})


def ppo_settings(**given: object) -> PpoSettings:
    """Eight responses of at most six letters an update, two epochs of two minibatches."""
    defaults: dict[str, object] = {
        "updates": 4,
        "rollouts_per_update": 8,
        "epochs": 2,
        "minibatches": 2,
        "sampling": SamplingSettings(max_new_tokens=6),
        "kl": FixedKl(coef=0.1),
        "optimiser": optimiser(),
    }
    return PpoSettings.model_validate(defaults | given)


def small_ppo(settings: PpoSettings, seed: int = 0) -> Ppo:
    return Ppo(small_policy(), small_policy(), TOKENIZER, settings, seed=seed)


def count_of_a(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """A reward: how often the response holds the letter a."""
    del prompts
    return [float(response.count("a")) for response in responses]


class Watched:
    """Progress that calls back after each step, where a run can be cut short."""

    def __init__(self, after: Callable[[int], None]) -> None:
        self.after = after

    def task(self, name: str, total: int, done: int = 0) -> AbstractContextManager[ProgressTask]:
        del name, total
        steps = [done]

        def advance(count: int = 1, note: str = "") -> None:
            del note
            steps[0] += count
            self.after(steps[0])

        task: ProgressTask = SimpleNamespace(advance=advance)
        return nullcontext(task)


def interrupt_at(step: int) -> Watched:
    """Ctrl-C as the bar reaches a step."""

    def after(done: int) -> None:
        if done == step:
            raise KeyboardInterrupt

    return Watched(after)


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def same_weights(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
