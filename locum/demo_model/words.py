"""Everything the demo model says, in both languages side by side."""

from __future__ import annotations

from typing import Any

from locum.demo_model.conversation import Language

_TEXTS: dict[str, dict[Language, str]] = {
    "signature": {
        "en": "\n\n*(Locum's built-in demo model)*",
        "ko": "\n\n*(Locum 내장 데모 모델)*",
    },
    "introduction": {
        "en": "I am the demo model built into Locum: a rule-based script, not a language model. I can\n"
        "- solve equations in one unknown (`3x + 11 = 14`) and do sums,\n"
        "- describe and plot data files (csv, tsv, xlsx, json) and save a summary as a csv file,\n"
        "- clean and join tables, chart and rank what they add up to, carry its trend on, and add it to a workbook,\n"
        "- plot functions (`plot y = x^2`),\n"
        "- run Python that you put into a ```python block,\n"
        "- search files and quote what they say, where `file_search` is enabled,\n"
        "- call the functions you offer, when a message has the words of their names,\n"
        "- show you how I fix an error, and count.\n\n"
        "For anything else connect a real model: set `LOCUM_MODEL_BASE_URL` to the address of an OpenAI-compatible "
        "server.",
        "ko": "저는 Locum에 내장된 데모 모델입니다. 언어 모델이 아니라 규칙으로 움직이는 스크립트입니다. "
        "할 수 있는 일:\n"
        "- 미지수가 하나인 방정식 풀기(`3x + 11 = 14`)와 계산\n"
        "- 데이터 파일(csv, tsv, xlsx, json)을 설명하고 그래프로 그리고 요약을 csv 파일로 저장하기\n"
        "- 여러 표를 정리하고 합쳐서 월별 합계와 순위, 추세를 구하고 엑셀 파일에 시트로 추가하기\n"
        "- 함수 그래프 그리기(`y = x^2 그래프를 그려줘`)\n"
        "- ```python 블록에 넣은 파이썬 코드 실행하기\n"
        "- `file_search`가 켜져 있으면 파일을 검색해서 인용하기\n"
        "- 메시지에 이름의 단어가 들어 있으면, 제공하신 함수 호출하기\n"
        "- 오류를 고치는 과정 보여주기, 숫자 세기\n\n"
        "그 밖의 일에는 실제 모델을 연결하세요. `LOCUM_MODEL_BASE_URL`에 OpenAI 호환 서버의 주소를 설정하면 됩니다.",
    },
    "unknown": {
        "en": "I have no rule for this message. ",
        "ko": "이 메시지를 처리할 규칙이 없습니다. ",
    },
    "hello": {
        "en": "Hello! Ask me to solve `3x + 11 = 14`, to plot `sin(x)`, or what I can do.",
        "ko": "안녕하세요! `3x + 11 = 14`를 풀어 달라거나 `sin(x)` 그래프를 그려 달라고 해 보세요. "
        "무엇을 할 수 있는지 물어보셔도 됩니다.",
    },
    "thanks": {"en": "You are welcome.", "ko": "천만에요."},
    "no_interpreter": {
        "en": "I would write Python for this, but the code interpreter is not enabled for this assistant. "
        'Add `{{"type": "code_interpreter"}}` to the `tools` of the assistant (or of the run) and ask again.',
        "ko": "이 일은 파이썬 코드로 해야 하는데, 이 어시스턴트에는 code interpreter가 켜져 있지 않습니다. "
        '어시스턴트(또는 run)의 `tools`에 `{{"type": "code_interpreter"}}`를 추가하고 다시 요청해 주세요.',
    },
    "gave_up": {
        "en": "I could not do it. I tried {count} program(s); the last one failed with `{error}`.",
        "ko": "해내지 못했습니다. 프로그램을 {count}개 시도했고, 마지막 것은 `{error}` 오류로 끝났습니다.",
    },
    "unreadable": {
        "en": "The code interpreter did not give what I expected. It said:\n\n{output}",
        "ko": "code interpreter가 예상한 결과를 주지 않았습니다. 받은 내용:\n\n{output}",
    },
    "quoted": {"en": "From `{source}`: “{quote}” {marker}", "ko": "`{source}`에서: “{quote}” {marker}"},
    "not_found": {
        "en": "I searched the files and found no answer: {why}.",
        "ko": "파일을 검색했지만 답을 찾지 못했습니다: {why}.",
    },
    "function_said": {"en": "`{call}` says: {output}", "ko": "`{call}`의 결과: {output}"},
    "no_images": {
        "en": "I cannot see images. A real model that can is connected with `LOCUM_MODEL_BASE_URL`.",
        "ko": "저는 이미지를 볼 수 없습니다. 이미지를 볼 수 있는 실제 모델은 `LOCUM_MODEL_BASE_URL`로 연결합니다.",
    },
    "nothing_printed": {"en": "(nothing)", "ko": "(출력 없음)"},
    "corrected": {
        "en": "(The first program failed with `{error}`; I corrected it.)\n\n",
        "ko": "(첫 프로그램이 `{error}` 오류로 실패해서 고쳤습니다.)\n\n",
    },
    "solution": {
        "en": "The solution of `{equation}` is **{solution}**.",
        "ko": "`{equation}`의 해는 **{solution}** 입니다.",
    },
    "solutions": {
        "en": "The solutions of `{equation}` are {solutions}.",
        "ko": "`{equation}`의 해는 {solutions} 입니다.",
    },
    "and": {"en": " and ", "ko": ", "},
    "no_solution": {"en": "`{equation}` has no solution.", "ko": "`{equation}`은(는) 해가 없습니다."},
    "every_solution": {
        "en": "Every value of {unknown} solves `{equation}`.",
        "ko": "`{equation}`은(는) 모든 {unknown}에 대해 성립합니다.",
    },
    "data": {"en": "What `{name}` contains:\n\n{facts}", "ko": "`{name}`의 내용입니다.\n\n{facts}"},
    "saved": {"en": "\n\nI saved it as {links}.", "ko": "\n\n결과를 파일로 저장했습니다: {links}"},
    "joined": {
        "en": "I cleaned the data and put it together:\n\n{facts}",
        "ko": "데이터를 정리해서 합쳤습니다.\n\n{facts}",
    },
    "months": {"en": "Month by month:\n\n{facts}", "ko": "월별로 정리했습니다.\n\n{facts}"},
    "ranked": {"en": "In this order:\n\n{facts}", "ko": "순위는 다음과 같습니다.\n\n{facts}"},
    "forecast": {
        "en": "If the trend goes on (a straight line through the last months, nothing cleverer):\n\n{facts}",
        "ko": "최근 몇 달의 추세(직선)가 이어진다면 다음과 같습니다.\n\n{facts}",
    },
    "workbook": {
        "en": "I added a sheet with a chart to a copy of the workbook:\n\n{facts}",
        "ko": "엑셀 파일의 사본에 차트가 있는 시트를 추가했습니다.\n\n{facts}",
    },
    "revenue": {"en": "revenue", "ko": "매출"},
    "month": {"en": "month", "ko": "월"},
    "sheet": {"en": "Monthly", "ko": "월별 합계"},
    "months_of": {"en": "{name} by month", "ko": "월별 {name}"},
    "plotted": {
        "en": "Here is the plot of `{functions}`.\n\n{facts}",
        "ko": "`{functions}`의 그래프입니다.\n\n{facts}",
    },
    "sample_chart": {
        "en": "There is no data here, so I drew a sample chart with made-up monthly numbers. "
        "Attach a csv, tsv, xlsx or json file, or name a function, to see your own.",
        "ko": "데이터가 없어서 지어낸 월별 숫자로 예시 차트를 그렸습니다. "
        "csv, tsv, xlsx, json 파일을 첨부하거나 함수를 알려 주시면 그것을 그리겠습니다.",
    },
    "result": {
        "en": "The result of `{expression}` is **{result}**.",
        "ko": "`{expression}`의 결과는 **{result}** 입니다.",
    },
    "ran": {"en": "I ran your program. It printed:\n\n{output}", "ko": "프로그램을 실행했습니다. 출력:\n\n{output}"},
    "ran_silently": {
        "en": "I ran your program. It printed nothing.",
        "ko": "프로그램을 실행했습니다. 출력은 없습니다.",
    },
    "raised": {
        "en": "I ran your program. It raised `{error}`:\n\n{output}",
        "ko": "프로그램을 실행했더니 `{error}` 오류가 났습니다.\n\n{output}",
    },
    "mended": {
        "en": "My first program asked for a column that does not exist and failed with `{error}`. "
        "I read the name out of the traceback, looked for the closest column, and ran a corrected program:\n\n{facts}",
        "ko": "첫 프로그램은 없는 열을 요청해서 `{error}` 오류로 실패했습니다. "
        "오류 메시지에서 이름을 읽고 가장 비슷한 열을 찾아 고친 프로그램을 실행했습니다.\n\n{facts}",
    },
    # printed by the programs, hence formats of numbers
    "fact_size": {"en": "{rows} rows, {columns} columns: {names}", "ko": "{rows}행 {columns}열: {names}"},
    "fact_number": {
        "en": "{name}: mean {mean:.6g}, min {least:.6g}, max {most:.6g}",
        "ko": "{name}: 평균 {mean:.6g}, 최소 {least:.6g}, 최대 {most:.6g}",
    },
    "fact_text": {
        "en": "{name}: {count} different values, most often {top}",
        "ko": "{name}: 서로 다른 값 {count}개, 가장 많은 값 {top}",
    },
    "fact_missing": {"en": "{count} missing values", "ko": "빠진 값 {count}개"},
    "fact_chart": {"en": "chart: {what}", "ko": "차트: {what}"},
    "fact_lines": {"en": "not a table; {count} lines of text", "ko": "표가 아닙니다. 텍스트 {count}줄"},
    "fact_range": {"en": "from {least:.4g} to {most:.4g}", "ko": "{least:.4g}부터 {most:.4g}까지"},
    "fact_table": {"en": "{name}: {rows} rows", "ko": "{name}: {rows}행"},
    "fact_doubles": {
        "en": "{name}: {count} rows that were there twice removed",
        "ko": "{name}: 중복된 {count}행을 지웠습니다",
    },
    "fact_incomplete": {
        "en": "{name}: {count} rows that lack a number left out",
        "ko": "{name}: 숫자가 빠진 {count}행을 제외했습니다",
    },
    "fact_joined": {"en": "joined on {columns}: {rows} rows", "ko": "{columns} 기준으로 합침: {rows}행"},
    "fact_product": {"en": "{name} = {left} × {right}", "ko": "{name} = {left} × {right}"},
    "fact_sum": {"en": "total of {name}: {total:,.0f}", "ko": "{name} 합계: {total:,.0f}"},
    "fact_most": {"en": "most: {month} with {amount:,.0f}", "ko": "가장 많은 달: {month} ({amount:,.0f})"},
    "fact_least": {"en": "least: {month} with {amount:,.0f}", "ko": "가장 적은 달: {month} ({amount:,.0f})"},
    "fact_rank": {
        "en": "{place}. {name}: {total:,.0f} ({share:.1%})",
        "ko": "{place}위 {name}: {total:,.0f} ({share:.1%})",
    },
    "fact_trend": {
        "en": "over the last {count} months it changed by {slope:+,.0f} a month",
        "ko": "최근 {count}개월 동안 한 달에 {slope:+,.0f}씩 변함",
    },
    "fact_expected": {"en": "{month}: about {amount:,.0f}", "ko": "{month}: 약 {amount:,.0f}"},
    "fact_quarter": {"en": "the three months together: {amount:,.0f}", "ko": "세 달 합계: {amount:,.0f}"},
    "fact_changed": {
        "en": "with prices changed by {percent:+g} % and the same quantities: {amount:,.0f}",
        "ko": "수량이 같고 가격이 {percent:+g}% 바뀌면: {amount:,.0f}",
    },
    "fact_sheet": {
        "en": "sheet `{name}` with {rows} months; sheets now: {sheets}",
        "ko": "시트 `{name}`에 {rows}개월; 지금 있는 시트: {sheets}",
    },
    "fact_total": {"en": "total of {name}: {total}", "ko": "{name} 합계: {total}"},
}


def text(key: str, language: Language, **values: Any) -> str:
    """One text with its blanks filled."""
    return _TEXTS[key][language].format(**values)


def template(key: str, language: Language) -> str:
    """One text with its blanks open, for a program to fill."""
    return _TEXTS[key][language]
