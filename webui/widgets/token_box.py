"""Tokens of the sites that models come from: typed once, kept by the engine, never shown again."""

from __future__ import annotations

from typing import Any

import gradio as gr

from engine.downloads.tokens import TITLES, VARIABLES, delete_token, save_token, token_of
from engine.errors import EngineError
from webui.context import Context, reported
from webui.i18n import label, t
from webui.widgets.html import tag, text
from webui.widgets.notices import problem

DELETE = """
element.addEventListener('click', (event) => {
    const button = event.target.closest('[data-site]');
    if (button) trigger('select', { site: button.dataset.site });
});
"""


class TokenBox:
    """Components in the place where it is made. Attributes: `fill`, with `fill_outputs`."""

    def __init__(self, context: Context) -> None:
        self.context, self.workspace = context, context.workspace
        private = gr.InputHTMLAttributes(autocomplete="off", spellcheck=False)
        self.saved = gr.HTML(elem_id="settings-tokens", js_on_load=DELETE)
        self.fields = {
            site: gr.Textbox(
                label=label(f"set.token_{site}"), type="password", lines=1, max_lines=1, html_attributes=private,
                elem_id=f"settings-token-{site}",
            )
            for site in TITLES
        }  # fmt: skip
        save = gr.Button(label("set.token_save"), elem_id="settings-token-save", size="md")
        self.trouble = gr.HTML(elem_id="settings-token-trouble", visible=False)
        self.fill_outputs: list[Any] = [self.saved]
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
        outputs = [self.saved, self.trouble, *self.fields.values()]
        save.click(self._save, list(self.fields.values()), outputs, **quiet)
        self.saved.select(self._delete, None, [self.saved, self.trouble], **quiet)

    def fill(self, request: gr.Request) -> list[Any]:
        return [self._html(self.context.language(request))]

    def _save(self, request: gr.Request, *typed: str) -> list[Any]:
        """Keep what was typed; the fields are emptied, whatever happens."""
        problems: list[EngineError] = []
        with reported(problems):
            self.context.check_owner(request)
            for site, token in zip(self.fields, typed, strict=True):
                if token.strip():
                    save_token(site, token, self.workspace)
        return [*self._shown(request, problems), *[""] * len(self.fields)]

    def _delete(self, request: gr.Request, event: gr.EventData) -> list[Any]:
        problems: list[EngineError] = []
        site = str(event._data.get("site", ""))
        with reported(problems):
            self.context.check_owner(request)
            if site in TITLES:
                delete_token(site, self.workspace)
        return self._shown(request, problems)

    def _shown(self, request: gr.Request, problems: list[EngineError]) -> list[Any]:
        language = self.context.language(request)
        html = problem(problems[0], language) if problems else ""
        return [self._html(language), gr.update(value=html, visible=bool(html))]

    def _html(self, language: str) -> str:
        """Of each site whether there is a token and where it is from."""
        rows = ""
        for site, title in TITLES.items():
            origin = token_of(site, self.workspace)[1]
            words = t(f"text.set.token_{origin or 'none'}", language, variable=VARIABLES[site])
            delete = text("button", t("text.set.token_delete", language), type="button", class_="insert", data_site=site)
            rows += tag("li", text("strong", title) + text("span", words) + (delete if origin == "saved" else ""))
        return text("p", t("text.set.tokens_help", language), class_="hint") + tag("ul", rows, class_="plain tokens-kept")
