"""Pages: templates with what every one of them gets, and the page that says what went wrong."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastapi import Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from assent.store import Person
from assent.web import text
from assent.web.access import csrf_token

if TYPE_CHECKING:
    from assent.web.state import Server

TEMPLATES: Final = Path(__file__).parent / "templates"
STATIC: Final = Path(__file__).parent / "static"


def make_templates() -> Jinja2Templates:
    """The templates; everything put into them is escaped unless a filter of ours made it safe."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        markdown=text.markdown,
        plain=text.plain,
        prose=text.prose,
        line=text.line,
        visible_name=text.name,
        when=_when,
    )
    return Jinja2Templates(env=environment)


def page(request: Request, name: str, data: object, status: int = 200) -> HTMLResponse:
    """A page with what every page gets."""
    server: Server = request.app.state.server
    person: Person | None = getattr(request.state, "person", None)
    token: str | None = getattr(request.state, "token", None)
    context = {
        "me": None if person is None else _me(person),
        "csrf_token": "" if token is None else csrf_token(token),
        "project": server.name,
        "page": name.removesuffix(".html"),
        "path": request.url.path,
        "data": data,
    }
    return server.templates.TemplateResponse(request, name, context, status)


def error_page(request: Request, status: int, title: str, detail: str) -> HTMLResponse:
    """The page that says what went wrong and what to do."""
    return page(request, "error.html", {"status": status, "title": title, "detail": detail}, status)


def _me(person: Person) -> dict[str, Any]:
    return {
        "annotator": person.annotator_id,
        "name": person.name,
        "role": person.role,
        "has_password": person.has_password,
    }


def _when(moment: str | datetime | None) -> Markup:
    """A time as `2026-01-31 12:00 UTC`, with the exact one for programs."""
    if moment is None:
        return Markup("\N{EN DASH}")
    text_ = moment if isinstance(moment, str) else moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    shown = text_[:16].replace("T", " ")
    return Markup('<time datetime="{}">{} UTC</time>').format(escape(text_), escape(shown))
