from __future__ import annotations

import pytest

from crewd.protocol.errors import UsageError
from crewd.protocol.workflow_markdown import parse_workflow

GOOD = """---
name: duo
description: look, then fix
maxConcurrency: 2
---

## look
role: looker
output: notes.md
parallelGroup: one

Look at {goal}.

## A heading of the text

It stays text.

## fix
role: fixer
dependsOn: look
reads: notes.md
run: echo {goal}
verify: true

Fix it.
"""


def test_a_file_of_the_original_system_is_read() -> None:
    workflow = parse_workflow(GOOD)
    look, fix = workflow.steps
    assert (workflow.name, workflow.max_concurrency) == ("duo", 2)
    assert (look.role, look.output, look.worker.runtime) == ("looker", "notes.md", "agent")
    assert "## A heading of the text" in look.text
    assert (fix.depends_on, fix.reads, fix.worker.shell, fix.worker.runtime) == (
        ("look",),
        ("notes.md",),
        "echo {goal}",
        "exec",
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no steps"),
        ("---\nname: x\n", "has no end"),
        ("---\nnonsense\n---\n", "is not 'key: value'"),
        ("---\nmaxConcurrency: many\n---\n## a\nrun: x\n", "not a number"),
        ("## a\nrun: x\n## a\nrun: y\n", "stands twice"),
        ("## a\ndependsOn: b\nrun: x\n", "no step of workflow"),
        ("## a\ndependsOn: b\n## b\ndependsOn: c\n## c\ndependsOn: a\n", "in a circle: a → b → c → a"),
        ("## a\nrun: x\noutput: o\n## b\nrun: y\noutput: o\n", "both write o"),
        ("## a\nrun: x\noutput: o\n## b\nrun: y\nreads: o\n", "does not depend on a"),
        ("## a\nrun: x\noutput: ../o\n", "is not a name"),
        ("## a\ncall: nonsense\n", "is not MODULE:FUNCTION"),
        ("## a\ncall: a:b\nrun: x\n", "both a call and a command"),
        ("## a\ncall: a:b\nargs: [1]\n", "not a JSON object"),
        ("## a\nrun: x\nstdin: maybe\n", "neither 'none' nor 'lines'"),
        ("## a\nrun: x\nwhat is this\n", "line 3"),
        ("## ../a\nrun: x\n", "is not a name"),
    ],
)
def test_what_is_wrong_is_named_at_the_door(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_workflow(text)
