"""Byte-level BPE tokenizers, trained here, with chat templates of the kinds that are about."""

from functools import cache

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

TEXT = [
    "The harbour of Fernby is blue. What is the bridge of Fernby? It may be stone.",
    "Human: hello there, how are you today?\n\nAssistant: I am well, thank you; and you?",
    "def add(one, other):\n    return one + other  # naïve, but it works: 12 + 30 == 42",
    "Being brief is kind. System notes are read first, and the user's question after them.",
] * 8

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A system turn like any other; ends a turn with <|im_end|>, which is not eos."""

BRACKETS = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% elif message['role'] == 'user' %}"
    "[INST] {{ message['content'] }} [/INST]{% else %}{{ message['content'] }}{{ eos_token }}"
    "{% endif %}{% endfor %}"
)
"""Writes its own BOS, refuses a system turn, has no generation prompt, ends a turn with eos."""

FORGETFUL = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] != 'system' %}"
    "<|im_start|>{{ message['role'] }}\n{% if message['role'] == 'assistant' %}<think></think>"
    "{% endif %}{{ message['content'] | trim }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Leaves a system turn out, trims, and writes a past answer otherwise than it begins one."""

TEMPLATES = {"chatml": CHATML, "brackets": BRACKETS, "forgetful": FORGETFUL}
SPECIAL = ["<pad>", "<|endoftext|>", "<s>", "<|im_start|>", "<|im_end|>"]


@cache
def trained(vocabulary: int = 400, *, adds_bos: bool = False) -> str:
    """A tokenizer trained on a few sentences, as JSON."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    if adds_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 2)]
        )
    return str(tokenizer.to_str())


def bpe_tokenizer(
    template: str | None = "chatml", *, adds_bos: bool = False, vocabulary: int = 400
) -> PreTrainedTokenizerBase:
    """With pad, eos and bos of their own, the turn marks as special tokens, and a template."""
    tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer.from_str(trained(vocabulary, adds_bos=adds_bos)),
        pad_token="<pad>",
        eos_token="<|endoftext|>",
        bos_token="<s>",
        extra_special_tokens=["<|im_start|>", "<|im_end|>"],
        clean_up_tokenization_spaces=False,
    )
    if template is not None:
        tokenizer.chat_template = TEMPLATES[template]
    return tokenizer


def wordpiece(vocabulary: int = 200) -> PreTrainedTokenizerBase:
    """A BERT tokenizer trained here: [CLS] one [SEP] other [SEP] with token types."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
