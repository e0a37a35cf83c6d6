"""An adapter that is off is not there; merged, saved and loaded it gives the same numbers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tests.chat_fixtures import bpe_tokenizer
from tests.unit.models.architectures import ARCHITECTURES, causal_lm, reward_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel

from assent.config.files import whole_folder
from assent.config.lora import LoraSettings
from assent.errors import NotAModel
from assent.models.checkpoints import save_model
from assent.models.loading import load_causal_lm, load_reward_model
from assent.models.lora import Adapter, add_adapter

TOKENIZER = bpe_tokenizer()
TOKENS = torch.randint(len(TOKENIZER), (3, 9), generator=torch.Generator().manual_seed(0))
SETTINGS = LoraSettings(rank=4, alpha=8)


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=TOKENS).logits
    return found


def trained(model: PreTrainedModel, seed: int = 0) -> Adapter:
    """An adapter as if it had learned something."""
    adapter = add_adapter(model, SETTINGS, seed=seed)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return adapter


def policy(architecture: str) -> PreTrainedModel:
    return causal_lm(architecture, vocabulary=len(TOKENIZER))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_off_it_is_the_base_new_it_changes_nothing_and_on_it_does(architecture: str) -> None:
    model = policy(architecture)
    base = logits(model)
    add_adapter(model, SETTINGS, seed=0)
    assert torch.equal(logits(model), base)
    model = policy(architecture)
    adapter = trained(model)
    with adapter.off():
        assert (logits(model) - base).abs().max() < 1e-6
    assert (logits(model) - base).abs().max() > 0.1
    assert not model.training


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_merged_saved_and_loaded_by_transformers_it_gives_the_same_logits(
    architecture: str, tmp_path: Path
) -> None:
    model = policy(architecture)
    adapter = trained(model)
    expected = logits(model)
    with whole_folder(tmp_path / "model") as aside:
        save_model(aside, model, TOKENIZER, adapter)
    assert torch.equal(logits(model), expected), "the model in memory goes on as it was"
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(logits(plain), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        logits(load_causal_lm(tmp_path / "model")), expected, rtol=0, atol=1e-5
    )
    assert type(plain) is type(policy(architecture))
    names = [name for name, _ in policy(architecture).named_parameters()]
    adapter.merge()
    assert [name for name, _ in model.named_parameters()] == names
    assert all(parameter.requires_grad for parameter in model.parameters())
    torch.testing.assert_close(logits(model), expected, rtol=0, atol=1e-5)


# PEFT asks transformers by a name that transformers has given up.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "mixtral"])
def test_the_adapter_beside_a_model_is_pefts_and_ours_to_take_up(
    architecture: str, tmp_path: Path
) -> None:
    model = policy(architecture)
    adapter = trained(model)
    expected = logits(model)
    with whole_folder(tmp_path / "model") as aside:
        save_model(aside, model, TOKENIZER, adapter)
    beside = tmp_path / "model" / "adapter"
    assert sorted(file.name for file in beside.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    again = policy(architecture)
    add_adapter(again, SETTINGS, seed=7).load(beside)
    assert torch.equal(logits(again), expected)
    if architecture != "mixtral":
        theirs: Any = PeftModel.from_pretrained(policy(architecture), str(beside))
        torch.testing.assert_close(logits(theirs), expected)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen2"])
def test_a_reward_models_head_is_trained_whole_and_survives_the_merge(
    architecture: str, tmp_path: Path
) -> None:
    model: Any = reward_model(architecture, vocabulary=len(TOKENIZER))
    head = model.score.weight.detach().clone()
    adapter = trained(model)
    expected = logits(model)
    with whole_folder(tmp_path / "reward") as aside:
        save_model(aside, model, TOKENIZER, adapter)
    both: list[Any] = [
        load_reward_model(tmp_path / "reward"),
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward"),
    ]
    for loaded in both:
        torch.testing.assert_close(logits(loaded), expected, rtol=0, atol=1e-5)
        assert not torch.equal(loaded.score.weight, head)
    config = json.loads((tmp_path / "reward" / "adapter" / "adapter_config.json").read_text())
    assert config["task_type"] == "SEQ_CLS"
    assert "score" in config["modules_to_save"]


def test_only_the_adapter_learns() -> None:
    model = policy("llama")
    adapter = add_adapter(model, SETTINGS, seed=0)
    learning = [name for name, one in model.named_parameters() if one.requires_grad]
    assert learning
    assert all(".lora_" in name for name in learning)
    with adapter.off():
        pass
    assert [name for name, one in model.named_parameters() if one.requires_grad] == learning


def test_its_first_weights_come_from_the_seed_alone() -> None:
    def first(seed: int) -> torch.Tensor:
        model = policy("llama")
        add_adapter(model, SETTINGS, seed=seed)
        return torch.cat(
            [one.detach().flatten() for name, one in model.named_parameters() if "lora_A" in name]
        )

    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    one = first(3)
    assert torch.equal(torch.rand(1), expected), "the global generator is left alone"
    assert torch.equal(one, first(3))
    assert not torch.equal(one, first(4))


def test_named_layers_alone_are_adapted_and_unknown_ones_refused() -> None:
    model = policy("llama")
    add_adapter(model, LoraSettings(target_modules=("q_proj", "v_proj")), seed=0)
    adapted = {name.split(".")[4] for name, one in model.named_parameters() if one.requires_grad}
    assert adapted == {"q_proj", "v_proj"}
    with pytest.raises(
        NotAModel, match=r"no linear layer is called 'query'; there are .*k_proj.*q_proj"
    ):
        add_adapter(policy("llama"), LoraSettings(target_modules=("query",)), seed=0)


def test_an_adapter_that_is_missing_or_of_another_shape_is_refused(tmp_path: Path) -> None:
    trained(policy("llama")).save(tmp_path / "four")
    other = add_adapter(policy("llama"), LoraSettings(rank=2), seed=0)
    for folder in (tmp_path / "four", tmp_path / "nowhere"):
        with pytest.raises(NotAModel, match="holds no adapter that fits") as raised:
            other.load(folder)
        assert "\n" not in str(raised.value)
