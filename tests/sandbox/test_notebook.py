"""What people and models are used to from notebooks: displays, magics, fonts, and words for what cannot be had here."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from locum.sandbox.inside.shell import PlainShell
from locum.sandbox.isolation import landlock
from locum.sandbox.profile import NOTEBOOK
from locum.sandbox.session import CellResult
from tests.environments import user_python
from tests.sandbox.conftest import Box, start

PLT = "import matplotlib.pyplot as plt\n"


# ---- what a cell shows


@pytest.mark.parametrize(
    ("code", "count", "logs"),
    [
        ("import pandas as pd\npd.DataFrame({'매출': [1, -2]}).plot();", 1, ""),
        ("import pandas as pd\nfor kind in ('bar', 'hist'): pd.Series([1, 2]).plot(kind=kind); plt.show()", 2, ""),
        ("plt.plot([1]); plt.show(); plt.plot([2]); plt.show()", 2, ""),
        ("fig, axes = plt.subplots(); axes.plot([1, 2])\nfig", 1, ""),
        ("fig, axes = plt.subplots(); axes.plot([1, 2]); plt.show()\nplt.show()", 1, ""),
        ("from matplotlib.figure import Figure\nfigure = Figure(); figure.subplots().plot([1]); figure", 1, ""),
        ("import matplotlib; matplotlib.use('Agg')\nplt.plot([1, 2]); plt.show()", 1, ""),
        ("plt.switch_backend('agg'); plt.plot([1, 2]); plt.show()\nprint('after')", 1, "after\n"),
        ("plt.figure(); plt.close()", 0, ""),
        ("from PIL import Image\nImage.new('L', (9, 9))", 1, ""),
        ("from PIL import Image\nImage.new('RGB', (9, 9)).show()", 1, ""),
        (
            "from PIL import Image\ndisplay(Image.new('RGB', (9, 9)), 'words', Image.new('CMYK', (9, 9)))",
            2,
            "'words'\n",
        ),
        ("import seaborn as sns\nsns.set_theme()\nsns.relplot(x=[1, 2], y=[3, 4]);", 1, ""),
        (
            "plt.plot([1, 2]); plt.savefig('chart.jpg'); plt.close()\n"
            "from IPython.display import Image\ndisplay(Image('chart.jpg'))\nImage(filename='chart.jpg')",
            2,
            "",
        ),
        (
            "from matplotlib.animation import FuncAnimation\nfig, axes = plt.subplots(); (line,) = axes.plot([0, 1])\n"
            "FuncAnimation(fig, lambda n: line.set_ydata([0, n]) or [line], frames=3).save('moving.gif')",
            1,
            "",
        ),
    ],
)
def test_whatever_draws_is_seen(code: str, count: int, logs: str, box: Box, key: str) -> None:
    result = box.cell(key, PLT + code)
    assert (len(result.images), result.logs) == (count, logs)
    for image in result.images:
        Image.open(io.BytesIO(box.read(key, image))).load()


def test_an_animation_is_a_gif_with_its_frames(box: Box, key: str) -> None:
    code = (
        "from matplotlib.animation import FuncAnimation\nfig, axes = plt.subplots(); (line,) = axes.plot([0, 1])\n"
        "FuncAnimation(fig, lambda n: line.set_ydata([0, n]) or [line], frames=3).save('moving.gif')"
    )
    (file,) = box.cell(key, PLT + code).files
    with Image.open(io.BytesIO(box.read(key, file))) as image:
        assert (image.format, getattr(image, "n_frames", 0)) == ("GIF", 3)


@pytest.mark.parametrize(
    "draw",
    [
        "axes.set_title('fits')",
        "axes.text(1.5, 0.5, 'far to the right', transform=axes.transAxes)",
        "plt.rcParams['savefig.dpi'] = 150",
        "fig.tight_layout()",
        "fig.suptitle('above'); axes.legend(['line'], loc='center left', bbox_to_anchor=(1, 0.5))",
        "fig.set_facecolor('yellow')",
    ],
)
def test_a_figure_shows_what_a_tight_savefig_would_save(draw: str, box: Box, key: str) -> None:
    result = box.cell(
        key,
        f"{PLT}fig, axes = plt.subplots(); axes.plot([1, 2])\n{draw}\nfig.savefig('own.png', bbox_inches='tight');",
    )
    shown = Image.open(io.BytesIO(box.read(key, result.images[0]))).convert("RGB")
    saved = Image.open(io.BytesIO(box.read(key, result.files[0]))).convert("RGB")
    assert abs(shown.width - saved.width) <= 2
    assert abs(shown.height - saved.height) <= 2
    assert shown.getpixel((3, 3)) == saved.getpixel((3, 3))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("from IPython.display import HTML\nHTML('<style>b {}</style><p>two <b>words</b></p>')", "two words\n"),
        ("from IPython.display import Markdown\ndisplay(Markdown('# Title'))", "# Title\n"),
        ("import pandas as pd\npd.DataFrame({'a': [1], 'b': ['x']}).style", "a\tb\n0\t1\tx\n"),
        (
            "class Chart:\n    def _repr_html_(self): return '<div id=c></div><script>draw()</script>'\nChart()",
            "[Chart: only a browser can show this. To give it to the user, write it to a file in /mnt/data",
        ),
        (
            "class Plotly:\n    def _repr_mimebundle_(self, include=None, exclude=None):\n"
            "        return {'text/html': '<div></div>'}\nPlotly()",
            "[Plotly: only a browser can show this.",
        ),
        (
            "class Own:\n    def _repr_html_(self): return '<b>page</b>'\n    def __repr__(self): return 'mine'\nOwn()",
            "mine\n",
        ),
    ],
)
def test_what_only_a_browser_shows_is_put_into_words(code: str, said: str, box: Box, key: str) -> None:
    logs = box.cell(key, code).logs
    assert logs == said if said.endswith("\n") else logs.startswith(said)


def test_a_wide_table_shows_twenty_columns(box: Box, key: str) -> None:
    logs = box.cell(key, "import numpy as np, pandas as pd\npd.DataFrame(np.zeros((2, 60)))").logs
    assert "50" in logs
    assert "[2 rows x 60 columns]" in logs
    assert max(map(len, logs.splitlines())) <= 120


def test_korean_columns_stand_below_each_other(box: Box, key: str) -> None:
    logs = box.cell(key, "import pandas as pd\npd.DataFrame({'지역': ['서울'], '매출액': [3]})").logs
    assert logs == "   지역  매출액\n0  서울       3\n"


def test_earlier_results_can_be_used(box: Box, key: str) -> None:
    box.cell(key, "6 * 7")
    assert box.cell(key, "_ + 1").logs == "43\n"
    assert box.cell(key, "sorted(Out.values())").logs == "[42, 43]\n"


@pytest.mark.parametrize(
    ("code", "head", "tail"),
    [
        ("for n in range(150_000): print(n)", "0\n1\n2\n", "149998\n149999\n"),
        ("'x' * 3_000_000", "'xxx", "xxx'\n"),
        ("list(range(1_000_000))", "[0,\n 1,\n", " 999,\n ...]\n"),
    ],
)
def test_of_a_lot_the_head_and_the_tail_are_shown(code: str, head: str, tail: str, box: Box, key: str) -> None:
    result = box.cell(key, code)
    assert result.ok
    assert result.logs.startswith(head)
    assert result.logs.endswith(tail)
    assert len(result.logs) < 10_000


def test_a_warning_is_shown_once_with_its_place(box: Box, key: str) -> None:
    logs = box.cell(key, "import warnings\nfor _ in range(3): warnings.warn('careful')").logs
    assert logs == "Cell In[1]:2: UserWarning: careful\n"


# ---- magics and commands


@pytest.mark.parametrize(
    ("code", "logs"),
    [
        ("print('a')\n!echo b\nprint('c')", "a\nb\nc\n"),
        ("found = !echo one; echo two\nfound", "['one', 'two']\n"),
        ("%%bash\nfor n in 1 2; do echo $n; done", "1\n2\n"),
        ("import os; os.mkdir('sub')\n%cd sub\n%cd /mnt/data\n!pwd", "/mnt/data/sub\n/mnt/data\n/mnt/data\n"),
        ("%%writefile /mnt/data/own_module.py\nvalue = 3", "Writing /mnt/data/own_module.py\n"),
        ("import asyncio\nawait asyncio.sleep(0)\nawait asyncio.sleep(0, 'b')", "'b'\n"),
        ("breakpoint()\nprint('on')", "on\n"),
        ("print('안녕 日本語 😀')", "안녕 日本語 😀\n"),
    ],
)
def test_what_a_notebook_takes(code: str, logs: str, box: Box, key: str) -> None:
    result = box.cell(key, code)
    assert (result.logs, result.ok) == (logs, True)


def test_a_cell_can_be_timed(box: Box, key: str) -> None:
    logs = box.cell(key, "%%time\nsum(range(10))").logs
    assert "Wall time" in logs
    assert logs.endswith("45\n")


# ---- what cannot be had, in words


@pytest.mark.parametrize(
    "code",
    [
        "pip install tqdm",
        "%pip install tqdm",
        "!pip install tqdm",
        "!pip3 install tqdm",
        "%conda install tqdm",
        "!uv pip install tqdm",
        "!conda install tqdm",
        "!apt-get install -y fonts-nanum",
        "!python -m pip install tqdm",
        "import subprocess\nsubprocess.run(['pip', 'install', 'tqdm']);",
        "import subprocess, sys\nsubprocess.run([sys.executable, '-m', 'pip', 'install', 'tqdm']);",
        "import os\nos.system('pip install tqdm');",
        "import pip\npip.main(['install', 'tqdm']);",
        "from pip._internal import main",
        "import tqdm_that_nobody_has",
        "import requests\nrequests.get('https://example.com')",
    ],
)
def test_what_cannot_be_installed_is_said_with_what_is_there(code: str, box: Box, key: str) -> None:
    logs = box.cell(key, code).logs
    assert "There is no internet access in this sandbox, so packages cannot be installed" in logs
    for name in ("pandas", "docx", "pptx", "pypdf", "networkx"):
        assert name in logs


@pytest.mark.parametrize(
    "code",
    [
        "import urllib.request\nurllib.request.urlopen('https://example.com/data.csv')",
        "import pandas as pd\npd.read_csv('https://example.com/data.csv')",
        "import socket\nsocket.create_connection(('127.0.0.1', 80))",
        "import http.client\nhttp.client.HTTPSConnection('example.com').request('GET', '/')",
    ],
)
def test_wanting_the_network_fails_in_few_words(code: str, box: Box, key: str) -> None:
    assert_refusal_of_network(box.cell(key, code))


@pytest.mark.long
def test_requests_fails_in_few_words_where_it_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("requests")
    box = start(tmp_path / "sandbox", profile=NOTEBOOK)  # with the packages of the test tools
    try:
        assert_refusal_of_network(box.cell(box.session(), "import requests\nrequests.get('https://example.com')"))
    finally:
        box.close()


def assert_refusal_of_network(result: CellResult) -> None:
    assert not result.ok
    assert result.logs.startswith("Cell In[1], line 2\n")
    assert result.logs.endswith("[There is no network access in this sandbox. Work with the files in /mnt/data.]\n")
    assert len(result.logs) < 600


def test_input_fails_at_once_and_says_what_to_do(box: Box, key: str) -> None:
    result = box.cell(key, "name = input('Name? ')")
    assert result.error == "EOFError"
    assert result.logs.endswith("[Nobody can type anything into a cell: write the value into the code instead.]\n")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("exit()", ""),
        ("quit", ""),
        ("exit(2)", ": 2"),
        ("import sys; sys.exit('bye')", ": bye"),
        ("raise SystemExit", ""),
    ],
)
def test_leaving_ends_the_cell_and_not_the_session(code: str, said: str, box: Box, key: str) -> None:
    box.cell(key, "x = 1")
    result = box.cell(key, code)
    assert result.logs == f"SystemExit{said}\nThe cell ended here. The session goes on, with its variables.\n"
    assert (result.error, box.cell(key, "x").logs) == ("SystemExit", "1\n")


def test_without_ipython_the_same_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    shell = PlainShell()
    assert shell.run("import asyncio\nx = await asyncio.sleep(0, 20)\nawait asyncio.sleep(0, x + 1)") is None
    assert capfd.readouterr().out == "21\n"
    assert shell.run("import socket\nsocket.getaddrinfo('does-not-exist.invalid', 80)") == "gaierror"
    assert "There is no network access in this sandbox." in capfd.readouterr().err
    assert shell.run("import no_such_package_anywhere") == "ModuleNotFoundError"
    assert "packages cannot be installed" in capfd.readouterr().err
    assert shell.run("exit(3)") == "SystemExit"
    assert capfd.readouterr().out.startswith("SystemExit: 3\nThe cell ended here.")


# ---- letters


@pytest.mark.parametrize(
    "style",
    [
        "",
        "import seaborn as sns; sns.set_theme()",
        "import seaborn as sns; sns.set_theme(font='Arial')",
        "plt.style.use('ggplot')",
        "plt.style.use('default')",
        "plt.rcdefaults()",
        "plt.rcParams['font.family'] = 'Malgun Gothic'; plt.rcParams['axes.unicode_minus'] = False",
        "plt.rc('font', family='NanumGothic')",
        "plt.rcParams['font.sans-serif'] = ['SimHei']",
        "plt.rcParams['font.family'] = 'monospace'",
    ],
)
def test_letters_are_drawn_in_whatever_style(style: str, box: Box, key: str) -> None:
    """Boxes in place of letters all look the same; letters do not."""
    code = f"""
{style}
def drawn(text):
    figure = plt.figure(figsize=(1, 1)); figure.text(0.3, 0.3, text, fontsize=30)
    figure.canvas.draw(); pixels = np.asarray(figure.canvas.buffer_rgba()).copy(); plt.close(figure)
    return pixels
for first, second in ("가나", "かア", "汉漢", ("가 $x^2$", "나 $x^2$")):
    one, other, same = drawn(first), drawn(second), drawn(first)
    print((one != other).any(), (one == same).all(), (one != drawn("")).any())
"""
    assert box.cell(key, "import numpy as np\n" + PLT + code).logs == "True True True\n" * 4


def test_a_table_with_korean_names_and_negative_numbers_is_plotted_without_complaint(box: Box, key: str) -> None:
    code = (
        "import pandas as pd, seaborn as sns\n"
        "sales = pd.DataFrame({'월': ['1월', '2월'], '매출': [3, -2]})\n"
        "sales.plot.bar(x='월', y='매출', title='월별 매출 (원)'); plt.show()\n"
        "sns.set_theme(); sns.barplot(data=sales, x='월', y='매출'); plt.title('제목', fontweight='bold');"
    )
    result = box.cell(key, PLT + code)
    assert (len(result.images), result.logs) == (2, "")


def test_letters_that_no_font_has_are_told_once(box: Box, key: str) -> None:
    code = PLT + "plt.plot([1]); plt.title('ሀለሐ'); plt.xlabel('መሠረ'); plt.tight_layout(); plt.show()"
    result = box.cell(key, code)
    assert len(result.images) == 1
    assert result.logs.count("[No font on this server has letters such as") == 1
    assert "locum doctor" in result.logs
    assert len(result.logs.splitlines()) == 1
    assert box.cell(key, code).logs == ""


@pytest.mark.long
def test_fonts_that_came_or_went_since_the_last_start_are_noticed(box: Box, tmp_path: Path) -> None:
    """matplotlib alone would trust the list of fonts it wrote at the first start."""
    directory: Path = box.sandbox._directory
    assert box.cell(box.session(), "1").ok  # it is warm, so the list is there
    (kept,) = (directory / "cache").glob("fontlist-*.json")
    fonts = json.loads(kept.read_text())
    known = [font for font in fonts["ttflist"] if "CJK" not in font["name"] and "Nanum" not in font["name"]]
    assert len(known) < len(fonts["ttflist"])
    gone = {**known[0], "fname": "/usr/share/fonts/gone.ttf", "name": "Gone"}
    cache = tmp_path / "sandbox" / "cache"
    cache.mkdir(parents=True)
    (cache / kept.name).write_text(json.dumps({**fonts, "ttflist": [*known, gone]}))
    again = start(tmp_path / "sandbox", profile=NOTEBOOK, python=user_python())
    try:
        key = again.session()
        assert again.cell(key, "from locum.sandbox.inside import fonts\nprint(*fonts.drawn())").logs.split() == [
            "Korean",
            "Japanese",
            "Chinese",
        ]
        names = {font["name"] for font in json.loads((cache / kept.name).read_text())["ttflist"]}
        assert "Gone" not in names
        assert "Noto Sans CJK KR" in names
    finally:
        again.close()
        shutil.rmtree(tmp_path / "sandbox")


# ---- speed


def test_every_cell_that_warms_up_runs_as_meant(box: Box) -> None:
    assert box.cell(box.session(), "1").ok
    log = (box.sandbox._directory / "sandboxd.log").read_text()
    assert "zygote is warm" in log
    assert "in a cell that warms up" not in log


@pytest.mark.parametrize("name", ["numpy", "pandas", "matplotlib.pyplot", "openpyxl", "PIL.Image"])
def test_what_is_slow_to_load_is_there_from_the_start(name: str, box: Box, key: str) -> None:
    assert box.cell(key, f"import sys\n{name!r} in sys.modules").logs == "True\n"


def test_a_session_that_has_used_pandas_is_small(box: Box, key: str) -> None:
    box.cell(key, "import numpy as np, pandas as pd\nframe = pd.DataFrame(np.random.rand(1000, 8)); frame.describe()")
    code = "sum(int(line.split()[1]) for line in open('/proc/self/smaps_rollup') if line.startswith('Private_'))"
    logs = box.cell(key, code).logs
    if not logs.strip().isdigit():
        pytest.skip("this kernel does not say")
    assert int(logs) < 24 * 1024  # 15 MiB on x86-64


def test_the_thousandth_value_is_shown_like_the_first(box: Box, key: str) -> None:
    box.cell(key, "get_ipython().displayhook.cache_size = 4")
    assert [box.cell(key, f"{number}").logs for number in range(8)] == [f"{number}\n" for number in range(8)]


# ---- elsewhere


@pytest.mark.long
def test_behind_other_walls_the_same_works(tmp_path: Path) -> None:
    """Where a session has its folders elsewhere, what the zygote remembered of its own would not do."""
    if not landlock.version().number:
        pytest.skip("this kernel has no Landlock")
    box = start(tmp_path / "sandbox", profile=NOTEBOOK, mode="weak", python=user_python())
    try:
        key = box.session()
        code = (
            "import pandas as pd\npd.DataFrame({'a': [1]}).to_excel('a.xlsx')\nprint(pd.read_excel('a.xlsx').a.sum())"
        )
        result = box.cell(key, code)
        assert (result.logs, [file.name for file in result.files]) == ("1\n", ["a.xlsx"])
        assert len(box.cell(key, PLT + "plt.plot([1, -2]); plt.title('매출');").images) == 1
        assert "packages cannot be installed" in box.cell(key, "!python -m pip install tqdm").logs
    finally:
        box.close()
