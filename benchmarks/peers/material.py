"""What both sides of the comparison work on: models, tokenizer and data, and nothing downloaded.

Llama models from scratch at two sizes, a byte-level tokenizer trained on Python's standard library,
and windows of that text. The same seed gives both sides the same weights and tokens. This module is
imported in the peer's environment too, so it imports nothing of Assent.
"""

import math
import random
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

PAD, EOS = 0, 1
PROMPT, RESPONSE, LONG_RESPONSE, LONGEST_TEXT = 64, 64, 128, 256
GROUP = 8
MEAN_VARIED = 60
"""Mean length of responses that end anywhere, were they never cut off."""
SHAPES = {
    "6M": {
        "vocab_size": 4096, "hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 6,
        "num_attention_heads": 8, "num_key_value_heads": 8,
    },
    "30M": {
        "vocab_size": 8192, "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8,
        "num_attention_heads": 8, "num_key_value_heads": 8,
    },
}  # fmt: skip
CORPUS_BYTES = 6_000_000
SPECIAL = ("<pad>", "<eos>")


def corpus() -> list[str]:
    """Python's standard library as text, tests left out, always in the same order."""
    root = Path(sysconfig.get_paths()["stdlib"])
    left_out = {"site-packages", "test", "tests", "lib2to3", "encodings"}
    texts, size = [], 0
    for file in sorted(root.rglob("*.py")):
        if left_out & set(file.relative_to(root).parts):
            continue
        text = file.read_text(encoding="utf-8", errors="ignore")
        texts.append(text)
        size += len(text)
        if size > CORPUS_BYTES:
            break
    return texts


def prepare(cache: Path, size: str) -> None:
    """Train the tokenizer and tokenise the corpus, once."""
    folder = cache / size
    if (folder / "stream.npy").is_file():
        return
    from tokenizers import ByteLevelBPETokenizer

    texts = corpus()
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        texts, vocab_size=SHAPES[size]["vocab_size"], min_frequency=2,
        special_tokens=list(SPECIAL), show_progress=False,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    trained.save(str(folder / "tokenizer.json"))
    made = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        **dict(zip(("pad_token", "eos_token"), SPECIAL, strict=True)),
    )  # fmt: skip
    made.save_pretrained(folder)
    ids = [token for text in texts for token in made(text)["input_ids"]]
    np.save(folder / "stream.npy", np.array(ids, dtype=np.int32))


def tokenizer(cache: Path, size: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a size; prompts are padded on the left."""
    made = PreTrainedTokenizerFast.from_pretrained(cache / size)
    made.padding_side = "left"
    return made


def windows(cache: Path, size: str, count: int, length: int, seed: int) -> list[list[int]]:
    """Stretches of the corpus."""
    stream = np.load(cache / size / "stream.npy")
    starts = np.random.RandomState(seed).randint(0, len(stream) - length - 1, count)
    return [stream[start : start + length].tolist() for start in starts]


def lengths(count: int, low: int, high: int, seed: int) -> list[int]:
    """Drawn evenly between both, ends included."""
    drawn = random.Random(seed)
    return [drawn.randint(low, high) for _ in range(count)]


def causal_lm(size: str, seed: int = 0, attention: str = "sdpa") -> Any:  # noqa: ANN401
    """A causal LM with weights of its seed."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        max_position_embeddings=512, tie_word_embeddings=True, pad_token_id=PAD, eos_token_id=EOS,
        bos_token_id=None, **SHAPES[size],
    )  # fmt: skip
    config._attn_implementation = attention
    return LlamaForCausalLM(config).train(mode=False)


def reward_model(size: str, seed: int = 1, attention: str = "sdpa") -> Any:  # noqa: ANN401
    """A classifier of one label on the same kind of trunk."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        max_position_embeddings=512, pad_token_id=PAD, eos_token_id=EOS, bos_token_id=None,
        num_labels=1, **SHAPES[size],
    )  # fmt: skip
    config._attn_implementation = attention
    return LlamaForSequenceClassification(config).train(mode=False)


def end_now_and_then(model: Any, size: str) -> None:  # noqa: ANN401
    """Make a response end after each token with the same small probability."""
    others = SHAPES[size]["vocab_size"] - 1
    more = math.log(others / (MEAN_VARIED - 1))

    def lift(_: object, __: object, logits: torch.Tensor) -> torch.Tensor:
        lifted = logits.clone()
        lifted[..., EOS] += more
        return lifted

    model.lm_head.register_forward_hook(lift)


def demonstrations(cache: Path, size: str, count: int) -> list[list[int]]:
    """Texts of 32 to 256 tokens."""
    each = lengths(count, 32, LONGEST_TEXT, 3)
    texts = windows(cache, size, count, LONGEST_TEXT, 2)
    return [text[:length] for text, length in zip(texts, each, strict=True)]


def pairs(cache: Path, size: str, count: int) -> list[tuple[list[int], list[int], list[int]]]:
    """Prompts of 64 tokens with two responses of 16 to 128 tokens."""
    asked = windows(cache, size, count, PROMPT, 5)
    sides = []
    for seed in (6, 7):
        each = lengths(count, 16, LONG_RESPONSE, seed + 10)
        texts = windows(cache, size, count, LONG_RESPONSE, seed)
        sides.append([text[:length] for text, length in zip(texts, each, strict=True)])
    return list(zip(asked, sides[0], sides[1], strict=True))


def forward_flops(size: str, length: int, *, head_tokens: int) -> float:
    """Of one text: matrices, attention over what stands before, and the head on some tokens."""
    shape = SHAPES[size]
    width, layers = shape["hidden_size"], shape["num_hidden_layers"]
    body = layers * (4 * width**2 + 3 * width * shape["intermediate_size"])
    attention = 2 * layers * width * length**2
    return 2 * body * length + 2 * shape["vocab_size"] * width * head_tokens + attention
