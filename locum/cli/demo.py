"""`locum demo`: the main job in a minute, through the unmodified client, on a server that is thrown away afterwards.

Everything is real but the model, which is the built-in, rule-based one. Nothing leaves the machine.
"""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import tempfile
import threading
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from locum.errors import StartupError
from locum.sandbox.client import end as end_sandbox

if TYPE_CHECKING:
    from openai import AzureOpenAI

_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_API_VERSION = "2024-05-01-preview"
_KINDS = (".csv", ".tsv", ".xlsx", ".json")
_CHART = "locum-demo-chart"
_NO_FONT = "[No font on this server has letters"  # as the session says it
_CODE_LINES = 14
_OUTPUT_LINES = 12
_TABLE_COLUMNS = 6
_CELL_COLUMNS = 16


class Language(StrEnum):
    en = "en"
    ko = "ko"


class Words(NamedTuple):
    """Everything the demo says and asks, in one language."""

    opening: str
    equation: str
    ask_equation: str
    data: str
    ask_data: str
    correction: str
    ask_correction: str
    own: str
    file: str
    you: str
    code: str
    output: str
    error: str
    answer: str
    table: str
    saved: str
    no_font: str
    closing: str
    more: str
    sample_name: str
    sample: str


_WORDS = {
    Language.en: Words(
        opening="Starting a throw-away server: real API, real code interpreter, and the built-in demo model, "
        "which is a rule-based script and no language model.",
        equation="An equation, solved by writing and running Python",
        ask_equation="I need to solve the equation `3x + 11 = 14`. Can you help me?",
        data="A file, described and drawn",
        ask_data="Describe this data, plot it as a chart and save a summary as a CSV file.",
        correction="Code that fails, and is corrected from its traceback",
        ask_correction="Show me how you fix an error.",
        own="Your question",
        file="file",
        you="you",
        code="runs",
        output="prints",
        error="fails",
        answer="answer",
        table="table",
        saved="saved",
        no_font="There is no font for these letters on this machine: `locum doctor` says which package has one.",
        closing="The server is stopped and its data removed.",
        more="Your own: `locum serve`, with LOCUM_MODEL_BASE_URL set to any OpenAI-compatible model server.",
        sample_name="sales.csv",
        sample="month,region,revenue,orders\n"
        "Jan,North,960,12\nJan,South,640,8\nFeb,North,1240,15\nFeb,South,720,9\nMar,North,1180,14\nMar,South,910,12\n"
        "Apr,North,1530,19\nApr,South,1020,13\n",
    ),
    Language.ko: Words(
        opening="잠시 쓰고 버릴 서버를 시작합니다. API와 code interpreter는 진짜이고, 모델은 내장 데모 모델입니다. "
        "데모 모델은 언어 모델이 아니라 규칙으로 움직이는 스크립트입니다.",
        equation="방정식: 파이썬 코드를 쓰고 실행해서 풉니다",
        ask_equation="방정식 `3x + 11 = 14`를 풀어 주세요.",
        data="파일: 내용을 설명하고 차트로 그립니다",
        ask_data="이 데이터를 설명하고 차트로 그린 다음, 요약을 CSV 파일로 저장해 주세요.",
        correction="실패한 코드: traceback을 읽고 고쳐서 다시 실행합니다",
        ask_correction="오류를 고치는 과정을 보여 주세요.",
        own="질문",
        file="파일",
        you="질문",
        code="실행",
        output="출력",
        error="오류",
        answer="답변",
        table="표",
        saved="저장",
        no_font="이 컴퓨터에는 이 글자들을 그릴 글꼴이 없습니다. 어느 패키지에 있는지 `locum doctor`가 알려 줍니다.",
        closing="서버를 멈추고 데이터를 지웠습니다.",
        more="직접 쓰려면 LOCUM_MODEL_BASE_URL에 OpenAI 호환 모델 서버의 주소를 설정하고 `locum serve`를 실행하세요.",
        sample_name="매출.csv",
        sample="월,지역,매출,주문\n"
        "1월,북부,960,12\n1월,남부,640,8\n2월,북부,1240,15\n2월,남부,720,9\n3월,북부,1180,14\n3월,남부,910,12\n"
        "4월,북부,1530,19\n4월,남부,1020,13\n",
    ),
}


def demo(
    file: Annotated[
        Path | None, typer.Option(help=f"Your own data instead of the sample: {', '.join(_KINDS)}.")
    ] = None,
    ask: Annotated[str | None, typer.Option(help="Ask this one question instead of the usual three.")] = None,
    lang: Annotated[Language, typer.Option(help="Language of the demo.")] = Language.en,
    out: Annotated[Path, typer.Option(help="Where charts are saved.")] = Path(),
) -> None:
    """Walk through an equation, a chart from a CSV file and a corrected error, with the unmodified AzureOpenAI client.

    Starts a server of its own and removes it afterwards; needs no network, no model and no settings.
    """
    words = _WORDS[lang]
    data = (words.sample_name, words.sample.encode()) if file is None else _read(file)
    _check(ask, out)
    typer.echo(words.opening)
    with _server() as endpoint, _client(endpoint) as client:
        typer.echo(
            f'\n  client = AzureOpenAI(azure_endpoint="{endpoint}", api_key="any", api_version="{_API_VERSION}")'
        )
        tour = _Tour(client, words, out.absolute())
        if ask is not None:
            tour.step(words.own, ask, data if file else None)
        else:
            tour.step(words.equation, words.ask_equation)
            tour.step(words.data, words.ask_data, data)
            tour.step(words.correction, words.ask_correction)
    typer.echo(f"\n{words.closing}\n{words.more}")


def _read(file: Path) -> tuple[str, bytes]:
    """A file's name and content."""
    if file.suffix.lower() not in _KINDS:
        raise StartupError(f"The demo model reads {', '.join(_KINDS)}, not {file.name}.")
    try:
        return file.name, file.read_bytes()
    except OSError as error:
        raise StartupError(f"{file} cannot be read ({error.strerror}). Name another with --file.") from None


def _check(ask: str | None, out: Path) -> None:
    """What can be known before a server is started."""
    try:
        import openai  # noqa: F401
    except ImportError:
        raise StartupError("The demo speaks through OpenAI's client, which is missing: pip install openai") from None
    if ask is not None and not ask.strip():
        raise StartupError("--ask needs a question.")
    if out.exists() and not (out.is_dir() and os.access(out, os.W_OK)):
        raise StartupError(f"{out} is no directory that can be written. Name another with --out.")


# ---- the server


@contextmanager
def _server() -> Iterator[str]:
    """A server on a free port with a data directory of its own, for as long as the context lasts; its address."""
    _end_in_order()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LOCUM_")}
    with tempfile.TemporaryDirectory(prefix="locum-demo-", ignore_cleanup_errors=True) as folder:
        log = Path(folder, "log")
        with log.open("wb") as errors:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "locum", "serve", "--port", "0", "--data-dir", str(Path(folder, "data"))],
                cwd=folder,  # no locum.toml
                env=clean,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl-C reaches us, and we stop it
            )
        try:
            yield _greeting(process, log)
        finally:
            _stop(process)
            end_sandbox(Path(folder, "data", "sandbox"))


def _end_in_order() -> None:
    """Also when the terminal is closed or the process asked to end, the server is stopped."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), end)


def _greeting(process: subprocess.Popen[str], log: Path) -> str:
    """Read what the server says of itself until it is ready; StartupError when it cannot do what is to be shown."""
    assert process.stdout is not None
    too_late = threading.Timer(_START_SECONDS, process.kill)
    too_late.start()
    endpoint = interpreter = ""
    try:
        for line in process.stdout:
            about, _, said = line.strip().partition("   ")
            if about == "Azure endpoint":
                endpoint = said.strip()
            elif line.startswith("  Code interpreter"):
                interpreter = line.removeprefix("  Code interpreter").strip()
            elif line.strip().startswith("Fix:"):
                interpreter += f". {line.strip()}"
            elif line.strip().startswith("Ready."):
                break
        else:
            reason = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            raise StartupError(f"The server did not start: {reason.removeprefix('locum: ')}")
    finally:
        too_late.cancel()
    if interpreter.startswith("off:"):
        raise StartupError(f"Code cannot be run on this machine, {interpreter.removeprefix('off:').strip()}")
    return endpoint


def _stop(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdout is not None
    process.stdout.close()


@contextmanager
def _client(endpoint: str) -> Iterator[AzureOpenAI]:
    """As an app makes it, but deaf to proxies and keys in the environment, which are for other servers."""
    import openai

    for name in [name for name in os.environ if name.startswith(("OPENAI_", "AZURE_OPENAI_"))]:
        del os.environ[name]
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the client says at every call that the hosted API is gone
        try:
            with openai.AzureOpenAI(azure_endpoint=endpoint, api_key="any", api_version=_API_VERSION) as client:
                yield client
        except openai.APIError as error:
            raise StartupError(f"The server did not do it: {error.message}") from None


# ---- what is shown


class _Tour:
    """Asks and tells, one numbered step after the other."""

    def __init__(self, client: AzureOpenAI, words: Words, out: Path) -> None:
        self._client = client
        self._words = words
        self._out = out
        self._steps = 0
        self._charts = 0
        self._assistant = client.beta.assistants.create(
            model="gpt-4o",
            instructions="Write and run code to answer questions.",
            tools=[{"type": "code_interpreter"}],
        ).id

    def step(self, title: str, question: str, file: tuple[str, bytes] | None = None) -> None:
        """Ask in a thread of its own and print what happened, in the order it did."""
        self._steps += 1
        typer.echo(f"\n{self._steps}. {title}\n")
        beta = self._client.beta
        if file is None:
            thread = beta.threads.create().id
        else:
            uploaded = self._client.files.create(file=file, purpose="assistants").id
            thread = beta.threads.create(tool_resources={"code_interpreter": {"file_ids": [uploaded]}}).id
            self._say(self._words.file, file[0])
        self._say(self._words.you, question)
        beta.threads.messages.create(thread, role="user", content=question)
        run = beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=self._assistant)
        for step in beta.threads.runs.steps.list(run.id, thread_id=thread, order="asc"):
            if step.step_details.type == "tool_calls":
                for call in step.step_details.tool_calls:
                    if call.type == "code_interpreter":
                        self._show_code(
                            call.code_interpreter.input,
                            [output.logs for output in call.code_interpreter.outputs if output.type == "logs"],
                        )
        if run.status != "completed":
            why = run.last_error.message if run.last_error else run.status
            raise StartupError(f"The run ended as {run.status}: {why}")
        for message in beta.threads.messages.list(thread, run_id=run.id, order="asc"):
            for part in message.content:
                if part.type == "text":
                    self._say(self._words.answer, part.text.value)
                    for annotation in part.text.annotations:
                        if annotation.type == "file_path" and annotation.text.endswith(".csv"):
                            self._show_table(annotation.file_path.file_id)
                elif part.type == "image_file":
                    self._save(part.image_file.file_id)

    def _show_code(self, code: str, logs: list[str]) -> None:
        self._say(self._words.code, _beginning(code.strip(), _CODE_LINES))
        for log in logs:
            lines = log.strip().splitlines()
            printed = [line for line in lines if _NO_FONT not in line]
            if "Traceback (most recent call last)" in log:
                self._say(self._words.error, lines[-1])
            else:
                self._say(self._words.output, _beginning("\n".join(printed), _OUTPUT_LINES))
            if len(printed) < len(lines):
                self._say("!", self._words.no_font)

    def _show_table(self, file_id: str) -> None:
        text = self._client.files.content(file_id).read().decode(errors="replace")
        rows = [[cell[:_CELL_COLUMNS] for cell in row[:_TABLE_COLUMNS]] for row in csv.reader(text.splitlines())]
        widths = [max(map(_width, column)) for column in zip_longest(*rows, fillvalue="")]
        lines = ["  ".join(map(_padded, row, widths)) for row in rows]
        self._say(self._words.table, _beginning("\n".join(lines), _OUTPUT_LINES))

    def _save(self, file_id: str) -> None:
        self._charts += 1
        path = self._out / (f"{_CHART}.png" if self._charts == 1 else f"{_CHART}-{self._charts}.png")
        png = self._client.files.content(file_id).read()
        try:
            self._out.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png)
        except OSError as error:
            raise StartupError(f"{path} cannot be written ({error.strerror}). Name a directory with --out.") from None
        self._say(self._words.saved, str(path))

    def _say(self, who: str, what: str) -> None:
        first, *others = what.splitlines() or [""]
        typer.echo("\n".join([f"  {_padded(who, 6)}  {first}", *(f"          {line}".rstrip() for line in others)]))


def _beginning(text: str, most: int) -> str:
    lines = text.splitlines()
    return text if len(lines) <= most + 1 else "\n".join([*lines[:most], f"… (+{len(lines) - most})"])


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _width(text: str) -> int:
    """In columns of a terminal, of which a Hangul syllable takes two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
