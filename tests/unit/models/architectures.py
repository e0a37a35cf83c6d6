"""Tiny models of several architectures with lively random weights, and tokens for them."""

from typing import Any

import torch
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2ForSequenceClassification,
)

VOCABULARY = 23
PAD, EOS = 0, 1
ARCHITECTURES = ("gpt2", "llama", "qwen2", "mixtral")


def causal_lm(
    architecture: str,
    *,
    vocabulary: int = VOCABULARY,
    dropout: float = 0.0,
    layers: int = 2,
    spread: float = 0.4,
) -> PreTrainedModel:
    """A causal LM of width 16, the same at every call, in evaluation mode."""
    config = configuration(architecture, vocabulary, dropout, layers, spread)
    kinds: dict[str, type[PreTrainedModel]] = {
        "gpt2": GPT2LMHeadModel,
        "llama": LlamaForCausalLM,
        "qwen2": Qwen2ForCausalLM,
        "mixtral": MixtralForCausalLM,
    }
    return build(kinds[architecture], config)


def reward_model(architecture: str, vocabulary: int = VOCABULARY) -> PreTrainedModel:
    """A sequence-classification model with one label, on the same trunks (no Mixtral)."""
    config = configuration(architecture, vocabulary, 0.0, 2, 0.4)
    config.num_labels = 1
    kinds: dict[str, type[PreTrainedModel]] = {
        "gpt2": GPT2ForSequenceClassification,
        "llama": LlamaForSequenceClassification,
        "qwen2": Qwen2ForSequenceClassification,
    }
    return build(kinds[architecture], config)


def build(kind: type[PreTrainedModel], config: object) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model: PreTrainedModel = kind(config)  # type: ignore[arg-type]
        # Position embeddings, norms and the score head too must differ from one unit to the next.
        for parameter in model.parameters():
            parameter.data += 0.02 * torch.randn_like(parameter)
    model.train(mode=False)
    return model


def configuration(
    architecture: str, vocabulary: int, dropout: float, layers: int, spread: float
) -> GPT2Config | LlamaConfig | Qwen2Config | MixtralConfig:
    tokens: dict[str, Any] = {"pad_token_id": PAD, "eos_token_id": EOS, "bos_token_id": None}
    if architecture == "gpt2":
        return GPT2Config(
            vocab_size=vocabulary,
            n_positions=96,
            n_embd=16,
            n_layer=layers,
            n_head=2,
            initializer_range=spread,
            resid_pdrop=dropout,
            embd_pdrop=dropout,
            attn_pdrop=dropout,
            **tokens,
        )
    shared: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 96,
        "initializer_range": spread,
        "attention_dropout": dropout,
        **tokens,
    }
    if architecture == "llama":
        return LlamaConfig(**shared)
    if architecture == "qwen2":
        return Qwen2Config(**shared)
    return MixtralConfig(num_local_experts=4, num_experts_per_tok=2, **shared)


def token_lists(lengths: list[int], seed: int, vocabulary: int = VOCABULARY) -> list[list[int]]:
    """Random token ids; pad and eos may be among them, as they may in real text."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(vocabulary, (n,), generator=generator).tolist() for n in lengths]


def logprobs_alone(
    model: PreTrainedModel, prompt: list[int], response: list[int], temperature: float = 1.0
) -> list[float]:
    """By definition: one unpadded row, no mask, no position ids, float64 log-softmax."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + response])).logits[0].double()
    logprobs = torch.log_softmax(logits / temperature, dim=-1)
    start = len(prompt) - 1
    return [logprobs[start + i, token].item() for i, token in enumerate(response)]
