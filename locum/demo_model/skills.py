"""What the demo model can do: a list of small skills, the first that matches a conversation acts on it.

Everything here is a pure function of the conversation, so the same prompt always gets the same answer.
A skill that needs Python is three functions: when it matches, which programs to try, how to answer from the output.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePosixPath

import msgspec

from locum.demo_model import documents, expressions, functions, programs, tables
from locum.demo_model.conversation import Call, Conversation
from locum.demo_model.words import text

_MAX_ATTEMPTS = 3
_MAX_QUOTED = 2000
_MAX_COUNT = 200
_MAX_FORMULAS = 4


class Say(msgspec.Struct, frozen=True):
    """Answer with this text."""

    text: str


class RunCode(msgspec.Struct, frozen=True):
    """Call the code interpreter with this program."""

    code: str


class CallFunctions(msgspec.Struct, frozen=True):
    """Call these functions of the caller's."""

    calls: tuple[Call, ...]


class SearchFiles(msgspec.Struct, frozen=True):
    """Search the files for this."""

    queries: tuple[str, ...]


Reply = Say | RunCode | SearchFiles | CallFunctions


class Skill(msgspec.Struct, frozen=True):
    matches: Callable[[Conversation], bool]
    act: Callable[[Conversation], Reply]
    is_last_resort: bool = False
    """It answers what nothing else fits: any function of the caller's comes first."""


def reply(conversation: Conversation) -> Reply:
    """The demo model's next move."""
    if conversation.can_search and not conversation.searches and conversation.forced == conversation.search_name:
        return SearchFiles(_queries(conversation))
    skill = next(skill for skill in SKILLS if skill.matches(conversation))
    answer = _with_functions(conversation, skill) or skill.act(conversation)
    if isinstance(answer, Say) and conversation.must_call and conversation.can_search:
        return SearchFiles(_queries(conversation))
    if isinstance(answer, Say):
        return Say(answer.text + text("signature", conversation.language))
    return answer


def _with_functions(conversation: Conversation, skill: Skill) -> Reply | None:
    """The functions that the message asks for, then an answer from what they gave. None: there is no need of any."""
    is_at_home = (conversation.can_run or conversation.can_search) and not skill.is_last_resort
    if conversation.must_call:  # words will not do
        is_at_home = isinstance(skill.act(conversation), RunCode | SearchFiles)
    if calls := functions.next_calls(conversation, clearly=is_at_home):
        return CallFunctions(calls)
    if not conversation.answered:
        return None
    language = conversation.language
    said = [
        text("function_said", language, call=call, output=_quoted_briefly(conversation, output))
        for call, output in functions.described(conversation.answered)
    ]
    return Say("\n\n".join(said))


def _programmed(
    write: Callable[[Conversation], list[str]], answer: Callable[[Conversation, str], str | None]
) -> Callable[[Conversation], Reply]:
    """Run the programs in turn until one goes through, then answer from its output.

    `answer` gives None when the output does not hold what the program prints.
    """

    def act(conversation: Conversation) -> Reply:
        language, tried = conversation.language, conversation.attempts
        if not conversation.can_run:
            return Say(text("no_interpreter", language))
        error = tried[-1].error if tried else None
        if not tried or error is not None:
            candidates = write(conversation)[:_MAX_ATTEMPTS]
            if len(tried) < len(candidates):
                return RunCode(candidates[len(tried)].strip() + "\n")
            return Say(text("gave_up", language, count=len(tried), error=error))
        output = tried[-1].output
        said = answer(conversation, output)
        if said is None:
            return Say(text("unreadable", language, output=_quoted(conversation, output)))
        if tried[0].error is not None:
            said = text("corrected", language, error=tried[0].error) + said
        return Say(said)

    return act


def _facts(output: str) -> str | None:
    """The bullets a program printed, as a list."""
    facts = [line[len(programs.BULLET) :] for line in output.splitlines() if line.startswith(programs.BULLET)]
    return "\n".join(f"- {fact}" for fact in facts) or None


def _quoted(conversation: Conversation, output: str) -> str:
    output = output.strip()
    if not output:
        return text("nothing_printed", conversation.language)
    shown = output if len(output) <= _MAX_QUOTED else output[:_MAX_QUOTED] + "\n…"
    return "```\n" + shown.replace("```", "'''") + "\n```"


def _quoted_briefly(conversation: Conversation, output: str) -> str:
    """One line as it is, anything longer as a block of its own."""
    quoted = _quoted(conversation, output)
    if "\n" in output:
        return "\n\n" + quoted
    return output or quoted


def _links(paths: list[str]) -> str:
    return ", ".join(f"[{PurePosixPath(path).name}](sandbox:{path})" for path in dict.fromkeys(paths))


def _says(pattern: str) -> Callable[[Conversation], bool]:
    compiled = re.compile(pattern, re.IGNORECASE | re.DOTALL)
    return lambda conversation: compiled.search(conversation.text) is not None


# ---- Python given by the user

_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)
_asks_to_run = _says(r"\b(run|execute|try)\b|실행|돌려")
_WRITTEN = re.compile(
    r"(?:savefig|to_\w+)\(\s*[\"'](/mnt/data/[^\"']+)|open\(\s*[\"'](/mnt/data/[^\"']+)[\"'],\s*[\"'][wax]"
)


def _has_program(conversation: Conversation) -> bool:
    match = _FENCE.search(conversation.text)
    if match is None:
        return False
    around = _FENCE.sub("", conversation.text)
    return not around.strip() or _asks_to_run(msgspec.structs.replace(conversation, text=around))


def _run_program(conversation: Conversation) -> Reply:
    """Run it once, as it is: mending a program of the user's is the user's business."""
    language, tried = conversation.language, conversation.attempts
    match = _FENCE.search(conversation.text)
    code = match[1] if match else ""
    if not conversation.can_run:
        return Say(text("no_interpreter", language))
    if not tried:
        return RunCode(code)
    output = _quoted(conversation, tried[-1].output)
    if (error := tried[-1].error) is not None:
        return Say(text("raised", language, error=error, output=output))
    said = text("ran", language, output=output) if tried[-1].output.strip() else text("ran_silently", language)
    written = [first or second for first, second in _WRITTEN.findall(code)]
    return Say(said + (text("saved", language, links=_links(written)) if written else ""))


# ---- an error, and its correction

_asks_for_error = _says(
    # gaps are bounded everywhere: a message may be long and hostile
    r"\b(show|demonstrate|how)\b.{0,40}\b(fix|correct|recover|handle)\w{0,3}\b.{0,40}\b(error|mistake|bug)"
    r"|\b(error|mistake|bug)s?\b.{0,40}\b(fix|correct)|(오류|에러|실수).{0,20}(고치|고쳐|수정|바로잡)"
)


def _mend(conversation: Conversation) -> Reply:
    language, tried = conversation.language, conversation.attempts
    if not conversation.can_run:
        return Say(text("no_interpreter", language))
    if not tried:
        return RunCode(programs.misspelt(language).lstrip())
    error = tried[-1].error
    if error is not None:
        missing = re.search(r"KeyError: ['\"](.+?)['\"]", tried[-1].output)
        if missing and len(tried) < _MAX_ATTEMPTS:
            return RunCode(programs.respelt(missing[1], language).lstrip())
        return Say(text("gave_up", language, count=len(tried), error=error))
    facts = _facts(tried[-1].output)
    if facts is None or tried[0].error is None:
        return Say(text("unreadable", language, output=_quoted(conversation, tried[-1].output)))
    return Say(text("mended", language, error=tried[0].error, facts=facts))


# ---- equations and sums

_SOLUTION = re.compile(r"^[A-Za-z] = .+$")


def _equations(conversation: Conversation) -> list[expressions.Equation]:
    return expressions.equations(conversation.text)[:_MAX_FORMULAS]


def _solutions(conversation: Conversation, output: str) -> str | None:
    """One sentence for each equation of the output."""
    language = conversation.language
    sentences = []
    for block in output.split("equation: ")[1:]:
        equation, *lines = (line.strip() for line in block.splitlines())
        solutions = [re.sub(r"\bI\b", "i", line) for line in lines if _SOLUTION.match(line)]
        if len(solutions) == 1:
            sentences.append(text("solution", language, equation=equation, solution=solutions[0]))
        elif solutions:
            named = text("and", language).join(f"**{solution}**" for solution in solutions)
            sentences.append(text("solutions", language, equation=equation, solutions=named))
        elif "no solution" in lines:
            sentences.append(text("no_solution", language, equation=equation))
        elif every := next((line for line in lines if line.startswith("every value of ")), None):
            sentences.append(text("every_solution", language, equation=equation, unknown=every[-1]))
    return "\n\n".join(sentences) or None


_asks_for_sum = _says(r"what(?:'s| is)|calculat|compute|how much|=\s*\?|계산|얼마|몇")


def _sum(conversation: Conversation) -> str:
    return expressions.arithmetic(conversation.text) or ""


def _result(conversation: Conversation, output: str) -> str | None:
    result = output.strip().splitlines()[:1]
    if not result:
        return None
    return text("result", conversation.language, expression=_sum(conversation).replace("**", "^"), result=result[0])


# ---- data and charts

_DATA_FILE = re.compile(r"\.(csv|tsv|xlsx|json)$", re.IGNORECASE)
_FILE_NAME = re.compile(r"(?<![\w./-])[\w./-]{1,255}\.(?:csv|tsv|xlsx?|json|pdf|txt|png|md)\b", re.IGNORECASE)

_asks_for_chart = _says(r"\b(chart|plot|graph|draw|sketch|diagram)|visuali[sz]|그래프|차트|시각화|그려|플롯|도표")
_asks_for_file = _says(r"\b(csv|tables?|files?)\b|표|파일")
_asks_about_data = _says(
    r"\b(data|dataset|describe|summar\w+|analy\w+|statistic\w*|average|mean|total|column|row|table|file|csv|tsv|xlsx|json"
    r"|spreadsheet|what|show|explore|report)\b|데이터|자료|분석|요약|설명|통계|평균|합계|열|행|표|파일|무엇|뭐|보여"
)


def _without_file_names(conversation: Conversation) -> Conversation:
    return msgspec.structs.replace(conversation, text=_FILE_NAME.sub(" ", conversation.text))


def _data_file(conversation: Conversation) -> str | None:
    """The file the question names, else the one that came last, leaving aside what the demo model itself saved."""
    paths = [path for path in conversation.files if _DATA_FILE.search(path)]
    named = [path for path in paths if PurePosixPath(path).name in conversation.text]
    given = [path for path in paths if not path.endswith("_summary.csv")]
    return next(reversed(named or given or paths), None)


def _concerns_data(conversation: Conversation) -> bool:
    if _data_file(conversation) is None:
        return False
    return _asks_about_data(conversation) or _asks_for_chart(conversation) or bool(_FILE_NAME.search(conversation.text))


def _describe(conversation: Conversation) -> list[str]:
    return programs.describe(
        _data_file(conversation) or "",
        conversation.text,
        conversation.language,
        chart=_asks_for_chart(conversation),
        save=_asks_for_file(_without_file_names(conversation)),
    )


def _described(conversation: Conversation, output: str) -> str | None:
    facts = _facts(output)
    if facts is None:
        return None
    name = PurePosixPath(_data_file(conversation) or "").name
    said = text("data", conversation.language, name=name, facts=facts)
    saved = re.findall(r"^saved (/mnt/data/\S+)$", output, re.MULTILINE)
    return said + (text("saved", conversation.language, links=_links(saved)) if saved else "")


# ---- several tables, and what they add up to

_TASKS: tuple[tuple[tables.Task, str, Callable[[Conversation], bool]], ...] = (
    (
        "workbook",
        "workbook",
        _says(
            r"\b(add|write|save|put|give|return|new)\b.{0,80}\b(xlsx|excel|workbook|sheet)"
            r"|(xlsx|엑셀|시트).{0,80}(추가|넣|만들|저장|돌려)"
        ),
    ),
    ("forecast", "forecast", _says(r"\bforecast|\bpredict|\bnext (quarter|months?)\b|예측|전망|다음 ?(분기|달)")),
    ("rank", "ranked", _says(r"\btop (\d|three|five|ten)\b|\bbest.sell|\bsells? best\b|상위|순위|(많이|잘) 팔")),
    ("months", "months", _says(r"\bmonthly\b|\b(each|every|per|by) month\b|월별|달별")),
    ("join", "joined", _says(r"\b(join|merge|combine)\w{0,3}\b|\bclean\b|합치|합쳐|결합|병합|정제")),
)
"""What is asked of tables, in order: the task, the text that answers it, and when it is meant."""


def _task(conversation: Conversation) -> tuple[tables.Task, str] | None:
    asked = _without_file_names(conversation)
    return next(((task, answer) for task, answer, is_meant in _TASKS if is_meant(asked)), None)


def _tables(conversation: Conversation) -> list[str]:
    """The data files that were given, not those the demo model itself saved."""
    given = [path for path in conversation.files if _DATA_FILE.search(path)]
    return [path for path in given if not path.endswith("_summary.csv") and not tables.is_own(path)]


def _reckon(conversation: Conversation) -> list[str]:
    task, _ = _task(conversation) or ("join", "")
    return tables.write(task, _tables(conversation), conversation.text, conversation.language)


def _reckoned(conversation: Conversation, output: str) -> str | None:
    facts = _facts(output)
    _, answer = _task(conversation) or ("", "joined")
    if facts is None:
        return None
    said = text(answer, conversation.language, facts=facts)
    saved = re.findall(r"^saved (/mnt/data/\S+)$", output, re.MULTILINE)
    return said + (text("saved", conversation.language, links=_links(saved)) if saved else "")


_NAMED_CURVES = (
    (re.compile(r"\bsine|사인", re.IGNORECASE), expressions.Function("sin(x)", "x")),
    (re.compile(r"\bcosine|코사인", re.IGNORECASE), expressions.Function("cos(x)", "x")),
    (re.compile(r"\bparabola|포물선", re.IGNORECASE), expressions.Function("x**2", "x")),
)
_NUMBER = r"(-?\d{1,9}(?:\.\d{1,9})?)"
_LIMITS = re.compile(rf"(?<![\d.]){_NUMBER} ?(?:to|and|until|~|부터|에서) ?{_NUMBER}", re.IGNORECASE)


def _functions(conversation: Conversation) -> list[expressions.Function]:
    asked = _without_file_names(conversation).text
    found = expressions.functions(asked)
    return (found or [curve for pattern, curve in _NAMED_CURVES if pattern.search(asked)])[:_MAX_FORMULAS]


def _plot(conversation: Conversation) -> list[str]:
    match = _LIMITS.search(conversation.text)
    limits = (float(match[1]), float(match[2])) if match else None
    if limits is not None and limits[0] >= limits[1]:
        limits = None
    return programs.plot(_functions(conversation), limits, conversation.language)


def _plotted(conversation: Conversation, output: str) -> str:
    named = ", ".join(map(str, _functions(conversation)))
    return text("plotted", conversation.language, functions=named, facts=_facts(output) or "").rstrip()


# ---- documents

_asks_of_documents = _says(
    r"\b(documents?|manuals?|handbooks?|guidelines?|polic(y|ies)|contracts?|papers?|articles?|pdf|docx?)\b"
    r"|\baccording to\b|\b(in|from|of) (the|my|these|those|our) files?\b"
    r"|문서|매뉴얼|설명서|안내서|규정|지침|계약서|논문|따르면|파일에서"
)


def _queries(conversation: Conversation) -> tuple[str, ...]:
    return documents.queries(conversation.text) or ("?",)


def _search(conversation: Conversation) -> Reply:
    """Search once, and quote what answers best."""
    if not conversation.searches:
        return SearchFiles(_queries(conversation))
    language, last = conversation.language, conversation.searches[-1]
    quotes = documents.quotes(conversation.text, last.passages)
    if not quotes:
        why = last.output.strip().lstrip("[").partition(". ")[0].rstrip(".]")
        return Say(text("not_found", language, why=why))
    said = [
        text("quoted", language, source=each.passage.source, quote=each.text, marker=each.passage.marker)
        for each in quotes
    ]
    return Say("\n\n".join(said))


# ---- talk

_COUNT = re.compile(r"\bcount (?:\w{1,20} ){0,4}?to (\d{1,6})\b|(\d{1,6})까지\s?(?:\S{1,10}\s)?세", re.IGNORECASE)


def _count(conversation: Conversation) -> Reply:
    match = _COUNT.search(conversation.text)
    last = min(int(match[1] or match[2]), _MAX_COUNT) if match else 0
    return Say(", ".join(map(str, range(1, last + 1))))


def _says_text(key: str) -> Callable[[Conversation], Reply]:
    return lambda conversation: Say(text(key, conversation.language))


def _fallback(conversation: Conversation) -> Reply:
    language = conversation.language
    return Say(text("unknown", language) + text("introduction", language))


SKILLS: tuple[Skill, ...] = (
    Skill(_has_program, _run_program),
    Skill(_asks_for_error, _mend),
    Skill(lambda c: bool(_equations(c)), _programmed(lambda c: programs.solve(_equations(c)), _solutions)),
    Skill(lambda c: _asks_for_chart(c) and bool(_functions(c)), _programmed(_plot, _plotted)),
    Skill(lambda c: bool(_COUNT.search(c.text)), _count),
    Skill(_says(r"^\s*(hi|hello|hey|good (morning|evening|day))\b.{0,20}$|^\s*안녕.{0,10}$"), _says_text("hello")),
    Skill(_says(r"^\s*(thanks|thank you)\b.{0,30}$|^\s*(고마워|감사).{0,10}$"), _says_text("thanks")),
    Skill(
        _says(r"\b(who|what) are you\b|what can you do|^\s*help\W*$|누구|무엇을 할 수|뭘 할 수|도움말"),
        _says_text("introduction"),
    ),
    Skill(lambda c: _asks_for_sum(c) and bool(_sum(c)), _programmed(lambda c: programs.calculate(_sum(c)), _result)),
    Skill(lambda c: c.can_search and _asks_of_documents(c), _search),
    Skill(lambda c: bool(_tables(c) and _task(c)), _programmed(_reckon, _reckoned)),
    Skill(_concerns_data, _programmed(_describe, _described)),
    Skill(lambda c: c.has_images, _says_text("no_images"), is_last_resort=True),
    Skill(
        _asks_for_chart,
        _programmed(lambda _: programs.sample_chart(), lambda c, _: text("sample_chart", c.language)),
    ),
    Skill(lambda c: c.can_search, _search, is_last_resort=True),
    Skill(lambda _: True, _fallback, is_last_resort=True),
)
