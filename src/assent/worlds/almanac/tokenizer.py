"""A word-level tokenizer for Almanac, in the ordinary Hugging Face format.

Tokens are words, each with the space before it (as in GPT-2's byte-level BPE), so a text comes back
from its tokens unchanged and a response, which begins with a space, never merges with its prompt.
"""

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from assent.worlds.almanac.corpus import every_text

PAD, EOS, UNKNOWN = "<pad>", "<eos>", "<unk>"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of every Almanac world; the vocabulary does not depend on the seed."""
    split = pre_tokenizers.Split(Regex(r" ?\w+|\n|[^\w\s]"), behavior="isolated")
    words = sorted({piece for text in every_text() for piece, _ in split.pre_tokenize_str(text)})
    vocabulary = {token: number for number, token in enumerate((PAD, EOS, UNKNOWN, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNKNOWN,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
