"""Every error this package raises on purpose.

    AssentError
      ConfigError               the settings are wrong; lists every problem with its path
      ProjectError              the project folder cannot be used as it is
        NotAProject             the folder holds no assent.toml
        NewerSchema             the folder was written by a newer version of Assent
        ProjectBusy             another process is writing to this project
      StoreError                the database refused a request
        UnknownRecord           no row has this id
        IdempotencyConflict     the same key came back with other content
        AlreadySuperseded       the event was edited or undone before
        AlreadyJudged           this annotator has judged this comparison; supersede to change it
        LeaseClosed             the task is no longer in this person's hands
        TooManyLeases           this person holds as many tasks as one may
        GuidelinesChanged       somebody wrote newer guidelines meanwhile
        StoreDamaged            `db check` found changed, missing or doubled records
      ModelError                a model folder or tokenizer cannot be used
        NotAModel               the folder is not a Hugging Face model folder
        TokenizerUnfit          the tokenizer lacks pad or eos, or they are the same token
      DataError                 the training data cannot be used (names the row)
        UnreadableFile          a data file is missing, empty, broken, or not in UTF-8
        UnknownFormat           no format reads the file, or no format has this name
        UnfitRows               rows of a file cannot be used, so none was; names each
      AuditError                an audit cannot be run as asked
        NotAuditable            the project lacks what the audit looks at; it is skipped
        UnlikeItems             two results are not about the same items
      RewardError               a reward cannot be had: wrong count, not finite, no answer
      WriterError               a writer or a judge that is a model cannot be used
        WriterLate              it did not answer in time, however often it was asked
        JudgeUnfit              too many of its answers are of no use, or all are alike
      TrainingError             training cannot go on
        NonFinite               a loss or a gradient is NaN or infinite
        SelfCheckFailed         PPO's first minibatch does not reproduce what was sampled
        CannotResume            the saved state does not fit the run
        OutOfMemory             memory ran out; says what to change
        DiskFull                the disk is full; what was complete before is untouched
      AccessError               the server does not do this for whoever asks
        NotSignedIn             no session, or one that ended
        NotAllowed              the role, the origin or the token does not allow it
        InvitationSpent         the invitation was used, replaced, or is too old
        TooManyAttempts         too many wrong passwords; wait

Anything else that escapes is a bug. The CLI turns `AssentError` into one line and exit status 2,
the API into `application/problem+json` with the `status` below. To add one: subclass the category,
name it for what happened, keep it picklable (one message argument), and add it to the tree above.
"""


class AssentError(Exception):
    """Base of every deliberate error; `status` is the HTTP status that reports it."""

    status = 500


class ConfigError(AssentError):
    """The settings cannot be used as given."""

    status = 422


class ProjectError(AssentError):
    """The project folder cannot be used as it is."""

    status = 409


class NotAProject(ProjectError):
    """The folder holds no assent.toml."""

    status = 404


class NewerSchema(ProjectError):
    """The folder was written by a newer version of Assent."""


class ProjectBusy(ProjectError):
    """Another process is writing to this project."""


class StoreError(AssentError):
    """The database refused a request."""


class UnknownRecord(StoreError):
    """No row has this id."""

    status = 404


class IdempotencyConflict(StoreError):
    """The same idempotency key came back with other content."""

    status = 409


class AlreadySuperseded(StoreError):
    """The event was edited or undone before."""

    status = 409


class AlreadyJudged(StoreError):
    """This annotator has judged this comparison; superseding that event changes the verdict."""

    status = 409


class LeaseClosed(StoreError):
    """The task is no longer in this person's hands: it was answered, skipped or handed back."""

    status = 409


class TooManyLeases(StoreError):
    """This person holds as many tasks as one may."""

    status = 409


class GuidelinesChanged(StoreError):
    """Somebody wrote newer guidelines meanwhile."""

    status = 409


class StoreDamaged(StoreError):
    """Records were changed, lost or doubled outside Assent."""


class ModelError(AssentError):
    """A model folder or tokenizer cannot be used."""

    status = 422


class NotAModel(ModelError):
    """The folder is not a Hugging Face model folder."""


class TokenizerUnfit(ModelError):
    """The tokenizer lacks pad or eos, or uses one token for both."""


class DataError(AssentError):
    """The training data cannot be used; the message names the row."""

    status = 422


class UnreadableFile(DataError):
    """A data file is missing, empty, broken, not in UTF-8, or needs a package to be read."""


class UnknownFormat(DataError):
    """No format reads the file, or no format has this name."""


class UnfitRows(DataError):
    """Rows of a file cannot be used, so none was; `rows` says where and why, one by one."""

    rows: tuple[tuple[str, str], ...] = ()


class AuditError(AssentError):
    """An audit cannot be run as asked."""

    status = 422


class NotAuditable(AuditError):
    """The project lacks what the audit looks at; it is skipped with this reason."""


class UnlikeItems(AuditError):
    """Two results are not about the same items, so they cannot be compared pair by pair."""


class RewardError(AssentError):
    """A reward cannot be had: the wrong count, a value that is not finite, or no answer."""

    status = 422


class WriterError(AssentError):
    """A writer or a judge that is a model cannot be used: no answer, or one of the wrong form."""

    status = 422


class WriterLate(WriterError):
    """It did not answer in time, however often it was asked."""


class JudgeUnfit(WriterError):
    """Too many of its answers are of no use, or it says the same whatever is asked."""


class TrainingError(AssentError):
    """Training cannot go on."""


class NonFinite(TrainingError):
    """A loss, a gradient or a probability is NaN or infinite."""


class SelfCheckFailed(TrainingError):
    """The first minibatch does not reproduce the log-probabilities of the sampler."""


class CannotResume(TrainingError):
    """The saved state does not fit the run."""


class OutOfMemory(TrainingError):
    """Memory ran out; the message says which settings need less."""

    status = 507


class DiskFull(TrainingError):
    """The disk is full; what was complete before is untouched."""

    status = 507


class AccessError(AssentError):
    """The server does not do this for whoever asks."""

    status = 403


class NotSignedIn(AccessError):
    """There is no session, or it ended."""

    status = 401


class NotAllowed(AccessError):
    """The role, the origin or the token does not allow it."""


class InvitationSpent(AccessError):
    """The invitation was used, replaced by a newer one, or is too old."""

    status = 404


class TooManyAttempts(AccessError):
    """Too many wrong passwords; the message says how long to wait."""

    status = 429
