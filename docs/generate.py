"""Write the reference pages that are made from tables in the code: `python docs/generate.py`. A test compares them."""

from __future__ import annotations

from pathlib import Path

from locum.settings import ModelTable, Settings

SETTINGS = Path(__file__).parent / "settings.md"


def settings_page() -> str:
    """The page of all settings."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "-" if default in (None, {}) else f"`{default}`"
        variable = '`[models."…"]` in `locum.toml`' if name == "models" else f"`LOCUM_{name.upper()}`"
        rows.append(f"| {variable} | {shown} | {field.description} |")
    return "\n".join(
        [
            "# Settings",
            "",
            "Every setting is a variable in the environment, or a key of the same name in lower case without `LOCUM_`",
            "in `locum.toml` in the directory the server is started in. A flag of `locum serve` wins over a variable,",
            "a variable over the file. Every command refuses a file of another user (root excepted), and one that any",
            "user can write: its addresses could otherwise receive keys from the environment.",
            "",
            "| setting | default | what it is for |",
            "|---|---|---|",
            *rows,
            "",
            'Keys of a `[models."name"]` table; each that is left out has the value of the default server:',
            "",
            "| key | what it is for |",
            "|---|---|",
            *(f"| `{name}` | {field.description} |" for name, field in ModelTable.model_fields.items()),
            "",
        ]
    )


if __name__ == "__main__":
    SETTINGS.write_text(settings_page())
