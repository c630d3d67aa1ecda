"""What the requests and objects of a version look like. Handlers take the shapes of the version that is spoken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from locum.api.dialect import Version
from locum.api.v1 import objects as v1_objects
from locum.api.v1 import requests as v1
from locum.api.v2 import objects as v2_objects
from locum.api.v2 import requests as v2
from locum.domain.assistants import Assistant
from locum.domain.events import Event
from locum.domain.messages import Message
from locum.domain.runs import Run
from locum.domain.steps import Step
from locum.domain.threads import Thread


class RenderStep(Protocol):
    def __call__(self, step: Step, *, with_content: bool = False) -> dict[str, Any]: ...


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Bodies come in as these models; objects and events go out through these functions."""

    assistant_body: type[v1.AssistantBody | v2.AssistantBody]
    assistant_changes: type[v1.AssistantChanges | v2.AssistantChanges]
    thread_body: type[v1.ThreadBody | v2.ThreadBody]
    thread_changes: type[v1.ThreadChangesBody | v2.ThreadChangesBody]
    message_body: type[v1.MessageBody | v2.MessageBody]
    run_body: type[v1.RunBody | v2.RunBody]
    thread_and_run_body: type[v1.ThreadAndRunBody | v2.ThreadAndRunBody]
    render_assistant: Callable[[Assistant], dict[str, Any]]
    render_thread: Callable[[Thread], dict[str, Any]]
    render_message: Callable[[Message], dict[str, Any]]
    render_run: Callable[[Run], dict[str, Any]]
    render_step: RenderStep
    render_event: Callable[[Event], tuple[str, bytes]]
    render_event_with_content: Callable[[Event], tuple[str, bytes]]
    """With the text of what file search found."""

    def events(self, *, with_content: bool) -> Callable[[Event], tuple[str, bytes]]:
        """What renders the events of a stream."""
        return self.render_event_with_content if with_content else self.render_event


SHAPES: dict[Version, Shapes] = {
    1: Shapes(
        assistant_body=v1.AssistantBody,
        assistant_changes=v1.AssistantChanges,
        thread_body=v1.ThreadBody,
        thread_changes=v1.ThreadChangesBody,
        message_body=v1.MessageBody,
        run_body=v1.RunBody,
        thread_and_run_body=v1.ThreadAndRunBody,
        render_assistant=v1_objects.render_assistant,
        render_thread=v1_objects.render_thread,
        render_message=v1_objects.render_message,
        render_run=v1_objects.render_run,
        render_step=v1_objects.render_step,
        render_event=v1_objects.render_event,
        render_event_with_content=v1_objects.render_event,
    ),
    2: Shapes(
        assistant_body=v2.AssistantBody,
        assistant_changes=v2.AssistantChanges,
        thread_body=v2.ThreadBody,
        thread_changes=v2.ThreadChangesBody,
        message_body=v2.MessageBody,
        run_body=v2.RunBody,
        thread_and_run_body=v2.ThreadAndRunBody,
        render_assistant=v2_objects.render_assistant,
        render_thread=v2_objects.render_thread,
        render_message=v2_objects.render_message,
        render_run=v2_objects.render_run,
        render_step=v2_objects.render_step,
        render_event=v2_objects.render_event,
        render_event_with_content=v2_objects.render_event_with_content,
    ),
}
