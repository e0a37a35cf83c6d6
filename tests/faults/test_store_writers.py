"""Several processes record into one project at once: nothing is lost, doubled or out of order."""

import json

from tests.store_fixtures import fill, start_python

from assent.store import Project, check_project

WRITER = """
import json, pathlib, sys
from assent.store import NewJudgement, Project
root, name = pathlib.Path(sys.argv[1]), sys.argv[2]
with Project.open(root) as project:
    annotator = project.store.add_annotator(name, 'simulated')
    events = []
    for comparison in project.store.comparisons():
        new = NewJudgement(
            comparison_id=comparison.id,
            annotator_id=annotator,
            verdict='second',
            idempotency_key=comparison.id,
        )
        for _ in range(2):
            answer = project.store.record_judgements([new])
            events.append([answer[0].event_id, answer[0].seq, answer[0].replayed])
print(json.dumps(events))
"""


def test_four_processes_record_at_once_and_send_everything_twice(project: Project) -> None:
    fill(project, pairs=40)
    writers = [start_python(WRITER, str(project.root), f"writer {n}") for n in range(4)]
    told = [json.loads(writer.communicate()[0]) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0, 0]
    answers = [(event, seq) for events in told for event, seq, replayed in events if not replayed]
    again = [(event, seq) for events in told for event, seq, replayed in events if replayed]
    assert answers == again
    assert sorted(seq for _, seq in answers) == list(range(1, 161))
    assert {(one.id, one.seq) for one in project.store.events()} == set(answers)
    assert check_project(project) == []
