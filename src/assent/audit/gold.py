"""Gold along the run that made a policy, from whatever knows it here."""

from assent.audit.curves import GoldCurve, checkpoints, enumerated_curve, sampled_curve
from assent.audit.evidence import Evidence
from assent.audit.judged_gold import judged_curve
from assent.errors import NotAuditable


def gold_curve(evidence: Evidence) -> GoldCurve:
    """Gold along the run that made the model, as far as the model itself.

    From the embedded world where there is one; else from `audits.gold`, a reward model that was
    never trained on, a program or a server; else from held-out judgements of people.

    Raises:
        NotAuditable: no run with a reward model made it, or nothing here knows gold.
    """
    evidence.require_role("reward_model", "reward model")
    version = evidence.subject.version
    if version is None or version.run_id is None:
        message = f"{evidence.subject.name} was made by no run of this project"
        raise NotAuditable(message)
    if evidence.subject.world is not None:
        return enumerated_curve(evidence, version)
    if evidence.subject.settings.gold is not None:
        return sampled_curve(evidence, version)
    return judged_curve(evidence, checkpoints(evidence, version), version.run_id)
