"""Objects as deltas: the pieces that a client adds up to a message, or to the tool calls of a step. Pure.

Every entry of a list has its index in the final list. Clients concatenate strings under one path, so ids come once: in
the first delta of a call or part.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from locum.domain.events import (
    AnnotationDelta,
    CodeInterpreterCallDelta,
    CodeInterpreterDelta,
    FileCitationAnnotationDelta,
    FilePathAnnotationDelta,
    FileSearchCallDelta,
    FileSearchDelta,
    FunctionCallDelta,
    FunctionDelta,
    ImageFilePartDelta,
    ImageOutputDelta,
    LogOutputDelta,
    MessageDelta,
    RefusalPartDelta,
    StepDelta,
    TextDelta,
    TextPartDelta,
    ToolCallDelta,
)
from locum.domain.messages import (
    Annotation,
    FileCitationAnnotation,
    FilePathAnnotation,
    ImageFile,
    ImageFilePart,
    ImageURLPart,
    Message,
    RefusalPart,
    TextPart,
)
from locum.domain.steps import (
    CodeInterpreterCall,
    CodeOutput,
    FileSearchCall,
    FunctionCall,
    ImageOutput,
    LogOutput,
    Step,
    ToolCall,
)


def of_message(message: Message) -> Iterator[MessageDelta]:
    """The deltas of a whole message: each text in one piece, then its annotations."""
    for index, part in enumerate(message.content):
        match part:
            case TextPart(text=text):
                yield first_text(message.id, index, text.value)
                for position, annotation in enumerate(text.annotations):
                    yield annotation_of(message.id, index, position, annotation)
            case ImageFilePart(image_file=image_file):
                yield image_part(message.id, index, image_file)
            case RefusalPart(refusal=refusal):
                yield more_refusal(message.id, index, refusal)
            case ImageURLPart():
                pass  # runs do not write these
            case _:
                assert_never(part)


def of_step(step: Step) -> Iterator[StepDelta]:
    """The deltas of a step's tool calls; a step that makes a message has none."""
    for index, call in enumerate(step.tool_calls):
        for delta in of_call(index, call):
            yield StepDelta(step.id, (delta,))


def of_call(index: int, call: ToolCall) -> Iterator[ToolCallDelta]:
    """The deltas of the `index`-th call of a step, as far as the call is known."""
    yield opening(index, call)
    match call:
        case CodeInterpreterCall(code_interpreter=cell):
            if cell.input:
                yield more_code(index, cell.input)
            for position, output in enumerate(cell.outputs or ()):
                yield output_of(index, position, output)
        case FileSearchCall():
            if call.is_done:
                yield results_of(index, call)
        case FunctionCall(function=function):
            if function.arguments:
                yield more_arguments(index, function.arguments)
        case _:
            assert_never(call)


# ---- parts of a message


def first_text(message_id: str, index: int, piece: str) -> MessageDelta:
    """The delta that begins a text part: it carries the empty list of annotations."""
    return _part(message_id, TextPartDelta(index=index, text=TextDelta(value=piece, annotations=())))


def more_text(message_id: str, index: int, piece: str) -> MessageDelta:
    """The next piece of a text part."""
    return _part(message_id, TextPartDelta(index=index, text=TextDelta(value=piece)))


def cited_text(message_id: str, index: int, position: int, annotation: Annotation) -> MessageDelta:
    """The text of an annotation together with the annotation, the `position`-th of its text part."""
    text = TextDelta(value=annotation.text, annotations=(_annotation(position, annotation),))
    return _part(message_id, TextPartDelta(index=index, text=text))


def annotation_of(message_id: str, index: int, position: int, annotation: Annotation) -> MessageDelta:
    """An annotation of text that has been streamed before, the `position`-th of its text part."""
    text = TextDelta(annotations=(_annotation(position, annotation),))
    return _part(message_id, TextPartDelta(index=index, text=text))


def more_refusal(message_id: str, index: int, piece: str) -> MessageDelta:
    """The first or next piece of a refusal."""
    return _part(message_id, RefusalPartDelta(index=index, refusal=piece))


def image_part(message_id: str, index: int, image_file: ImageFile) -> MessageDelta:
    """An image part, which comes whole."""
    return _part(message_id, ImageFilePartDelta(index=index, image_file=image_file))


def _part(message_id: str, part: TextPartDelta | ImageFilePartDelta | RefusalPartDelta) -> MessageDelta:
    return MessageDelta(message_id, (part,))


def _annotation(position: int, annotation: Annotation) -> AnnotationDelta:
    text, start, end = annotation.text, annotation.start_index, annotation.end_index
    match annotation:
        case FileCitationAnnotation(file_citation=file_citation):
            return FileCitationAnnotationDelta(
                index=position, text=text, start_index=start, end_index=end, file_citation=file_citation
            )
        case FilePathAnnotation(file_path=file_path):
            return FilePathAnnotationDelta(
                index=position, text=text, start_index=start, end_index=end, file_path=file_path
            )
        case _:
            assert_never(annotation)


# ---- tool calls of a step


def opening(index: int, call: ToolCall) -> ToolCallDelta:
    """The delta that begins a call: it carries the id and the name, and nothing that grows."""
    match call:
        case CodeInterpreterCall(id=id_):
            code = CodeInterpreterDelta(input="", outputs=())
            return CodeInterpreterCallDelta(index=index, id=id_, code_interpreter=code)
        case FileSearchCall(id=id_):
            return FileSearchCallDelta(index=index, id=id_)
        case FunctionCall(id=id_, function=function):
            begun = FunctionDelta(name=function.name, arguments="", output=None)
            return FunctionCallDelta(index=index, id=id_, function=begun)
        case _:
            assert_never(call)


def more_code(index: int, piece: str) -> ToolCallDelta:
    """The next piece of a cell's code."""
    return CodeInterpreterCallDelta(index=index, code_interpreter=CodeInterpreterDelta(input=piece))


def more_logs(index: int, piece: str) -> ToolCallDelta:
    """The next piece of what a cell prints. Logs are a call's first output, or it has none."""
    return output_of(index, 0, LogOutput(piece))


def output_of(index: int, position: int, output: CodeOutput) -> ToolCallDelta:
    """The `position`-th output of a cell."""
    shown: LogOutputDelta | ImageOutputDelta
    match output:
        case LogOutput(logs=logs):
            shown = LogOutputDelta(index=position, logs=logs)
        case ImageOutput(image=image):
            shown = ImageOutputDelta(index=position, image=image)
        case _:
            assert_never(output)
    return CodeInterpreterCallDelta(index=index, code_interpreter=CodeInterpreterDelta(outputs=(shown,)))


def results_of(index: int, call: FileSearchCall) -> ToolCallDelta:
    """The results of a search, which come whole."""
    search = call.file_search
    shown = FileSearchDelta(ranking_options=search.ranking_options, results=search.results or ())
    return FileSearchCallDelta(index=index, file_search=shown)


def more_arguments(index: int, piece: str) -> ToolCallDelta:
    """The next piece of a function call's arguments."""
    return FunctionCallDelta(index=index, function=FunctionDelta(arguments=piece))
