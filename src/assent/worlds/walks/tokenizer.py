"""A word-level tokenizer for walks: one letter a node, in the ordinary Hugging Face format."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

PAD, EOS, UNKNOWN = "<pad>", "<eos>", "<unk>"


def build_tokenizer(letters: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a world with these letters; a walk has one token a node.

    Args:
        letters: of the nodes, each once (`WalksWorld.letters`).
    """
    vocabulary = {token: number for number, token in enumerate((PAD, EOS, UNKNOWN, *letters))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNKNOWN,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
