"""Composes the HTML files of the page, and collects the files that belong to it."""

from dataclasses import dataclass
from importlib.resources import files
from string import Template

ROOT = files("utils.page")
FOLDER = "static/"  # of all files except index.html, as seen from it

# No inline scripts and styles, so that no name of a file or class can become a part of the page.
# Pictures are those of the user, as blobs.
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'"
)
TOKEN = """\
    <form id="token" class="card" hidden>
      <label for="token-text">This service asks for its token</label>
      <div class="buttons"><input id="token-text" type="password" autocomplete="off" required>
      <button>Use it</button></div>
    </form>
"""
LINKS = {  # as seen from index.html
    "Detect": "",
    "Review": "static/review.html",
    "Curves": "static/curves.html",
    "API": "docs",
}


@dataclass(frozen=True)
class View:
    """One HTML file.

    Attributes:
        name: Its name in `LINKS`, and that of its content and script in lower case.
        title: End of its title.
        heading: Its heading, as HTML.
    """

    name: str
    title: str
    heading: str


DETECT = View("Detect", "detect objects", '<h1 class="unseen">Detect objects in pictures</h1>')
OTHERS = (
    View("Review", "review a dataset", "<h1>Mistakes in a dataset</h1>"),
    View("Curves", "compare runs", "<h1>Training runs</h1>"),
)


def service_files() -> dict[str, bytes]:
    """Returns the files of the page of a service, by path.

    `index.html` is the view at the address of the service; all others are in `FOLDER`.
    """
    privacy = "They are sent to this service only, which keeps none of them."
    composed = {"index.html": _compose(DETECT, FOLDER, _links(DETECT, "./"), TOKEN, privacy)}
    for view in OTHERS:
        text = _compose(view, "", _links(view, "../"), TOKEN)
        composed[f"{FOLDER}{view.name.lower()}.html"] = text
    return {name: text.encode() for name, text in composed.items()} | _static("shared", "service")


def browser_files(policy: str) -> dict[str, bytes]:
    """Returns the files of the page that detects in the browser itself, by path.

    Args:
        policy: Its Content-Security-Policy.
    """
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n  '
    privacy = "They stay in this browser."
    text = _compose(DETECT, FOLDER, privacy=privacy, head=head)
    return {"index.html": text.encode()} | _static("shared", "browser")


def _compose(
    view: View, folder: str, links: str = "", token: str = "", privacy: str = "", head: str = ""
) -> str:
    name = view.name.lower()
    body = (ROOT / "views" / f"{name}.html").read_text("utf-8")
    return Template((ROOT / "frame.html").read_text("utf-8")).substitute(
        head=head,
        title=view.title,
        folder=folder,
        script=f"{name}.js",
        navigation=links,
        heading=view.heading,
        token=token,
        body=Template(body).substitute(privacy=privacy),
    )


def _links(view: View, root: str) -> str:
    """Returns the navigation between the views, as HTML; `root` is the way to `index.html`."""
    lines = ['    <nav aria-label="Views">']
    for name, address in LINKS.items():
        current = ' aria-current="page"' if name == view.name else ""
        lines.append(f'      <a href="{root}{address}"{current}>{name}</a>')
    return "\n".join([*lines, "    </nav>", ""])


def _static(*folders: str) -> dict[str, bytes]:
    return {
        f"{FOLDER}{each.name}": each.read_bytes()
        for folder in folders
        for each in sorted((ROOT / folder).iterdir(), key=lambda each: each.name)
    }
