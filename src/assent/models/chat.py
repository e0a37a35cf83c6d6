"""Chat formats: what a model reads where a prompt is made of turns, and what ends its turn.

A tokenizer's chat template is the authority on its own format: on roles, on a BOS of its own, on
the token that ends a turn. Without a template the turns read as `types.ChatPrompt` writes them.
A prompt is rendered with the beginning of the assistant's turn, and the response is never put
through the template: many templates write a past turn otherwise than they begin a new one, so
their prompt is no prefix of their conversation.
"""

import logging
from collections.abc import Sequence

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from assent.errors import DataError
from assent.types import ChatPrompt, Message

logger = logging.getLogger(__name__)

_PROBE = "probe"


def has_template(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer brings a chat format."""
    return bool(getattr(tokenizer, "chat_template", None))


def uses_template(tokenizer: PreTrainedTokenizerBase, prompt: str) -> bool:
    """Whether this prompt is read through the tokenizer's chat template."""
    return isinstance(prompt, ChatPrompt) and has_template(tokenizer)


def render(tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    """The prompt as the model reads it, up to where its response begins.

    Plain text is itself. A template that refuses a system turn, or leaves it out, gets it as the
    beginning of the first user turn.

    Raises:
        DataError: the turns do not make a prompt, or the template refuses them; says why.
    """
    if not isinstance(prompt, ChatPrompt):
        return prompt
    require_prompt(prompt)
    if not has_template(tokenizer):
        return str(prompt)
    return render_turns(tokenizer, prompt.messages, add_generation_prompt=True)


def render_turns(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, add_generation_prompt: bool
) -> str:
    """Turns through the tokenizer's own template, system turns folded in where it takes none.

    Raises:
        DataError: the template refuses them.
    """
    systems = [one.content for one in messages if one.role == "system" and one.content.strip()]
    try:
        text = _apply(tokenizer, messages, add_generation_prompt=add_generation_prompt)
        if all(system.strip() in text for system in systems):
            return text
        reason = "the template leaves its system turn out"
    except (TemplateError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
    if systems:
        folded = fold_system(messages)
        try:
            text = _apply(tokenizer, folded, add_generation_prompt=add_generation_prompt)
        except (TemplateError, ValueError, TypeError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
        else:
            logger.debug("the chat template takes no system turn: it begins the first user turn")
            return text
    roles = ", ".join(one.role for one in messages)
    message = f"the chat template of {_name(tokenizer)} refuses the turns {roles}: {reason}"
    raise DataError(message)


def fold_system(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The turns with every system text at the beginning of the first user turn."""
    system = "\n\n".join(
        one.content for one in messages if one.role == "system" and one.content.strip()
    )
    rest = [one for one in messages if one.role != "system"]
    first = next((at for at, one in enumerate(rest) if one.role == "user"), None)
    if first is None:
        return (Message("user", system), *rest)
    rest[first] = Message("user", f"{system}\n\n{rest[first].content}")
    return tuple(rest)


def require_prompt(prompt: ChatPrompt) -> None:
    """Refuse turns that nobody is asked anything in.

    Raises:
        DataError: there is no turn, or the last one is the assistant's own.
    """
    if not prompt.messages:
        message = "a chat prompt has no turn; leave it out"
        raise DataError(message)
    if prompt.messages[-1].role == "assistant":
        message = (
            "a chat prompt ends with the assistant's turn: "
            f"{prompt.messages[-1].content[:60]!r}; end it with the user's, or make it the response"
        )
        raise DataError(message)


def turn_end(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that ends the assistant's turn: the template's, or eos where it names none."""
    eos = int(tokenizer.eos_token_id)
    if not has_template(tokenizer):
        return eos
    turns = (Message("user", "question"), Message("assistant", _PROBE))
    try:
        text = _apply(tokenizer, turns, add_generation_prompt=False)
    except (TemplateError, ValueError, TypeError, KeyError):
        return eos
    _, found, rest = text.rpartition(_PROBE)
    ids = tokenizer(rest, add_special_tokens=False)["input_ids"] if found and rest else []
    return ids[0] if ids and ids[0] in special_ids(tokenizer) else eos


def special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Tokens that stand for no text."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return {*tokenizer.all_special_ids, *(at for at, token in added.items() if token.special)}


def _apply(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, add_generation_prompt: bool
) -> str:
    turns = [{"role": one.role, "content": one.content} for one in messages]
    return str(
        tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=add_generation_prompt
        )
    )


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return str(tokenizer.name_or_path or "the tokenizer")
