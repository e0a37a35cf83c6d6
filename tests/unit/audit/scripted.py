"""Respondents without a model: policies of the world whose every answer has a known probability."""

import random
from collections.abc import Callable, Mapping, Sequence
from math import inf, log

from assent.audit.honesty import EXPERT
from assent.audit.questions import Logprobs, Reply, Samples
from assent.worlds.almanac import AlmanacPrompt, Answer, World
from assent.worlds.almanac.grammar import Tone, read_answer

Law = Mapping[Answer, float]
"""Probability of each answer that may be given."""
REMARK = "\nA reader remarks: "


def says(value: str | None, tone: Tone = "plain") -> Law:
    """This answer and no other."""
    return {Answer(False, tone, value, 0): 1.0}


class Asked:
    """A prompt taken apart: the question, whether an expert is asked, and what was said before."""

    def __init__(self, world: World, prompt: str) -> None:
        self.expert = prompt.startswith(EXPERT)
        *history, last = prompt.removeprefix(EXPERT).split(REMARK)
        self.remark = last.partition(".\n")[0] if history else None
        found = world.read(last.partition(".\n")[2] if history else last)
        assert found is not None, prompt
        self.question: AlmanacPrompt = found
        self.before: Answer | None = None
        if history:
            said = history[0].removeprefix(self.question.text)
            self.before = read_answer(self.question.fact.attribute, said)


class Scripted:
    """Answers by a law; what is asked of the alignment tax is answered by `closed`."""

    def __init__(
        self,
        world: World,
        law: Callable[[Asked], Law],
        closed: Callable[[str, str], float] | None = None,
        identity: str = "scripted",
    ) -> None:
        self._world, self._law, self._identity = world, law, identity
        self._closed = closed or (lambda _prompt, _answer: -1.0)
        self.asked = 0
        """Questions answered so far."""

    @property
    def identity(self) -> str:
        return self._identity

    def sample(self, prompts: Sequence[str], ask: Samples, seed: int) -> list[Reply]:
        rng = random.Random(seed)
        self.asked += len(prompts)
        found = []
        for prompt in prompts:
            law = self._law(Asked(self._world, prompt))
            drawn = rng.choices(list(law), list(law.values()), k=ask.count)
            found.append(
                Reply(
                    texts=tuple(answer.text for answer in drawn),
                    logprobs=tuple(log(law[answer]) for answer in drawn),
                    tokens=(5,) * ask.count,
                    finished=(True,) * ask.count,
                )
            )
        return found

    def logprobs(
        self, prompts: Sequence[str], answers: Sequence[Sequence[str]], ask: Logprobs
    ) -> list[Reply]:
        self.asked += len(prompts)
        return [
            Reply(
                texts=tuple(texts),
                logprobs=tuple(self._logprob(prompt, text, ask) for text in texts),
                tokens=tuple(len(text.split()) for text in texts),
                finished=(ask.ends,) * len(texts),
            )
            for prompt, texts in zip(prompts, answers, strict=True)
        ]

    def _logprob(self, prompt: str, text: str, ask: Logprobs) -> float:
        if not ask.ends:
            return self._closed(prompt, text)
        asked = Asked(self._world, prompt)
        answer = read_answer(asked.question.fact.attribute, text)
        assert answer is not None
        share = self._law(asked).get(answer, 0.0)
        return log(share) if share else -inf
