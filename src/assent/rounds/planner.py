"""Schedule and memory of each stage of a project, around the model it starts from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from transformers import AutoConfig, LlamaConfig, PretrainedConfig, PreTrainedTokenizerBase

from assent.config.best_of import BestOfNSettings
from assent.config.lora import LoraSettings
from assent.config.policy_gradient import PolicyGradientSettings, RlSettings
from assent.config.ppo import PpoSettings
from assent.config.preference import BestWorstPairs, DpoSettings, KtoSettings
from assent.config.pretraining import PretrainSettings
from assent.config.rewards import models_of
from assent.config.sft import SftSettings
from assent.config.stages import section_of
from assent.models.tokens import encode_prompts, encode_responses
from assent.rounds.best_of_plan import best_of_plan
from assent.rounds.material import demonstrations_of, standing_judgements, train_prompts
from assent.rounds.model_judging import PURPOSES
from assent.rounds.reward_plan import kept, reward_plan
from assent.rounds.workspace import Workspace
from assent.store import ModelVersion, StoredDemonstration
from assent.training.footprint import Footprint, Work, footprint, memory_of, shape_of
from assent.types import Demonstration
from assent.worlds.almanac import build_tokenizer, demonstrations


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One stage before it starts."""

    name: str
    schedule: dict[str, int]
    memory: Footprint
    device: str
    device_bytes: int | None
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "stage": self.name,
            "schedule": self.schedule,
            "memory_bytes": self.memory.as_dict(),
            "device": self.device,
            "device_bytes": self.device_bytes,
            "notes": list(self.notes),
        }


class Planner:
    """Plans the stages of one project around the model they start from."""

    def __init__(self, workspace: Workspace, start: ModelVersion | None) -> None:
        self._workspace, self._settings = workspace, workspace.settings
        if start is None:  # the embedded world, before anything was trained
            self._config: PretrainedConfig = _llama(self._settings.pretrain)
            self._tokenizer: PreTrainedTokenizerBase = build_tokenizer()
        else:
            self._config = AutoConfig.from_pretrained(workspace.path(start))
            self._tokenizer = workspace.tokenizer(start)
        self._shape = shape_of(self._config)
        self._judged = 0
        self._is_reference = True
        """The policy begins as the reference, so that an adapter needs no second model."""

    def judged_now(self) -> int:
        """Judgements for the reward model that stand now."""
        purposes = PURPOSES[self._settings.reward.judges]
        return len(standing_judgements(self._workspace.project.store, purposes))

    def pretrain(self, name: str) -> Plan:
        """Of the embedded world's base model."""
        settings = self._settings.pretrain
        tokens = settings.shape.max_positions
        work = Work(
            rows=settings.batch_size,
            tokens=tokens,
            scored=tokens,
            bfloat16=settings.precision == "bfloat16",
        )
        schedule = {
            "documents": settings.steps * settings.batch_size,
            "optimiser_steps": settings.steps,
            "tokens_at_most": settings.steps * settings.batch_size * tokens,
        }
        return self._plan(name, schedule, footprint(self._shape, 0, work))

    def sft(self, name: str) -> Plan:
        """Supervised fine-tuning on the demonstrations that are there."""
        settings = self._settings.sft
        lengths = self._demonstrations()
        room = min(settings.max_tokens, self._shape.positions or settings.max_tokens)
        fit = [whole for whole, _ in lengths if whole <= room]
        learned = sum(answer for whole, answer in lengths if whole <= room)
        notes = [] if fit else ["no demonstration fits: SFT has nothing to learn from"]
        work = Work(
            rows=min(settings.micro_batch_size or settings.batch_size, max(len(fit), 1)),
            tokens=max(fit, default=room),
            scored=max(fit, default=room),
            bfloat16=settings.precision == "bfloat16",
            checkpointing=settings.gradient_checkpointing,
        )
        schedule = {
            "demonstrations": len(fit),
            "too_long": len(lengths) - len(fit),
            "epochs": settings.epochs,
            "batch_size": settings.batch_size,
            "optimiser_steps": settings.epochs * -(-len(fit) // settings.batch_size),
            "passes_per_step": -(-settings.batch_size // work.rows),
            "tokens": settings.epochs * sum(fit),
            "tokens_learned": settings.epochs * learned,
        }
        return self._plan(
            name, schedule, footprint(self._shape, 0, work, lora=settings.lora), notes
        )

    def reward(self, name: str, judgements: int) -> Plan:
        """The reward model on so many judgements."""
        settings = self._settings.reward
        store = self._workspace.project.store
        work, schedule, notes = reward_plan(store, settings, judgements, self._longest())
        trunk = replace(self._shape, parameters=self._trunk())
        # Beside a member the model that each of them begins as is held.
        held = trunk.parameters if settings.ensemble else 0
        found = footprint(trunk, held, work, lora=settings.lora, trained_besides=self._shape.hidden)
        return self._plan(name, schedule, found, notes)

    def policy(
        self, stage: str, name: str, judgements: int | None = None, *, is_reference: bool = True
    ) -> Plan:
        """The stage that improves the policy, by the planner of its name.

        Args:
            stage: of `config.stages.POLICY`.
            name: of the run.
            judgements: to learn from; those that stand now if left out.
            is_reference: the policy begins as the reference, as it does in the first round.
        """
        self._is_reference = is_reference
        self._judged = self.judged_now() if judgements is None else judgements
        planned: Plan = getattr(self, section_of(stage))(name)
        return planned

    def ppo(self, name: str) -> Plan:
        """PPO with the settings as they are."""
        settings = self._settings.ppo
        separate = settings.value_model.kind == "separate"
        values = self._shape.hidden + 1 + (self._trunk() if separate else 0)
        return self._gradient(name, settings, values)

    def rloo(self, name: str) -> Plan:
        """RLOO with the settings as they are."""
        return self._gradient(name, self._settings.rloo, 0)

    def grpo(self, name: str) -> Plan:
        """GRPO with the settings as they are."""
        return self._gradient(name, self._settings.grpo, 0)

    def _gradient(self, name: str, settings: RlSettings, trained_besides: int) -> Plan:
        """A stage that samples, scores and takes policy-gradient steps."""
        drawn = settings.rollouts_per_update
        rows = settings.micro_batch_size or drawn // settings.minibatches
        new = settings.sampling.max_new_tokens
        fit = self._fitting(new)
        longest = max(fit, default=0)
        work = Work(
            rows=rows,
            tokens=longest + new,
            scored=new,
            bfloat16=settings.precision == "bfloat16",
            checkpointing=settings.gradient_checkpointing,
            rollouts=drawn,
        )
        held = self._second(settings.lora)
        held += self._trunk() * len(models_of(settings.reward)) * kept(self._settings.reward)
        schedule = {
            "prompts": len(fit),
            "too_long": len(self._prompts()) - len(fit),
            "longest_prompt_tokens": longest,
            "updates": settings.updates,
            "rollouts": settings.updates * drawn,
            "optimiser_steps": settings.updates * settings.epochs * settings.minibatches,
            "epochs": settings.epochs,
            "minibatch_size": drawn // settings.minibatches,
            "passes_per_step": -(-drawn // settings.minibatches // rows),
            "tokens_sampled_at_most": settings.updates * drawn * new,
        }
        if isinstance(settings, PolicyGradientSettings):
            schedule["samples_per_prompt"] = settings.samples_per_prompt
        works = [work]
        mix = settings.pretraining if isinstance(settings, PpoSettings) else None
        if mix is not None:
            schedule["pretraining_texts"] = schedule["optimiser_steps"] * mix.batch_size
            whole = min(mix.max_tokens, self._shape.positions or mix.max_tokens)
            rows = min(settings.micro_batch_size or mix.batch_size, mix.batch_size)
            works.append(replace(work, rows=rows, tokens=whole, scored=whole))
        # Rollouts and texts are learned one after the other: what counts is the fuller of the two.
        prints = [
            footprint(self._shape, held, one, lora=settings.lora, trained_besides=trained_besides)
            for one in works
        ]
        most = max(prints, key=lambda one: one.total)
        return self._plan(name, schedule, most, _nothing_fits(fit, new))

    def best_of_n(self, name: str) -> Plan:
        """Best-of-n with the settings as they are."""
        return self._best_of(name, self._settings.best_of_n, iterations=1)

    def raft(self, name: str) -> Plan:
        """RAFT with the settings as they are."""
        return self._best_of(name, self._settings.raft, self._settings.raft.iterations)

    def _best_of(self, name: str, settings: BestOfNSettings, iterations: int) -> Plan:
        new = settings.sampling.max_new_tokens
        fit = self._fitting(new)
        schedule, work = best_of_plan(settings, iterations, fit, len(self._prompts()) - len(fit))
        held = self._second(settings.lora)
        held += self._trunk() * len(models_of(settings.reward)) * kept(self._settings.reward)
        found = footprint(self._shape, held, work, lora=settings.lora)
        return self._plan(name, schedule, found, _nothing_fits(fit, new))

    def ilf(self, name: str) -> Plan:
        """ILF on the criticism that is there, or that the embedded world will give at most."""
        settings = self._settings.ilf
        criticisms = self._criticisms()
        asked = criticisms * settings.refinements
        schedule = {"criticisms": criticisms, "refinements": asked, "judgements_at_most": asked}
        return self._learnt(name, schedule, settings.sft, criticisms)

    def constitutional(self, name: str) -> Plan:
        """The supervised half of Constitutional AI."""
        settings = self._settings.constitutional
        prompts = min(settings.prompts, len(self._prompts()))
        schedule = {
            "prompts": prompts,
            "critiques": prompts * settings.revisions,
            "revisions": prompts * settings.revisions,
        }
        return self._learnt(name, schedule, settings.sft, prompts)

    def _learnt(
        self, name: str, asked: dict[str, int], settings: SftSettings, learned: int
    ) -> Plan:
        """Fine-tuning on so many responses that a model has still to write."""
        tokens = min(settings.max_tokens, self._longest())
        rows = min(settings.micro_batch_size or settings.batch_size, max(learned, 1))
        work = Work(
            rows=rows,
            tokens=tokens,
            scored=tokens,
            bfloat16=settings.precision == "bfloat16",
            checkpointing=settings.gradient_checkpointing,
        )
        schedule = {
            **asked,
            "learned_at_most": learned,
            "epochs": settings.epochs,
            "batch_size": settings.batch_size,
            "optimiser_steps_at_most": settings.epochs * -(-learned // settings.batch_size),
        }
        notes = [] if learned else ["there is nothing to learn from yet"]
        return self._plan(
            name, schedule, footprint(self._shape, 0, work, lora=settings.lora), notes
        )

    def _criticisms(self) -> int:
        store = self._workspace.project.store
        mine = {prompt.id for prompt in store.prompts("train")}
        stored = sum(one.prompt_id in mine for one in store.criticisms())
        return stored if self._workspace.world is None else stored + len(self._prompts())

    def dpo(self, name: str) -> Plan:
        """DPO and its family on the judged pairs, or on those that a reward makes."""
        settings, made = self._settings.dpo, self._settings.dpo.pairs
        if isinstance(made, BestWorstPairs):
            drawn = made.prompts * made.samples
            schedule, pairs = {"rollouts": drawn, "pairs_at_most": made.prompts}, made.prompts
            notes: list[str] = []
        else:
            pairs = round(self._judged * (1 - self._settings.reward.held_out_share))
            schedule = {"judgements": self._judged, "pairs_about": pairs}
            notes = ["ties and judgements without a winner are left out, which makes it fewer"]
        held = 0 if settings.loss.kind == "simpo" else self._second(settings.lora)
        return self._preferred(name, settings, schedule, pairs, 2, notes, held=held)

    def kto(self, name: str) -> Plan:
        """KTO on thumbs, and on comparisons taken apart."""
        rated = len(self._workspace.project.store.ratings())
        share = 1 - self._settings.reward.held_out_share
        marked = round((2 * self._judged + rated) * share)
        schedule = {"judgements": self._judged, "ratings": rated, "marked_about": marked}
        settings = self._settings.kto
        held = self._second(settings.lora)
        return self._preferred(name, settings, schedule, marked, 1, [], held=held)

    def _preferred(
        self,
        name: str,
        settings: DpoSettings | KtoSettings,
        schedule: dict[str, int],
        examples: int,
        sides: int,
        notes: list[str],
        *,
        held: int,
    ) -> Plan:
        """Learning from so many examples, of so many responses each, beside a reference."""
        rows = min(settings.micro_batch_size or settings.batch_size, max(examples, 1))
        work = Work(
            rows=sides * rows,
            tokens=min(settings.max_tokens, self._longest()),
            scored=min(settings.max_tokens, settings.sampling.max_new_tokens),
            bfloat16=settings.precision == "bfloat16",
            checkpointing=settings.gradient_checkpointing,
        )
        whole = {
            **schedule,
            "epochs": settings.epochs,
            "batch_size": settings.batch_size,
            "optimiser_steps": settings.epochs * -(-examples // settings.batch_size),
            "passes_per_step": -(-settings.batch_size // rows),
        }
        found = footprint(self._shape, held, work, lora=settings.lora)
        return self._plan(name, whole, found, notes)

    def _plan(
        self, name: str, schedule: dict[str, int], memory: Footprint, notes: list[str] | None = None
    ) -> Plan:
        device = self._workspace.device
        has = memory_of(device)
        told = list(notes or [])
        if has is not None and memory.total > has:
            told.append(
                f"more than {device} has: lower micro_batch_size, or turn on "
                "gradient_checkpointing, bfloat16 or lora"
            )
        return Plan(
            name=name,
            schedule=schedule,
            memory=memory,
            device=str(device),
            device_bytes=has,
            notes=tuple(told),
        )

    def _second(self, lora: LoraSettings | None) -> int:
        """Parameters of the reference, where it is not the policy with its adapter switched off."""
        return 0 if lora and self._is_reference else self._shape.parameters

    def _trunk(self) -> int:
        """Parameters of a reward model on this trunk: no output layer of its own."""
        if getattr(self._config.get_text_config(), "tie_word_embeddings", False):
            return self._shape.parameters
        return self._shape.parameters - self._shape.hidden * self._shape.vocabulary

    def _demonstrations(self) -> list[tuple[int, int]]:
        """Tokens of each demonstration, and of its response."""
        found = self._written()
        prompts = [one.prompt for one in found]
        answers = encode_responses(
            self._tokenizer, [one.response for one in found], prompts=prompts
        )
        return [
            (len(prompt) + len(answer), len(answer))
            for prompt, answer in zip(
                encode_prompts(self._tokenizer, prompts), answers, strict=True
            )
        ]

    def _written(self) -> Sequence[Demonstration | StoredDemonstration]:
        world, settings = self._workspace.world, self._settings.world
        found = demonstrations_of(self._workspace)
        if found or world is None or settings is None:
            return found  # those of people among them
        return demonstrations(world, world.prompts("train"), settings.demonstrations_per_prompt)

    def _fitting(self, new: int) -> list[int]:
        """Tokens of each training prompt after which so many new ones have room."""
        most = self._shape.positions
        return [length for length in self._prompts() if most is None or length + new <= most]

    def _prompts(self) -> list[int]:
        """Tokens of each training prompt."""
        world = self._workspace.world
        texts = (
            [prompt.text for prompt in world.prompts("train")]
            if world is not None
            else [prompt.text for prompt in train_prompts(self._workspace)]
        )
        return [len(ids) for ids in encode_prompts(self._tokenizer, texts)]

    def _longest(self) -> int:
        new = self._settings.sampling.max_new_tokens
        return max(self._fitting(new), default=0) + new


def _nothing_fits(fit: Sequence[int], new: int) -> list[str]:
    return [] if fit else [f"no prompt leaves room for a response of {new} tokens"]


def _llama(settings: PretrainSettings) -> LlamaConfig:
    shape = settings.shape
    return LlamaConfig(
        vocab_size=len(build_tokenizer()),
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=shape.max_positions,
        tie_word_embeddings=True,
    )
