"""SFT, reward model, PPO and the way out, on four architectures with real tokenizers and chats."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.chat_fixtures import bpe_tokenizer
from tests.training_fixtures import optimiser
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from assent.config.files import whole_folder
from assent.config.lora import LoraSettings
from assent.config.ppo import PpoSettings, SamplingSettings
from assent.config.reward import RewardSettings
from assent.config.sft import SftSettings
from assent.models.checkpoints import save_model
from assent.models.loading import load_causal_lm, load_tokenizer, reward_model_from
from assent.models.rewards import TextReward
from assent.models.tokens import encode_prompts, encode_responses, end_ids
from assent.training.ppo import train_ppo
from assent.training.reward import train_reward
from assent.training.run_folder import RunFolder
from assent.training.sft import train_sft
from assent.types import ChatPrompt, Demonstration, Message, PreferencePair

TEMPLATE = {"gpt2": None, "llama": "brackets", "qwen3": "chatml", "mixtral": "forgetful"}
"""gpt2: no template at all. llama: its template and its tokenizer both write a BOS, and it takes no
system turn. mixtral: a template that leaves the system turn out and writes past answers its way."""
CLASSES = {
    "gpt2": "GPT2",
    "llama": "Llama",
    "qwen3": "Qwen3",
    "mixtral": "Mixtral",
}
SYSTEM = Message("system", "Being brief is kind.")
PROMPTS = [
    ChatPrompt([Message("user", "What is the bridge of Fernby?")]),
    ChatPrompt([SYSTEM, Message("user", "How are you today?")]),
    ChatPrompt([Message("user", "a"), Message("assistant", "b "), Message("user", "Sure?")]),
    "Question: What is the harbour of Fernby?\nAnswer:",
]


def tokenizer_of(architecture: str) -> PreTrainedTokenizerBase:
    return bpe_tokenizer(TEMPLATE[architecture], adds_bos=architecture in ("llama", "mixtral"))


def base(architecture: str, folder: Path) -> Path:
    """About a million parameters, saved as transformers saves them."""
    tokenizer = tokenizer_of(architecture)
    ends = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    shared: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 128,
        "intermediate_size": 344,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.05,
        "bos_token_id": tokenizer.bos_token_id,
        **ends,
    }
    torch.manual_seed(0)
    model: PreTrainedModel
    if architecture == "gpt2":
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=len(tokenizer), n_positions=256, n_embd=128, n_layer=4, n_head=4, **ends
            )
        )
    elif architecture == "llama":
        model = LlamaForCausalLM(LlamaConfig(**shared))
    elif architecture == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(head_dim=32, tie_word_embeddings=True, **shared))
    else:
        shared |= {"num_hidden_layers": 2, "intermediate_size": 172}
        model = MixtralForCausalLM(
            MixtralConfig(num_local_experts=4, num_experts_per_tok=2, **shared)
        )
    count = sum(parameter.numel() for parameter in model.parameters())
    assert 5e5 < count < 1.5e6
    with whole_folder(folder) as aside:
        save_model(aside, model, tokenizer)
    return folder


def metrics(run: RunFolder) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=4)], ids=["whole", "lora"])
@pytest.mark.parametrize("architecture", list(TEMPLATE))
def test_the_loop_in_python_from_a_folder_to_folders_that_transformers_loads(
    architecture: str, lora: LoraSettings | None, tmp_path: Path
) -> None:
    start = base(architecture, tmp_path / "base")
    tokenizer = load_tokenizer(start)
    adapting = {"lora": lora, "optimiser": optimiser(3e-3)}

    # Supervised: the responses are learned, to their end token.
    sft = RunFolder(tmp_path / "sft")
    shown = [Demonstration(prompt=one, response="It may be stone.") for one in PROMPTS * 6]
    train_sft(
        load_causal_lm(start), tokenizer, shown,
        SftSettings.model_validate({"epochs": 2, "batch_size": 8, **adapting}), sft, seed=0,
    )  # fmt: skip
    losses = [line["loss/nll_nats"] for line in metrics(sft)]
    assert losses[-1] < losses[0] - 0.5

    # Reward model: on the policy's trunk, chats and plain prompts together.
    reward = RunFolder(tmp_path / "reward")
    pairs = [
        PreferencePair(prompt=one, chosen="It may be stone.", rejected="Blue, blue, blue!")
        for one in PROMPTS * 4
    ]
    samples = (PROMPTS, ["stone", "blue", "It may be", "Blue, blue"])
    scored = train_reward(
        reward_model_from(sft.model, seed=1), tokenizer, pairs, samples,
        RewardSettings.model_validate({"epochs": 2, "batch_size": 8, **adapting}), reward, seed=0,
    )  # fmt: skip
    again = TextReward.load(reward.model)
    said = ["It may be stone.", "", "naïve", "Blue!"]
    assert again.raw(PROMPTS, said) == pytest.approx(scored.raw(PROMPTS, said), abs=1e-5)
    theirs = AutoModelForSequenceClassification.from_pretrained(reward.model)
    assert theirs.config.num_labels == 1
    asked, answered = encode_prompts(tokenizer, PROMPTS), None
    answered = encode_responses(tokenizer, said, prompts=PROMPTS)
    for prompt, response, raw in zip(asked, answered, again.raw(PROMPTS, said), strict=True):
        with torch.no_grad():
            alone = theirs(input_ids=torch.tensor([[*prompt, *response]])).logits[0, 0]
        assert float(alone) == pytest.approx(raw, abs=1e-4)

    # PPO against it; the self-check proves that sampling and scoring agree.
    ppo = RunFolder(tmp_path / "ppo")
    settings = PpoSettings.model_validate(
        {
            "updates": 2,
            "rollouts_per_update": 8,
            "sampling": SamplingSettings(max_new_tokens=12),
            "reward": {"kind": "model", "path": str(reward.model)},
            **adapting,
        }
    )
    reference = None if lora else load_causal_lm(sft.model)
    train_ppo(
        load_causal_lm(sft.model), reference, tokenizer, PROMPTS, again, settings, ppo,
        seed=0, points=(1,),
    )  # fmt: skip
    figures = metrics(ppo)
    assert figures[0]["policy/ratio_deviation"] < 1e-4
    assert figures[0]["policy/kl_nats"] == pytest.approx(0, abs=1e-5)
    assert all(math.isfinite(value) for line in figures for value in line.values())

    # The way out: plain transformers, nothing converted, nothing of ours in the configuration.
    for folder in (sft.model, ppo.model, ppo.checkpoints / "step-000001"):
        model = AutoModelForCausalLM.from_pretrained(folder)
        config = json.loads((folder / "config.json").read_text())
        kind = "LMHeadModel" if architecture == "gpt2" else "ForCausalLM"
        assert config["architectures"] == [f"{CLASSES[architecture]}{kind}"]
        assert "auto_map" not in config
        assert (folder / "adapter").is_dir() == (lora is not None)
        reads = AutoTokenizer.from_pretrained(folder)
        assert reads.chat_template == tokenizer.chat_template
        # Their engine stops where the policy learned to, also where that is not eos.
        ends = model.generation_config.eos_token_id
        assert set(ends if isinstance(ends, list) else [ends]) == set(end_ids(tokenizer))
    ids = torch.tensor(encode_prompts(tokenizer, PROMPTS[:1]))
    trained: Any = AutoModelForCausalLM.from_pretrained(ppo.model)
    mine = load_causal_lm(ppo.model)
    with torch.no_grad():
        torch.testing.assert_close(trained(input_ids=ids).logits, mine(input_ids=ids).logits)
        drawn = trained.generate(ids, max_new_tokens=20, do_sample=False)
    assert drawn.shape[1] > ids.shape[1]
