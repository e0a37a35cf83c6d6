"""Almanac: questions about a made-up countryside, answers that can be enumerated, flawed judges.

`world` has the facts and the prompts, `grammar` the 270 answers to each prompt and what they are
worth (gold), `corpus` the texts a base model is pretrained on and the demonstrations, `annotators`
the simulated people, `tokenizer` the word-level tokenizer.
"""

from assent.worlds.almanac.annotators import ANNOTATORS, AnnotatorSpec, SimulatedAnnotator
from assent.worlds.almanac.corpus import demonstrations, pretraining_documents
from assent.worlds.almanac.grammar import Answer, answers, gold_table
from assent.worlds.almanac.tokenizer import build_tokenizer
from assent.worlds.almanac.world import AlmanacPrompt, Fact, FactKind, Stance, World

__all__ = [
    "ANNOTATORS",
    "AlmanacPrompt",
    "AnnotatorSpec",
    "Answer",
    "Fact",
    "FactKind",
    "SimulatedAnnotator",
    "Stance",
    "World",
    "answers",
    "build_tokenizer",
    "demonstrations",
    "gold_table",
    "pretraining_documents",
]
