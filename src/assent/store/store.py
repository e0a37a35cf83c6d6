"""The store: every read and write of what happened, each one transaction.

Writing is idempotent throughout: ids come from content (or from an idempotency key), so a loop that
was killed and goes on writes nothing twice. A method that writes either stores all it was given or
raises and stores nothing. Any method may also raise `StoreError` (the database refused),
`ProjectBusy` (other processes kept writing), and, when it writes, `DiskFull`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from sqlalchemy import Connection, func, select

from assent.store import (
    content,
    ledger,
    lineage,
    recording,
    response_sets,
    snapshots,
    standing,
)
from assent.store.browser import Browser
from assent.store.database import Database
from assent.store.feedback_records import (
    JudgedRanking,
    NewCriticism,
    NewRanking,
    NewRating,
    NewResponseSet,
    StoredCriticism,
    StoredRating,
    StoredResponseSet,
)
from assent.store.guidelines import Guidelines
from assent.store.people import People
from assent.store.records import (
    Ancestor,
    AnnotatorKind,
    Artifact,
    JudgedPair,
    ModelVersion,
    NewComparison,
    NewDemonstration,
    NewJudgement,
    NewModelVersion,
    NewResponse,
    NewRun,
    Origin,
    Recorded,
    Snapshot,
    StoredAnnotator,
    StoredComparison,
    StoredDemonstration,
    StoredEvent,
    StoredPrompt,
    StoredResponse,
    StoredRun,
    StoredSampler,
)
from assent.store.schema import metadata
from assent.store.tallies import Tallies
from assent.store.times import Clock, to_text, utc_clock
from assent.store.work import Work
from assent.types import Prompt, Split


class Store:
    """What happened in one project; safe to share between threads."""

    def __init__(self, database: Database, *, clock: Clock = utc_clock) -> None:
        self.database = database
        self._clock = clock
        self.people = People(database, clock)
        self.guidelines = Guidelines(database, clock)
        self.work = Work(database, clock)
        self.browser = Browser(database)
        self.tallies = Tallies(database)

    # Content -------------------------------------------------------------------------------------

    def add_prompts(self, new: Sequence[Prompt]) -> list[str]:
        """Add prompts; return their ids in order.

        Raises:
            DataError: a text holds a character that cannot be stored.
        """
        with self._writing() as (connection, now):
            return content.add_prompts(connection, new, now)

    def prompts(self, split: Split | None = None, source: str | None = None) -> list[StoredPrompt]:
        """Prompts in the order added, all or those of one split or source."""
        with self.database.reading() as connection:
            return content.list_prompts(connection, split, source)

    def add_sampler(self, model_version_id: str, parameters: Mapping[str, Any], engine: str) -> str:
        """Add a way of drawing responses; return its id.

        Raises:
            UnknownRecord: no such model version.
            DataError: the parameters are not JSON.
        """
        with self._writing() as (connection, now):
            return content.add_sampler(connection, model_version_id, parameters, engine, now)

    def samplers(self) -> list[StoredSampler]:
        """Samplers in the order added."""
        with self.database.reading() as connection:
            return content.list_samplers(connection)

    def add_responses(self, new: Sequence[NewResponse]) -> list[str]:
        """Add responses; return their ids in order.

        Raises:
            UnknownRecord: no such prompt or sampler.
            DataError: a sample without sampler, a log-probability that is not finite, or a text
                that cannot be stored.
        """
        with self._writing() as (connection, now):
            return content.add_responses(connection, new, now)

    def responses(
        self,
        *,
        prompt_id: str | None = None,
        sampler_id: str | None = None,
        origin: Origin | None = None,
    ) -> list[StoredResponse]:
        """Responses in the order added, all or those that match."""
        with self.database.reading() as connection:
            return content.list_responses(connection, prompt_id, sampler_id, origin)

    def add_comparisons(self, new: Sequence[NewComparison]) -> list[str]:
        """Add comparisons; return their ids in order.

        Raises:
            UnknownRecord: no such prompt or response.
            DataError: the two responses read the same, or one answers another prompt.
            IdempotencyConflict: the same two responses are being compared for this purpose, round
                and index with their sides or order swapped.
        """
        with self._writing() as (connection, now):
            return content.add_comparisons(connection, new, now)

    def comparisons(
        self,
        *,
        purpose: str | None = None,
        round: int | None = None,  # noqa: A002 - the field's word, and round() is not used here
        unjudged_by: str | None = None,
    ) -> list[StoredComparison]:
        """Comparisons with their texts in the order added, all or those that match.

        Raises:
            UnknownRecord: `unjudged_by` is no annotator.
        """
        with self.database.reading() as connection:
            return content.list_comparisons(connection, purpose, round, unjudged_by)

    def add_response_sets(self, new: Sequence[NewResponseSet]) -> list[str]:
        """Add sets of two to nine responses to one prompt, to be ranked; return their ids in order.

        Raises:
            UnknownRecord: no such prompt or response.
            DataError: too few or too many responses, two that read the same, or one that answers
                another prompt.
        """
        with self._writing() as (connection, now):
            return response_sets.add_response_sets(connection, new, now)

    def response_sets(
        self,
        *,
        purpose: str | None = None,
        round: int | None = None,  # noqa: A002 - as in `comparisons`
        unranked_by: str | None = None,
    ) -> list[StoredResponseSet]:
        """Response sets with their texts in the order added, all or those that match.

        Raises:
            UnknownRecord: `unranked_by` is no annotator.
        """
        with self.database.reading() as connection:
            return response_sets.list_response_sets(connection, purpose, round, unranked_by)

    def add_annotator(
        self, name: str, kind: AnnotatorKind, parameters: Mapping[str, Any] | None = None
    ) -> str:
        """Add an annotator; return the id, which depends on the name only.

        Raises:
            IdempotencyConflict: the name belongs to another kind or other parameters.
        """
        with self._writing() as (connection, now):
            return content.add_annotator(connection, name, kind, parameters or {}, now)

    def annotators(self) -> list[StoredAnnotator]:
        """Annotators in the order added."""
        with self.database.reading() as connection:
            return content.list_annotators(connection)

    # Ledger --------------------------------------------------------------------------------------

    def record_judgements(self, new: Sequence[NewJudgement]) -> list[Recorded]:
        """Append judgements to the ledger, all in one transaction; return where each one stands.

        A judgement sent again under its idempotency key with the same content is answered with the
        stored event. An annotator has one standing verdict a comparison: another one must
        supersede it.

        Raises:
            UnknownRecord: no such comparison, annotator or superseded event.
            DataError: a verdict, strength, time or note out of range.
            IdempotencyConflict: the key was used for other content.
            AlreadySuperseded: the event to supersede was edited or undone before.
            AlreadyJudged: the annotator's verdict on this comparison stands.
            StoreError: the event to supersede is another annotator's or about something else.
        """
        with self._writing() as (connection, now):
            return recording.record_judgements(connection, new, now)

    def record_demonstrations(self, new: Sequence[NewDemonstration]) -> list[Recorded]:
        """Append demonstrations and the responses they write, all in one transaction.

        Raises:
            As `record_judgements`, for prompts instead of comparisons.
        """
        with self._writing() as (connection, now):
            return recording.record_demonstrations(connection, new, now)

    def record_rankings(self, new: Sequence[NewRanking]) -> list[Recorded]:
        """Append rankings of response sets, all in one transaction.

        Raises:
            As `record_judgements`, for response sets instead of comparisons; a `DataError` too for
            a response that is missing or foreign, and for ranks that are not 0, 1, 2 …
        """
        with self._writing() as (connection, now):
            return recording.record_rankings(connection, new, now)

    def record_ratings(self, new: Sequence[NewRating]) -> list[Recorded]:
        """Append ratings of responses, all in one transaction.

        Raises:
            As `record_judgements`, for responses instead of comparisons; a `DataError` too for no
            axis, or a value that is not finite or outside the scale.
        """
        with self._writing() as (connection, now):
            return recording.record_ratings(connection, new, now)

    def record_criticisms(self, new: Sequence[NewCriticism]) -> list[Recorded]:
        """Append criticisms of responses, and the better responses written in their place.

        Raises:
            As `record_judgements`, but an annotator may criticise a response more than once; a
            `DataError` too for no text, or a refinement that changes nothing.
        """
        with self._writing() as (connection, now):
            return recording.record_criticisms(connection, new, now)

    def retract(self, event_id: str, annotator_id: str, idempotency_key: str) -> Recorded:
        """Undo feedback of any kind by a superseding event; repeating it changes nothing.

        Raises:
            UnknownRecord: no such event or annotator.
            AlreadySuperseded: it was edited or undone before.
            IdempotencyConflict: the key was used for other content.
            StoreError: it is another annotator's, or an undoing itself.
        """
        with self._writing() as (connection, now):
            return ledger.retract(connection, event_id, annotator_id, idempotency_key, now)

    def demonstrations(self) -> list[StoredDemonstration]:
        """Demonstrations that stand, in the order given."""
        with self.database.reading() as connection:
            return standing.list_demonstrations(connection)

    def ratings(self, *, up_to_seq: int | None = None) -> list[StoredRating]:
        """Ratings that stand, in the order given; with `up_to_seq`, those that stood then."""
        with self.database.reading() as connection:
            return standing.list_ratings(connection, up_to_seq)

    def criticisms(self) -> list[StoredCriticism]:
        """Criticisms that stand, in the order given."""
        with self.database.reading() as connection:
            return standing.list_criticisms(connection)

    def events(self, *, after_seq: int = 0, limit: int | None = None) -> list[StoredEvent]:
        """The ledger in order, from the event after `after_seq`."""
        with self.database.reading() as connection:
            return ledger.list_events(connection, after_seq, limit)

    # Snapshots -----------------------------------------------------------------------------------

    def take_snapshot(
        self, name: str, *, purposes: Sequence[str] = ("reward",), up_to_seq: int | None = None
    ) -> Snapshot:
        """Fix the judgements and rankings that stand now (or stood after `up_to_seq`) under a name.

        A name that exists gives the snapshot taken then, whatever was recorded since.

        Raises:
            IdempotencyConflict: the name exists with other purposes or another `up_to_seq`.
            DataError: no purpose, or `up_to_seq` beyond the ledger.
        """
        with self._writing() as (connection, now):
            return snapshots.take(connection, name, purposes, up_to_seq, now)

    def snapshot(self, snapshot_id: str) -> Snapshot:
        """The snapshot with this id.

        Raises:
            UnknownRecord: there is none.
        """
        with self.database.reading() as connection:
            return snapshots.find(connection, snapshot_id)

    def snapshots(self) -> list[Snapshot]:
        """Snapshots by the event they reach to."""
        with self.database.reading() as connection:
            return snapshots.list_snapshots(connection)

    def judged_pairs(self, snapshot_id: str) -> list[JudgedPair]:
        """The judgements of a snapshot in the order made, with their texts.

        Raises:
            UnknownRecord: no such snapshot.
            StoreDamaged: the content is not what it was when the snapshot was taken.
        """
        with self.database.reading() as connection:
            return snapshots.judged_pairs(connection, snapshot_id)

    def judged_rankings(self, snapshot_id: str) -> list[JudgedRanking]:
        """The rankings of a snapshot in the order made, with their texts.

        Raises:
            UnknownRecord, StoreDamaged: as `judged_pairs`.
        """
        with self.database.reading() as connection:
            return snapshots.judged_rankings(connection, snapshot_id)

    # Lineage -------------------------------------------------------------------------------------

    def start_run(self, new: NewRun) -> StoredRun:
        """Record that a run starts; one that failed or was stopped before is running again.

        A run that is done stays done: look at the status of what is returned.

        Raises:
            UnknownRecord: no such snapshot or parent.
            IdempotencyConflict: the id exists with other settings, seed, stage or snapshot.
        """
        with self._writing() as (connection, now):
            return lineage.start_run(connection, new, now)

    def finish_run(
        self,
        run_id: str,
        status: Literal["done", "failed", "interrupted"] = "done",
        *,
        problem: str | None = None,
    ) -> StoredRun:
        """Record how a run ended; repeating it changes nothing.

        Raises:
            UnknownRecord: no such run.
            IdempotencyConflict: the run is done and the status says otherwise.
        """
        with self._writing() as (connection, now):
            return lineage.finish_run(connection, run_id, status, problem, now)

    def run(self, run_id: str) -> StoredRun:
        """The run with this id.

        Raises:
            UnknownRecord: there is none.
        """
        with self.database.reading() as connection:
            return lineage.find_run(connection, run_id)

    def runs(self) -> list[StoredRun]:
        """Runs in the order first started."""
        with self.database.reading() as connection:
            return lineage.list_runs(connection)

    def add_model_version(self, new: NewModelVersion) -> ModelVersion:
        """Record a model whose folder was adopted; repeating it changes nothing.

        Raises:
            UnknownRecord: no such artifact, parent, snapshot or run.
            IdempotencyConflict: the id exists with another origin.
        """
        with self._writing() as (connection, now):
            return lineage.add_model_version(connection, new, now)

    def model_versions(self) -> list[ModelVersion]:
        """Model versions in the order added."""
        with self.database.reading() as connection:
            return lineage.list_model_versions(connection)

    def model_version(self, model_version_id: str) -> ModelVersion:
        """The model version with this id.

        Raises:
            UnknownRecord: there is none.
        """
        with self.database.reading() as connection:
            return lineage.find_model_version(connection, model_version_id)

    def lineage(self, model_version_id: str) -> list[Ancestor]:
        """A version and all it came from, nearest first: parents, reward models, snapshots, runs.

        Raises:
            UnknownRecord: no such model version.
        """
        with self.database.reading() as connection:
            return lineage.lineage(connection, model_version_id)

    def record_artifact(self, artifact: Artifact) -> None:
        """Record a file or folder that lies in its place; `Artifacts` calls this.

        Raises:
            IdempotencyConflict: the path was recorded with another hash.
        """
        with self._writing() as (connection, now):
            lineage.add_artifact(connection, artifact, now)

    def artifacts(self, kind: str | None = None) -> list[Artifact]:
        """Recorded artifacts, all or those of one kind."""
        with self.database.reading() as connection:
            return lineage.list_artifacts(connection, kind)

    # All -----------------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Rows in each table."""
        with self.database.reading() as connection:
            return {
                table.name: connection.scalar(select(func.count()).select_from(table)) or 0
                for table in metadata.sorted_tables
            }

    @contextmanager
    def _writing(self) -> Iterator[tuple[Connection, str]]:
        with self.database.writing() as connection:
            yield connection, to_text(self._clock())
