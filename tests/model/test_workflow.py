from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from crewd.model.errors import UsageError
from crewd.model.workflow_markdown import parse_workflow, understand
from crewd.model.yaml_text import is_simple

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


@pytest.mark.parametrize("said", ["true", "'true'", '"true"'])
def test_a_verification_without_a_command_is_named_as_unused(said: str) -> None:
    text = f"## a\nrun: x\nverify: {said}\n\n## b\nrun: x\nverify: false\n\n## c\nrun: x\nverify: make\n"
    assert understand(text).unused == ("line 3: verify of step a",)


def test_a_number_sign_in_a_command_and_in_quotes_is_kept() -> None:
    step = parse_workflow("## a\nrun: [ -f x ] # if it is there\nrole: '# one'\ncwd: a#b\n").steps[0]
    assert (step.worker.shell, step.role, step.worker.cwd) == ("[ -f x ] # if it is there", "# one", "a#b")


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
        ("## a\ncall: __main__:work\n", "is in your own program"),
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


STEPS = "## a\nrun: x\n"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (f"{STEPS}\n## second step\nrun: y\n", 4, "'second step' is not a name"),
        (f"{STEPS}\n## Build It\nrun: y\n", 4, "is not a name"),
        ("## a\nRun: x\n", 2, "did you mean run"),
        ("## a\ncmd: x\n", 2, "did you mean run"),
        ("## a\nrun: x\nneeds: b\n", 3, "did you mean dependsOn"),
        ("## a\nrun: x\ndependson: b\n", 3, "did you mean dependsOn"),
        ("## a\nrun: x\nrun: y\n", 3, "stands twice"),
        ("## a\n  run: x\n", 2, "is no field"),
        ("## a\n- run: x\n", 2, "is no field"),
        ("# a\nrun: x\n", 1, "no level-2 heading"),
        ("### a\nrun: x\n", 1, "no level-2 heading"),
        (f"{STEPS}\n##b\nrun: y\n", 4, "no level-2 heading"),
        (f"{STEPS}\n## deploy\n\nDo it.\n", 4, "has no fields"),
        (f"{STEPS}\ndependsOn: b\n", 4, "after a blank line"),
        (f"{STEPS}\n```\n## b\nrun: y\n", 4, "has no end"),
        (f"{STEPS}\n<!--\n## b\n", 4, "has no end"),
        ("---\nnmae: x\n---\n## a\nrun: x\n", 2, "did you mean name"),
        ("---\nname: x\nname: y\n---\n## a\nrun: x\n", 3, "stands twice"),
        ("---\nname: x\n\tdescription: y\n---\n## a\nrun: x\n", 3, "not understood"),
        ("---\nlabels: [a\n---\n## a\nrun: x\n", 2, "not understood"),
        ("## a\nrun: echo '{goal}'\n", 2, "in single quotes"),
        ("## a\nrun: x\nlimits: memory_bytes=lots\n", 3, "no size"),
        ('## a\nrun: x\nlimits: {"tokns": 3}\n', 3, "limits is wrong"),
        ("## a\nrun: x\nretries: two\n", 3, "not a number"),
        ("## a\nrun: x\nretries: -1\n", 3, "retries -1 are not possible"),
        ("## a\nrun: x\nretries: 1000000000000\n", 3, "are not possible"),
        (f"{STEPS}## a\nrun: y\n", 3, "stands twice"),
        ("---\nname: x\nmaxConcurrency: -1\n---\n## a\nrun: x\n", 3, "not a number"),
        ("---\nname: x\nmaxConcurrency: 0\n---\n## a\nrun: x\n", 3, "not a number"),
        ("---\nname: my flow\n---\n## a\nrun: x\n", 2, "is not a name"),
        ("---\nname: x\njoin: sometimes\n---\n## a\nrun: x\n", 3, "is not possible"),
        ("---\nname: x\nmaxMinutes: 9999\n---\n## a\nrun: x\n", 3, "is not possible"),
        ("---\nname: x\nlabels: a=b, a=c\n---\n## a\nrun: x\n", 3, "stands twice"),
        ("---\nlabels:\n  a: b\n  c: [d]\n---\n## a\nrun: x\n", 4, "no list"),
        ("---\nlabels: {a b: c}\n---\n## a\nrun: x\n", 2, "is not a name"),
        ("---\nname: &x y\ndescription: *x\n---\n## a\nrun: x\n", 2, "used again"),
        ("---\nname: !foo y\n---\n## a\nrun: x\n", 2, "the tag !foo"),
        ("---\ninputs:\n  depth: intger\n---\n## a\nrun: x\n", 3, "did you mean integer"),
        ("---\ninputs:\n  depth:\n    typ: text\n---\n## a\nrun: x\n", 4, "did you mean type"),
        ("---\ninputs:\n  depth:\n    default:\n---\n## a\nrun: x\n", 4, "has no value"),
        ("---\ninputs:\n  depth: {type: integer, default: x}\n---\n## a\nrun: x\n", 3, "which is no integer"),
        ("---\ninputs:\n  depth: {type: integer, choices: [1, x]}\n---\n## a\nrun: x\n", 3, "which is no integer"),
        ("---\ninputs:\n  depth: {choices: []}\n---\n## a\nrun: x\n", 3, "no list of values"),
        ("---\ninputs:\n  depth: {choices: [a, a]}\n---\n## a\nrun: x\n", 3, "stands twice"),
        ("---\ninputs:\n  Depth: text\n---\n## a\nrun: x\n", 3, "no name of an input"),
        ("## a\nrun: |\n  echo a\n  echo '{goal}'\n", 4, "in single quotes"),
        ("## a\nrun:\n", 2, "has no value"),
        ("## a\nrun: ''\n", 2, "has no value"),
        ("## a\nrun:x\n", 2, "with a space"),
        ('## a\nrun: x\nargs: {"a": 1}\n', 3, "args are for a call"),
        ('## a\ncall: m:f\nargs: {"a": 1, "a": 2}\n', 3, "stands twice"),
        ('## a\ncall: m:f\nargs: {"a": NaN}\n', 3, "no number that JSON has"),
        ("## a\ncall: m:f\nargs: {a: 1, a: 2}\n", 3, "stands twice"),
        ('## a\ncall: m:f\nargs: {"a": 99999999999999999999}\n', 3, "more than 64 bits"),
        ("## a\ncall: m:f\nargs:\n  b: 1\n  a: 99999999999999999999\n", 5, "more than 64 bits"),
        ("## a\ncall: m:f\nargs:\n  a: .inf\n", 4, "no number that JSON has"),
        ("## a\nrun: x\ndependsOn: b, b\n\n## b\nrun: y\n", 3, "stands twice"),
        ("## a\nrun: x\ndependsOn: b\n\n## b\nrun: y\ndependsOn: a\n", 7, "in a circle"),
        ("## a\nrun: x\noutput: o\n\n## b\nrun: y\noutput: o\n", 7, "both write"),
        ("## a\nrun: x\nenv: A=1, A=2\n", 3, "stands twice"),
        ("## a\nrun: x\nenv: A={goal}\n", 3, "no value is put in there"),
        ('---\ninputs:\n  dir: text\n---\n## a\nrun: x\ncwd: "{dir}"\n', 7, "no value is put in there"),
        ("## a\nrun: x\nenv:\n  A: 1\n  C: null\n", 5, "has no value"),
        ("## a\nrun: x\nenv: {C: [1]}\n", 3, "no list"),
        ("## a\nrun: x\nenv: CREWD_GOAL=x\n", 3, "is set by crewd"),
        ("## a\nrun: x\nenv: 1A=x\n", 3, "no name of a variable"),
        ("## a\nrun: x\nrestart: always\n", 3, "did you mean permanent"),
        ("## a\nrun: x\nrestart: permanent\n\n## b\nrun: y\ndependsOn: a\n", 7, "never completes"),
        ("## a\nrun: x\nrestart: permanent\nverify: test -e f\n", 4, "nothing would be verified"),
        ("## a\noutside: true\nlimits: task_seconds=5\n", 3, "which crewd cannot keep there"),
        ("## a\noutside: true\nrestart: transient\n", 3, "which crewd cannot keep there"),
        ("## a\nrun: x\ncwd: sub # there\n", 3, "cwd has a comment behind it"),
        ("## a\nrun: x\nretries: 2 # twice\n", 3, "retries has a comment behind it"),
        ("## a\nrun: [echo, a]\n", 2, "run is a command line, and no list"),
        ("## a\noutside: true\nenv: A=b\n", 3, "is outside and has env"),
        ("## a\noutside: true\nrole: x\nstart: spawn\n", 4, "is outside and has start"),
        ("## a\noutside: true\nstdin: lines\n", 3, "is outside and has stdin"),
        ("## a\noutside: true\neffectiveness: block\n", 3, "is outside and has effectiveness"),
        ("## a\nrun: x\nrestart:\n  restarts_max: 2\n  policy: always\n", 5, "did you mean permanent"),
        ("## a\nrun: x\nlimits:\n  tokens: 5\n  turns: 1.5\n", 5, "no whole number"),
        ("## a\nrun: x\nlimits:\n  tokens: 5\n  memry_bytes: 5\n", 5, "did you mean memory_bytes"),
        ("## a\nrun: x\nretries: 1000\n", 3, "1000 retries"),
        ("## a\nrun: x\nprotocol: http\n", 3, "known: crewd"),
        ("## a\nrun: x\n\nDependsOn: b\n", 4, "after a blank line"),
        ("## a\nrun: x\n\nSome text.\noutput: b\n", 5, "after a blank line"),
        *[
            (f"## a\nrun: x\n\n{meant}\n\n## b\nrun: y\n", 4, "after a blank line")
            for meant in (
                "needs: b",
                "timeout: 3",
                "depends-on: b",
                "depends_on: b",
                "  dependsOn: b",
                "- dependsOn: b",
                "dependsOn:b",
                "**dependsOn:** b",
                "Retries: 2",
            )
        ],
        ("## a\nrole: x\n\nDo it.\nDepends-On: b\n", 5, "after a blank line"),
        ("build\n-----\nrun: make\n", 1, "underlined heading"),
        ("## a\nrole: x\n\nDo it.\n\nbuild\n-----\nrun: make\n", 6, "underlined heading"),
        ("name: x\nmaxMinutes: 30\n\n## a\nrun: x\n", 1, "before the first step"),
        ("retries: 3\n\n## a\nrun: x\n", 1, "before the first step"),
        ("+++\nname = 'x'\n+++\n## a\nrun: x\n", 1, "begins no front matter"),
        ("----\nname: x\n----\n## a\nrun: x\n", 1, "begins no front matter"),
        ("--- # head\nname: x\n---\n## a\nrun: x\n", 1, "begins no front matter"),
        ("# T\n\n---\n\nmaxMinutes: 3\n---\n## a\nrun: x\n", 3, "begins no front matter"),
        ("---\nname: x\n---\n---\njoin: group\n---\n## a\nrun: x\n", 4, "begins no front matter"),
        ("## a\nrole: x\n\nDo it.\n\n## Build It\n\nRun: make\n", 6, "is not a name"),
        ("## a\nrole: x\n\nDo it.\n\n## Build it\nrun:make\n", 7, "with a space"),
        ("## a\nrole: x\n\nDo it.\n\n##\u00a0b\nrun: make\n", 6, "no level-2 heading"),
        ("## a\nrun: x\ndependsOn:\n- b\n\n- c\n", 6, "whether the list goes on"),
        ("## a\nrun: x\ndependsOn:\n\n- b\n", 5, "whether the list goes on"),
        ("## a\nrun: x\nenv: A=1 B=2\n", 3, "one value or several"),
        ("## a\nrun: x\n\nA \0.\n", 4, "NUL"),
        ('## a\ncall: m:f\nargs: {"a": 1e999}\n', 3, "no number that JSON has"),
        ('## a\ncall: m:f\nargs: {"a": "\\ud800"}\n', 3, "half of a character"),
        ('---\nname: x\ndescription: "\\ud800"\n---\n## a\nrun: x\n', 3, "half of a character"),
        ('---\ninputs:\n  a: {default: "x\\0y"}\n---\n## a\nrun: x\n', 3, "NUL"),
        ("## a\nrun: x\nlimits: memory_bytes=0.5\n", 3, "less than a byte"),
        ("## a\nrun: x\nlimits: task_seconds=\u0663\n", 3, "no time"),
        ("## a\nrun: x\nlimits: tokens=1_000\n", 3, "no number"),
        ("## a\nrun: x\n<!-- note --> verify: false\n", 3, "stands behind a comment"),
        ("## a\nrun: x\n\n<!-- note\n--> and more\n", 5, "stands behind a comment"),
        ("## a\nrun: x\nrestart: {restarts_max: 3}\n", 3, "no policy"),
        ("## a\nrun: x\nrestart: {policy: permanent, backoff_seconds: 60}\n", 3, "60 is more than cap_seconds 30"),
    ],
)
def test_what_is_not_understood_is_named_with_its_line_and_is_never_text(text: str, line: int, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_workflow(text)
    assert says in str(caught.value)
    assert caught.value.message.startswith(f"line {line}:")


@pytest.mark.parametrize("fence", ["```", "~~~~", "```sh", "  ```"])
def test_a_heading_in_a_code_block_or_a_comment_is_no_step(fence: str) -> None:
    close = fence.strip().rstrip("sh")
    text = f"{STEPS}\nAn example:\n\n{fence}\n## cleanup\nrun: rm\n{close}\n\n<!--\n## old\nrun: y\n-->\n\n## b\nrun: z\n"
    workflow = parse_workflow(text)
    assert [step.id for step in workflow.steps] == ["a", "b"]
    assert "## cleanup" in workflow.steps[0].text
    assert "old" not in workflow.steps[0].text


@given(st.text(alphabet="ab01 :-#,.[]{}\"'&*!%@`=<>|?\n\\~", max_size=40))
def test_the_parser_in_c_reads_what_it_is_given_as_the_one_in_python_does(text: str) -> None:
    if not yaml.__with_libyaml__ or not is_simple(text):
        return
    try:
        mine = yaml.CBaseLoader(text).get_single_node()
    except yaml.YAMLError:
        return  # it is read again
    assert shape_of(mine) == shape_of(yaml.BaseLoader(text).get_single_node())


def shape_of(node: Any) -> Any:
    """What a node says, and the lines of its keys."""
    if isinstance(node, yaml.MappingNode):
        return [(shape_of(key), key.start_mark.line, shape_of(value)) for key, value in node.value]
    if isinstance(node, yaml.SequenceNode):
        return ("list", *(shape_of(each) for each in node.value))
    return None if node is None else (node.value, bool(node.style), node.tag)


def test_a_byte_order_mark_windows_line_ends_and_yaml_are_understood() -> None:
    head = "---\nname: nightly\nmaxConcurrency: 1 # one\nmaxMinutes: 2h\ndescription: |\n  two\n  lines\nlabels:\n  - team=a\n"
    text = f"\ufeff{head}inputs:\n  goal: directory\n  depth: {{type: integer, default: 2}}\n---\n## a ##\nrun: ls {{depth}}\n"
    workflow = parse_workflow(text.replace("\n", "\r\n"))
    assert (workflow.name, workflow.max_concurrency, workflow.max_minutes) == ("nightly", 1, 120.0)
    assert workflow.labels == {"team": "a"}
    assert workflow.description.split() == ["two", "lines"]
    assert (workflow.inputs["goal"].type, workflow.inputs["depth"].default) == ("directory", "2")


def test_lists_blocks_quotes_sizes_and_times_in_fields() -> None:
    workflow = parse_workflow(
        '## a\nrun: |\n  one\n  two\n## b\nrun: "x" "y"\ndependsOn:\n  - a\nlimits: memory_bytes=150M, task_seconds=10m\n'
        'env: {"A": "1"}\n## c\ncall: m:f\nargs:\n  depth: 2\n  names: [x, y]\ndependsOn: [a, b]\n\n\\## not a step\n'
    )
    a, b, c = workflow.steps
    assert a.worker.shell == "one\ntwo"
    assert (b.worker.shell, b.depends_on, b.worker.env) == ('"x" "y"', ("a",), {"A": "1"})
    assert (b.worker.limits.memory_bytes, b.worker.limits.task_seconds) == (150 << 20, 600.0)
    assert (c.worker.args, c.depends_on, c.text) == ({"depth": 2, "names": ["x", "y"]}, ("a", "b"), "## not a step")


def test_a_block_has_blank_lines_and_headings_of_its_own() -> None:
    text = "## a\nrun: |\n  make one\n\n  ## two\n  make two\n\n\nThe text.\n"
    (step,) = parse_workflow(text).steps
    assert step.worker.shell == "make one\n\n## two\nmake two"
    assert step.text == "The text."


@pytest.mark.parametrize(
    "fields",
    ["run: x\nenv: A=1, B=a,b", "run: x\nretries: " + "9" * 5_000, "run: x\nlimits: {memory_bytes: " + "9" * 400 + "}"],
)
def test_what_has_no_value_or_no_bound_is_an_error_with_its_line(fields: str) -> None:
    with pytest.raises(UsageError, match=r"line [23]"):
        parse_workflow(f"## a\n{fields}\n")


def test_the_first_step_is_read_as_strictly_as_the_others() -> None:
    with pytest.raises(UsageError, match="line 1: the step 'a' has no fields"):
        parse_workflow("## a\nrun true\n\n## b\nrun: true\n")
    with pytest.raises(UsageError, match="line 2: '---' begins no front matter here"):
        parse_workflow("xx\n---\nname: zz\n---\n## a\nrun: true\n")


def test_a_prompt_may_say_what_its_output_is() -> None:
    (step,) = parse_workflow("## a\nrole: writer\n\nLook at it.\nOutput: a list.\n").steps
    assert step.text == "Look at it.\nOutput: a list."


def test_arguments_in_one_line_are_json_or_yaml() -> None:
    for text in ('{"a": 1, "b": {"c": null}}', "{a: 1, b: {c: null}}", "{ a: 1, b: {c: ~}}"):
        (step,) = parse_workflow(f"## s\ncall: m:f\nargs: {text}\n").steps
        assert step.worker.args == {"a": 1, "b": {"c": None}}


def test_plain_words_of_arguments_are_what_json_has_or_text() -> None:
    text = "## a\ncall: m:f\nargs:\n  a: no\n  b: 2024-01-01\n  c: 1:30\n  d: true\n  e: 1.5\n  f: ~\n  g: '7'\n  h: -3\n"
    (step,) = parse_workflow(text).steps
    assert step.worker.args == {"a": "no", "b": "2024-01-01", "c": "1:30", "d": True, "e": 1.5, "f": None, "g": "7", "h": -3}


@pytest.mark.parametrize("opens", ["```", "~~~", "<!-- a comment", "## a heading", "# one"])
def test_what_stands_in_a_block_opens_nothing(opens: str) -> None:
    script = f"run: |\n  cat >> notes.md <<'X'\n  {opens}\n  X\n"
    text = f"## open\n{script}\n## important\nrun: echo\n\n## close\n{script}\nAn example -->:\n\n```\n## no\n```\n"
    workflow = parse_workflow(text)
    assert [step.id for step in workflow.steps] == ["open", "important", "close"]
    assert opens in workflow.steps[0].worker.shell


@pytest.mark.parametrize("head", ["|", "|-", "|2", "|2-", "|-2", "| # a note", ">"])
def test_yaml_s_headers_of_blocks_are_understood(head: str) -> None:
    (step,) = parse_workflow(f"## a\nrun: {head}\n  make one\n\n  make two\n").steps
    assert step.worker.shell.split() == ["make", "one", "make", "two"]


def test_a_list_has_blank_lines_when_it_is_indented() -> None:
    text = "## a\nrun: x\n## c\nrun: x\n## b\nrun: y\ndependsOn:\n\n  - a\n\n  - c\n\nThe text.\n"
    step = parse_workflow(text).steps[-1]
    assert (step.depends_on, step.text) == (("a", "c"), "The text.")


def test_titles_and_sentences_stand_before_the_first_step() -> None:
    text = "\ufeff\ufeff# Nightly\n\nTitle\n-----\n\nWhat it does: it builds. See https://example.org.\n\n## a\nrun: x\n"
    assert [step.id for step in parse_workflow(text).steps] == ["a"]
