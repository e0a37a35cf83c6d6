"""A folder that is no model is refused in one line that says why; a good one loads ready to use."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.chat_fixtures import bpe_tokenizer
from tests.unit.models.architectures import ARCHITECTURES, causal_lm
from transformers import PreTrainedTokenizerFast

from assent.config.files import whole_folder
from assent.errors import ModelError, NotAModel, TokenizerUnfit
from assent.models.checkpoints import save_model
from assent.models.loading import (
    add_pad_token,
    choose_device,
    load_causal_lm,
    load_reward_model,
    load_tokenizer,
    new_llama,
    require_fit,
    require_match,
    reward_model_from,
    score_head,
)
from assent.worlds.almanac import build_tokenizer

TOKENIZER = build_tokenizer()
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy and a reward model, never changed by the tests."""
    folder = tmp_path_factory.mktemp("saved")
    with whole_folder(folder / "policy") as aside:
        save_model(aside, causal_lm("llama", vocabulary=len(TOKENIZER)), TOKENIZER)
    with whole_folder(folder / "reward") as aside:
        save_model(aside, reward_model_from(folder / "policy", seed=1), TOKENIZER)
    return folder


@pytest.fixture
def policy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved / "policy", tmp_path / "policy"))


@pytest.fixture
def reward(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved / "reward", tmp_path / "reward"))


def refused(kind: type[ModelError], load: Callable[[], object]) -> str:
    """The message of the refusal, which is one line."""
    with pytest.raises(kind) as caught:
        load()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    return str(caught.value)


def configure(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_saved_policy_loads_in_float32_with_dropout_off(
    tmp_path: Path, architecture: str
) -> None:
    model = causal_lm(architecture, vocabulary=len(TOKENIZER), dropout=0.1)
    with whole_folder(tmp_path / "policy") as aside:
        save_model(aside, model.to(torch.bfloat16), TOKENIZER)  # type: ignore[arg-type]
    loaded = load_causal_lm(tmp_path / "policy", torch.device("cpu"))
    assert not loaded.training
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight.float()), name


def test_loading_says_nothing_on_the_terminal(
    saved: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    load_causal_lm(saved / "policy")
    reward_model_from(saved / "policy", seed=0)
    load_reward_model(saved / "reward")
    load_tokenizer(saved / "policy")
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    for load in (load_causal_lm, load_reward_model, load_tokenizer):
        message = refused(NotAModel, lambda load=load: load(tmp_path / "absent"))  # type: ignore[misc]
        assert message.startswith(f"{tmp_path / 'absent'} does not exist")
        assert "does not exist" in refused(NotAModel, lambda load=load: load("./absent"))  # type: ignore[misc]


def test_an_empty_folder_is_no_model_and_no_tokenizer(tmp_path: Path) -> None:
    assert "no config.json" in refused(NotAModel, lambda: load_causal_lm(tmp_path))
    assert "no config.json" in refused(NotAModel, lambda: load_reward_model(tmp_path))
    assert "no config.json" in refused(NotAModel, lambda: reward_model_from(tmp_path, 0))
    assert "no tokenizer_config.json" in refused(NotAModel, lambda: load_tokenizer(tmp_path))


def test_a_file_is_no_model_folder(policy: Path) -> None:
    for load in (load_causal_lm, load_tokenizer):
        message = refused(NotAModel, lambda load=load: load(policy / WEIGHTS))  # type: ignore[misc]
        assert WEIGHTS in message


def test_a_model_without_its_tokenizer_cannot_become_a_reward_model(policy: Path) -> None:
    (policy / "tokenizer_config.json").unlink()
    load_causal_lm(policy)
    message = refused(NotAModel, lambda: reward_model_from(policy, 0))
    assert "no tokenizer_config.json" in message


def truncate(folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        lambda folder: (folder / WEIGHTS).write_bytes(b""),
        lambda folder: (folder / WEIGHTS).write_bytes(b"garbage of some length"),
        lambda folder: (folder / WEIGHTS).unlink(),
        lambda folder: (folder / "config.json").write_text("{"),
        lambda folder: (folder / "config.json").write_text("[]"),
        lambda folder: (folder / "config.json").write_text("{}"),
        lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe\x00"),
        lambda folder: configure(folder, model_type="nosuch"),
        lambda folder: configure(folder, model_type="vit"),
        lambda folder: configure(folder, hidden_size="wide"),
        lambda folder: configure(folder, hidden_size=-1),
        lambda folder: configure(folder, num_attention_heads=0),
    ],
)
def test_a_damaged_folder_is_one_line(policy: Path, damage: Callable[[Path], object]) -> None:
    damage(policy)
    assert str(policy) in refused(NotAModel, lambda: load_causal_lm(policy))
    assert str(policy) in refused(NotAModel, lambda: load_reward_model(policy))
    assert str(policy) in refused(NotAModel, lambda: reward_model_from(policy, 0))


def test_pickled_weights_are_never_read(policy: Path) -> None:
    (policy / WEIGHTS).unlink()
    weights = causal_lm("llama", vocabulary=len(TOKENIZER)).state_dict()
    torch.save(weights, policy / "pytorch_model.bin")
    message = refused(NotAModel, lambda: load_causal_lm(policy))
    assert "pytorch_model.bin is a pickle" in message
    assert "save the model with safetensors" in message


def test_weights_that_are_missing_are_not_made_up(policy: Path) -> None:
    configure(policy, num_hidden_layers=3)
    message = refused(NotAModel, lambda: load_causal_lm(policy))
    assert "weight model.layers.2." in message
    assert message.endswith("is missing")
    assert "is missing" in refused(NotAModel, lambda: reward_model_from(policy, 0))


def test_weights_of_another_shape_are_not_made_up(policy: Path) -> None:
    configure(policy, vocab_size=len(TOKENIZER) + 2)
    message = refused(NotAModel, lambda: load_causal_lm(policy))
    assert f"[{len(TOKENIZER)}, 16]" in message
    assert f"needs [{len(TOKENIZER) + 2}, 16]" in message


def test_a_policy_is_no_reward_model_and_a_reward_model_no_policy(saved: Path) -> None:
    message = refused(NotAModel, lambda: load_reward_model(saved / "policy"))
    assert "score.weight is missing" in message
    message = refused(NotAModel, lambda: load_causal_lm(saved / "reward"))
    assert "holds a reward model" in message or "lm_head.weight is missing" in message


def test_a_tied_reward_model_is_no_policy_either(tmp_path: Path) -> None:
    """Its embeddings would do for an output layer, and nothing would be missing."""
    tied = new_llama(
        TOKENIZER,
        hidden_size=16,
        intermediate_size=16,
        layers=1,
        heads=2,
        max_positions=32,
        initial_std=0.1,
        seed=0,
    )
    with whole_folder(tmp_path / "policy") as aside:
        save_model(aside, tied, TOKENIZER)
    with whole_folder(tmp_path / "reward") as aside:
        save_model(aside, reward_model_from(tmp_path / "policy", seed=0), TOKENIZER)
    message = refused(NotAModel, lambda: load_causal_lm(tmp_path / "reward"))
    assert "holds a reward model (it has score.weight)" in message


def test_a_classifier_with_more_outputs_is_no_reward_model(reward: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(reward / WEIGHTS)
    weights["score.weight"] = weights["score.weight"].repeat(3, 1)
    save_file(weights, reward / WEIGHTS, {"format": "pt"})
    message = refused(NotAModel, lambda: load_reward_model(reward))
    assert "score.weight is [3, 16]" in message
    assert "[1, 16]" in message


def test_a_model_without_a_score_head_is_named() -> None:
    message = refused(NotAModel, lambda: score_head(causal_lm("llama")))
    assert "LlamaForCausalLM has no linear head named 'score'" in message


def edit(folder: Path, **values: Any) -> None:
    path = folder / "tokenizer_config.json"
    settings = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({k: v for k, v in settings.items() if v is not None}))


def test_a_tokenizer_without_eos_is_refused_with_what_to_do(policy: Path) -> None:
    edit(policy, eos_token=None)
    message = refused(TokenizerUnfit, lambda: load_tokenizer(policy))
    assert f"{policy} has no eos token" in message
    assert "tokenizer.eos_token = " in message


def test_a_tokenizer_without_pad_is_refused_with_what_to_do(policy: Path) -> None:
    edit(policy, pad_token=None)
    message = refused(TokenizerUnfit, lambda: load_tokenizer(policy))
    assert f"{policy} has no pad token" in message
    assert "add_special_tokens({'pad_token': '<pad>'})" in message
    assert "resize_token_embeddings" in message


def test_one_token_for_pad_and_eos_is_refused(policy: Path) -> None:
    edit(policy, pad_token="<eos>")
    message = refused(TokenizerUnfit, lambda: load_tokenizer(policy))
    assert "one token, '<eos>', for pad and eos" in message
    refused(TokenizerUnfit, lambda: reward_model_from(policy, 0))


def test_the_advice_for_an_unfit_tokenizer_works() -> None:
    bare = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=build_tokenizer().backend_tokenizer
    )
    refused(TokenizerUnfit, lambda: require_fit(bare))
    bare.eos_token = "<eos>"
    refused(TokenizerUnfit, lambda: require_fit(bare))
    bare.add_special_tokens({"pad_token": "<new pad>"})
    require_fit(bare)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer.json", ""),
        ("tokenizer.json", "{"),
        ("tokenizer.json", '{"model": 1}'),
        ("tokenizer.json", None),
        ("tokenizer_config.json", "{"),
        ("tokenizer_config.json", "[]"),
    ],
)
def test_a_damaged_tokenizer_is_one_line(policy: Path, file: str, content: str | None) -> None:
    if content is None:
        (policy / file).unlink()
    else:
        (policy / file).write_text(content)
    assert str(policy) in refused(NotAModel, lambda: load_tokenizer(policy))


def test_a_tokenizer_whose_model_is_unknown_is_one_line(policy: Path) -> None:
    """The tokenizers library raises a bare Exception here."""
    path = policy / "tokenizer.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "model": {"type": "Nosuch"}}))
    assert "does not load" in refused(NotAModel, lambda: load_tokenizer(policy))


def test_a_new_model_depends_on_its_seed_alone() -> None:
    def make(seed: int) -> torch.Tensor:
        model = new_llama(
            TOKENIZER,
            hidden_size=16,
            intermediate_size=24,
            layers=1,
            heads=2,
            max_positions=64,
            initial_std=0.1,
            seed=seed,
        )
        assert not model.training
        assert model.config.eos_token_id == TOKENIZER.eos_token_id
        assert model.config.pad_token_id == TOKENIZER.pad_token_id
        embeddings = model.get_input_embeddings().weight
        assert isinstance(embeddings, torch.Tensor)
        output = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        assert output.weight is embeddings
        return torch.clone(embeddings)

    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first = make(3)
    assert torch.equal(torch.rand(1), expected), "the global generator is left alone"
    assert torch.equal(first, make(3))
    assert not torch.equal(first, make(4))


def test_a_device_is_chosen_by_name() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_tokenizer_larger_than_the_model_is_refused_with_both_numbers() -> None:
    require_match(causal_lm("llama", vocabulary=len(TOKENIZER)), TOKENIZER)
    require_match(causal_lm("llama", vocabulary=len(TOKENIZER) + 5), TOKENIZER)
    small = causal_lm("llama", vocabulary=len(TOKENIZER) - 1)
    message = refused(TokenizerUnfit, lambda: require_match(small, TOKENIZER))
    assert f"{len(TOKENIZER)} tokens and the model {len(TOKENIZER) - 1} embeddings" in message
    assert "resize_token_embeddings" in message


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize("pad", [None, "<|endoftext|>"])
def test_a_pad_token_can_be_given_to_a_model_that_has_none_of_its_own(
    architecture: str, pad: str | None, tmp_path: Path
) -> None:
    """The commonest base models have no pad token, or eos in its place."""
    tokenizer = bpe_tokenizer()
    tokenizer.pad_token = pad
    model = causal_lm(architecture, vocabulary=len(tokenizer))
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        before = model(input_ids=ids).logits
    assert add_pad_token(model, tokenizer)
    require_fit(tokenizer)
    require_match(model, tokenizer)
    assert not add_pad_token(model, tokenizer)
    with torch.no_grad():
        after = model(input_ids=ids).logits
    torch.testing.assert_close(after[..., : before.shape[-1]], before)
    with whole_folder(tmp_path / "policy") as aside:
        save_model(aside, model, tokenizer)
    assert load_causal_lm(tmp_path / "policy").config.pad_token_id == tokenizer.pad_token_id
    require_fit(load_tokenizer(tmp_path / "policy"))
