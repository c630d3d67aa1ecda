"""Steps of a run that an earlier worker left."""

from __future__ import annotations

import pytest

from locum.domain.messages import Message
from locum.domain.steps import (
    CodeInterpreter,
    CodeInterpreterCall,
    MessageCreation,
    MessageCreationDetails,
    Step,
    ToolCallsDetails,
)
from locum.engine.recorder import split_turns

MESSAGES = {
    id_: Message(id=id_, created_at=1, thread_id="thread_1", role="assistant", content=()) for id_ in ("msg_a", "msg_b")
}


def step(name: str) -> Step:
    """The step of a message (`a`, `b`; `x` was deleted by a caller), of calls (`calls…`), or of no calls yet
    (`none…`)."""
    details: MessageCreationDetails | ToolCallsDetails
    if name.startswith("calls"):
        details = ToolCallsDetails((CodeInterpreterCall(f"call_{name}", CodeInterpreter(input="1")),))
    elif name.startswith("none"):
        details = ToolCallsDetails()
    else:
        details = MessageCreationDetails(MessageCreation(f"msg_{name}"))
    return Step(
        id=name, created_at=1, assistant_id="asst_1", thread_id="thread_1", run_id="run_1", step_details=details
    )


@pytest.mark.parametrize(
    ("steps", "done", "messages", "tool_calls", "useless"),
    [
        ("", "", "", None, ""),
        ("a", "", "a", None, ""),
        ("x", "", "", None, "x"),
        ("none", "", "", "none", ""),
        ("calls", "calls", "", None, ""),
        ("a calls", "a calls", "", None, ""),
        ("x calls", "x calls", "", None, ""),
        ("a calls b", "a calls", "b", None, ""),
        ("a none", "", "a", "none", ""),
        ("calls none", "calls", "", "none", ""),
        ("calls1 calls2", "calls1 calls2", "", None, ""),
        ("none1 a none2", "", "a", "none1", "none2"),
        ("none1 x none2", "", "", "none1", "none2 x"),
        ("none1 calls", "none1 calls", "", None, ""),
        ("a calls b none1 none2", "a calls", "b", "none1", "none2"),
        ("a b", "", "a b", None, ""),
    ],
)
def test_turn_is_finished_once_its_calls_are_written(
    steps: str, done: str, messages: str, tool_calls: str | None, useless: str
) -> None:
    finished, unanswered = split_turns([step(name) for name in steps.split()], MESSAGES)
    assert [step.id for step in finished] == done.split()
    assert [(step.id, message.id) for step, message in unanswered.messages] == [
        (name, f"msg_{name}") for name in messages.split()
    ]
    assert (unanswered.tool_calls.id if unanswered.tool_calls else None) == tool_calls
    assert [step.id for step in unanswered.useless] == useless.split()
    left = {name for name in steps.split() if name not in done.split()}
    assert {step.id for step in unanswered.steps} == left
