"""All settings of a project: what `assent.toml` holds, and the sizes they come in."""

from typing import Final, Literal

from pydantic import Field

from assent.config.audit import AuditSettings
from assent.config.base import PositiveInt, Seed, Settings
from assent.config.best_of import BestOfNSettings, RaftSettings
from assent.config.labelling import LabellingSettings
from assent.config.language_feedback import ConstitutionalSettings, IlfSettings
from assent.config.loop import AlmanacSettings, LoopSettings
from assent.config.optimiser import Device, Precision
from assent.config.policy_gradient import GrpoSettings, PolicyGradientSettings
from assent.config.ppo import FixedKl, PpoSettings, SamplingSettings
from assent.config.preference import DpoSettings, KtoSettings
from assent.config.pretraining import PretrainSettings
from assent.config.prompts import PromptSettings
from assent.config.reward import RewardSettings
from assent.config.sft import SftSettings
from assent.config.stages import section_of

SCHEMA_VERSION: Final = 1


class StoreSettings(Settings):
    """Where the database is."""

    url: str | None = None
    """A PostgreSQL URL without its password; SQLite in the project folder if left out."""


class ComputeSettings(Settings):
    """What the run computes on."""

    device: Device = "auto"
    """Where models run: cpu, cuda or cuda:N; auto takes a GPU when there is one."""
    threads: PositiveInt | None = None
    """CPU threads of torch; its own choice if left out. Equal threads repeat a run bit for bit."""


class ProjectSettings(Settings):
    """One project: the model, the data's source, and every stage."""

    schema_version: Literal[1] = SCHEMA_VERSION
    """Of this folder's layout; a newer version of Assent migrates an older one."""
    size: str = Field(default="tiny", min_length=1)
    """The size whose settings these began as."""
    seed: Seed = 0
    """Every random draw of the project derives from it."""
    base_model: str | None = Field(default=None, min_length=1)
    """Where the base model came from, a folder or a hub id; the project keeps a copy of its own."""
    world: AlmanacSettings | None = None
    """The embedded world that makes model, prompts and judgements; without it people judge."""
    compute: ComputeSettings = ComputeSettings()
    store: StoreSettings = StoreSettings()
    prompts: PromptSettings = PromptSettings()
    pretrain: PretrainSettings = PretrainSettings()
    sft: SftSettings = SftSettings()
    reward: RewardSettings = RewardSettings()
    ppo: PpoSettings = PpoSettings()
    rloo: PolicyGradientSettings = PolicyGradientSettings()
    grpo: GrpoSettings = GrpoSettings()
    best_of_n: BestOfNSettings = BestOfNSettings()
    raft: RaftSettings = RaftSettings()
    dpo: DpoSettings = DpoSettings()
    kto: KtoSettings = KtoSettings()
    ilf: IlfSettings = IlfSettings()
    constitutional: ConstitutionalSettings = ConstitutionalSettings()
    loop: LoopSettings = LoopSettings()
    labelling: LabellingSettings = LabellingSettings()
    audits: AuditSettings = AuditSettings()

    @property
    def sampling(self) -> SamplingSettings:
        """How responses are drawn wherever the project draws some: as its method does."""
        method = getattr(self, section_of(self.loop.method))
        found = getattr(method, "sampling", self.ppo.sampling)
        assert isinstance(found, SamplingSettings)
        return found

    @property
    def precision(self) -> Precision:
        """In what precision the policy is read wherever it is measured: as its method reads it."""
        method = getattr(self, section_of(self.loop.method))
        found: Precision = getattr(method, "precision", self.ppo.precision)
        return found

    @property
    def kl_coef(self) -> float | None:
        """Reward lost per nat of KL in what the method aims at; None where it is steered or none.

        The optimum of E[reward] - coef * KL is exact where answers can be enumerated.
        """
        method = getattr(self, section_of(self.loop.method))
        if isinstance(method, PpoSettings):
            return method.kl.coef if isinstance(method.kl, FixedKl) else None
        coef = getattr(method, "kl_coef", None)
        return None if coef is None else float(coef)
