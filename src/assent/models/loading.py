"""Open model folders, and say in one line what is wrong with one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from assent.errors import NotAModel, TokenizerUnfit
from assent.models.quiet import quiet_transformers

HEADS = ("score", "classifier", "pre_classifier", "classification_head", "head")
"""What transformers calls the layers that a classifier adds to a trunk."""
HEAD_WEIGHT = "score.weight"
"""What Hugging Face calls the weights that turn a decoder's last hidden state into a score."""


def choose_device(name: str = "auto") -> torch.device:
    """The device of a name; `auto` is a GPU when there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def load_causal_lm(folder: str | Path, device: torch.device | None = None) -> PreTrainedModel:
    """A policy from a Hugging Face folder (or hub id), in float32, dropout off.

    Raises:
        NotAModel: the folder holds no model, not a causal LM, or not all of its weights.
    """
    model = _open(AutoModelForCausalLM, folder)
    return model.to(device or choose_device()).eval()  # type: ignore[arg-type,no-any-return]


def load_reward_model(
    folder: str | Path, device: torch.device | None = None, *, outputs: int = 1
) -> PreTrainedModel:
    """A reward model from a Hugging Face folder (or hub id); one output, if not said otherwise.

    Raises:
        NotAModel: the folder holds no model, one without a reward head (a policy), or one with
            another number of outputs.
    """
    model = _open(AutoModelForSequenceClassification, folder, num_labels=outputs)
    return model.to(device or choose_device()).eval()  # type: ignore[arg-type,no-any-return]


def open_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder, as it is.

    Raises:
        NotAModel: the folder holds no tokenizer.
    """
    _require_folder(folder, "tokenizer_config.json")
    try:
        with quiet_transformers():
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(folder))
    except Exception as error:  # the tokenizers library raises Exception itself
        message = f"{folder}: the tokenizer does not load ({_one_line(error)})"
        raise NotAModel(message) from error
    return tokenizer


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder, checked.

    Raises:
        NotAModel: the folder holds no tokenizer.
        TokenizerUnfit: pad or eos is missing, or they are one token.
    """
    tokenizer = open_tokenizer(folder)
    require_fit(tokenizer, str(folder))
    return tokenizer


def require_match(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer that has tokens the model has no embedding for.

    Raises:
        TokenizerUnfit: gives both numbers and how to make them fit.
    """
    rows = int(cast("Any", model.get_input_embeddings()).weight.shape[0])
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest >= rows:
        message = (
            f"the tokenizer has {largest + 1} tokens and the model {rows} embeddings; call "
            "model.resize_token_embeddings(len(tokenizer)), then save both"
        )
        raise TokenizerUnfit(message)


def add_pad_token(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Give the tokenizer a pad token of its own and the model room for it; whether it needed one.

    The new embedding is the mean of the others: padding is never looked at, but a model whose
    output layer is tied could otherwise favour it.
    """
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return False
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    if len(tokenizer) > int(cast("Any", model.get_input_embeddings()).weight.shape[0]):
        with quiet_transformers():
            model.resize_token_embeddings(len(tokenizer), mean_resizing=True)
    model.config.pad_token_id = tokenizer.pad_token_id
    if model.can_generate():
        cast("Any", model.generation_config).pad_token_id = tokenizer.pad_token_id
    return True


def max_positions(model: PreTrainedModel) -> int | None:
    """How many tokens the model can read at once; None where its configuration sets no limit."""
    config = model.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    if not isinstance(limit, int) or limit <= 0:
        return None
    # RoBERTa and its kin count positions from behind the padding index.
    embeddings = getattr(model.base_model, "embeddings", None)
    table = getattr(embeddings, "position_embeddings", None)
    offset = getattr(table, "padding_idx", None)
    return limit if offset is None else limit - offset - 1


def require_fit(tokenizer: PreTrainedTokenizerBase, name: str = "the tokenizer") -> None:
    """Refuse a tokenizer with which stopping cannot be learned.

    Where pad and eos are one token, masks made from ids hide the end of every response, and the
    policy never learns to stop; so Assent asks for two.

    Raises:
        TokenizerUnfit: says which token is missing and how to add it.
    """
    if tokenizer.eos_token_id is None:
        message = f"{name} has no eos token; set one: tokenizer.eos_token = '<eos>', then save it"
        raise TokenizerUnfit(message)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        fault = (
            "no pad token"
            if tokenizer.pad_token_id is None
            else f"one token, {tokenizer.eos_token!r}, for pad and eos"
        )
        message = (
            f"{name} has {fault}; add one of its own: "
            "tokenizer.add_special_tokens({'pad_token': '<pad>'}), "
            "model.resize_token_embeddings(len(tokenizer)), then save both"
        )
        raise TokenizerUnfit(message)


def new_llama(
    tokenizer: PreTrainedTokenizerBase,
    *,
    hidden_size: int,
    intermediate_size: int,
    layers: int,
    heads: int,
    max_positions: int,
    initial_std: float,
    seed: int,
) -> PreTrainedModel:
    """A Llama-type causal LM with tied embeddings; its random weights come from the seed alone."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=max_positions,
        tie_word_embeddings=True,
        initializer_range=initial_std,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = LlamaForCausalLM(config)
    model.train(mode=False)
    return model


def reward_model_from(
    policy_folder: str | Path,
    seed: int,
    device: torch.device | None = None,
    *,
    outputs: int = 1,
) -> PreTrainedModel:
    r"""A reward model on the trunk of a policy or an encoder.

    Its last layer is drawn from N(0, 1 / sqrt(d + 1)), its bias, if it has one, is 0.

    Args:
        policy_folder: a Hugging Face folder or hub id.
        seed: of the last layer.
        device: where it goes.
        outputs: scores a text: one, or one an axis.

    Raises:
        NotAModel: the folder holds no model, or of a kind that has no score head.
        TokenizerUnfit: a policy's pad or eos is missing, or they are one token.

    Source: Huang et al. 2024, "The N+ implementation details of RLHF with PPO"; Stiennon et al.
    2020 misprint the root.
    """
    _require_folder(policy_folder, "config.json")
    tokenizer = open_tokenizer(policy_folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _open(
            AutoModelForSequenceClassification, policy_folder, num_labels=outputs, may_lack=_is_head
        )
        head = last_layer(model)
        _draw(head)
    if head is getattr(model, "score", None):  # read at the end of a response, which eos marks
        require_fit(tokenizer, str(policy_folder))
    # Hugging Face reads the score at the last token that is not this one.
    model.config.pad_token_id = tokenizer.pad_token_id
    return model.to(device or choose_device()).eval()  # type: ignore[arg-type,no-any-return]


def draw_head(model: PreTrainedModel, seed: int) -> None:
    """Draw a classifier's last layer anew, from the same distribution as `reward_model_from`."""
    head = last_layer(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = torch.nn.Linear(head.in_features, head.out_features, bias=head.bias is not None)
        _draw(fresh)
    head.load_state_dict(fresh.state_dict())


def _draw(head: torch.nn.Linear) -> None:
    torch.nn.init.normal_(head.weight, std=(head.in_features + 1) ** -0.5)
    if head.bias is not None:
        torch.nn.init.zeros_(head.bias)


def _is_head(name: str) -> bool:
    """Whether a weight belongs to what a classifier adds to a trunk."""
    return name.split(".")[0] in HEADS or ".pooler." in name


def last_layer(model: PreTrainedModel) -> torch.nn.Linear:
    """The linear layer with an output a label that ends a classifier's head."""
    outputs = model.config.num_labels
    for name in HEADS:
        part = getattr(model, name, None)
        layers = [
            one
            for one in (part.modules() if isinstance(part, torch.nn.Module) else [])
            if isinstance(one, torch.nn.Linear) and one.out_features == outputs
        ]
        if layers:
            return layers[-1]
    return score_head(model)


def score_head(model: PreTrainedModel) -> torch.nn.Linear:
    """The linear layer that makes a reward model's score.

    Raises:
        NotAModel: the model has none under the usual name.
    """
    head = getattr(model, "score", None)
    trained = getattr(head, "modules_to_save", None)  # beside an adapter, PEFT keeps two heads
    if isinstance(trained, torch.nn.ModuleDict):
        head = trained["default"]
    if not isinstance(head, torch.nn.Linear):
        message = (
            f"{type(model).__name__} has no linear head named 'score'; reward models are built on "
            "decoder models with a sequence-classification head"
        )
        raise NotAModel(message)
    return head


def _open(
    kind: type,
    folder: str | Path,
    *,
    may_lack: Callable[[str], bool] = lambda _: False,
    **keywords: object,
) -> PreTrainedModel:
    _require_folder(folder, "config.json")
    wanted = kind.__name__.removeprefix("AutoModelFor")
    try:
        with quiet_transformers():
            model, report = kind.from_pretrained(  # type: ignore[attr-defined]
                str(folder),
                dtype=torch.float32,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **keywords,
            )
    except Exception as error:  # four libraries read a folder and share no base of their errors
        reason = _pickled(Path(folder)) or _one_line(error)
        message = f"{folder}: no {wanted} model loads from it ({reason})"
        raise NotAModel(message) from error
    # Left to itself, transformers fills what is missing or does not fit with random numbers.
    for name, found, expected in sorted(report["mismatched_keys"]):
        message = f"{folder}: weight {name} is {list(found)}, a {wanted} model of this"
        message += f" configuration needs {list(expected)}"
        raise NotAModel(message)
    missing = sorted(name for name in report["missing_keys"] if not may_lack(name))
    if missing:
        message = f"{folder} is no complete {wanted} model: weight {missing[0]} is missing"
        raise NotAModel(message)
    if kind is AutoModelForCausalLM and HEAD_WEIGHT in report["unexpected_keys"]:
        message = f"{folder} holds a reward model (it has {HEAD_WEIGHT}), not a causal LM"
        raise NotAModel(message)
    loaded: PreTrainedModel = model
    return loaded


def _pickled(folder: Path) -> str:
    files = sorted(folder.glob("pytorch_model*.bin"))
    if not files or any(folder.glob("*.safetensors")):
        return ""
    return f"{files[0].name} is a pickle, which may run code; save the model with safetensors"


def _require_folder(folder: str | Path, file: str) -> None:
    path = Path(folder)
    if path.is_dir() and not (path / file).is_file():
        message = f"{folder} is not a Hugging Face model folder: it holds no {file}"
        raise NotAModel(message)
    if not path.exists() and (path.is_absolute() or str(folder).startswith(".")):
        message = f"{folder} does not exist; give a Hugging Face model folder or a hub id"
        raise NotAModel(message)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
