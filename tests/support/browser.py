"""A browser without a window, to look at pages as a reader does."""

import base64
import contextlib
import itertools
import json
import re
import shutil
import subprocess
import urllib.request

import pytest

from support.processes import until

# What the browser is asked about a page: every canvas, below shadow roots too, with its pixels.
_QUESTIONS = """
<script>
const problems = [];
addEventListener("error", (event) => problems.push(event.message));
addEventListener("securitypolicyviolation", (event) => problems.push(event.blockedURI));
function canvases(root) {
  const found = [...root.querySelectorAll("canvas")];
  for (const element of root.querySelectorAll("*")) {
    if (element.shadowRoot) found.push(...canvases(element.shadowRoot));
  }
  return found;
}
function drawn(canvas) {
  if (canvas.width * canvas.height === 0) return false;
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return data.some((value) => value !== 0);
}
addEventListener("load", () => setTimeout(() => {
  const all = canvases(document);
  const answer = {
    problems, canvases: all.length, drawn: all.filter(drawn).length,
    charts: document.querySelectorAll(".chart").length,
    overflow: document.body.scrollWidth - innerWidth,
    requests: performance.getEntriesByType("resource").map((each) => each.name),
  };
  const place = document.createElement("pre");
  place.id = "answer";
  place.textContent = JSON.stringify(answer);
  document.body.append(place);
}, 5000));
</script>
"""


class Browser:
    """Chromium, to which no host exists."""

    def __init__(self, program, folder):
        self._program, self._folder = program, folder

    def _run(self, page, width, height, *options):
        """Load a page and let six seconds of its own time pass, however long they take here."""
        command = [
            *(self._program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *(f"--user-data-dir={self._folder / 'profile'}", "--virtual-time-budget=8000"),
            "--host-resolver-rules=MAP * ~NOTFOUND",
            *(f"--window-size={width},{height}", *options, page.as_uri()),
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)

    def picture(self, page, width, height):
        """Return a picture of a page's first screen, PNG."""
        path = self._folder / "picture.png"
        self._run(page, width, height, f"--screenshot={path}")
        return path

    def facts(self, page, width=390, height=844):
        """Return what a page is made of once it is drawn."""
        asking = self._folder / "asking.html"
        asking.write_text(page.read_text().replace("<title>", f"{_QUESTIONS}<title>", 1))
        text = self._run(asking, width, height, "--dump-dom").stdout
        return json.loads(re.search(r'<pre id="answer">(.*?)</pre>', text)[1])

    @contextlib.contextmanager
    def visit(self, url, width, height):
        """Open a page of this computer, with 3D drawn by the processor, and stay on it.

        Its pictures are half as wide and high: that is four times less to draw.
        """
        # It comes with viser, and this is for viser's pages.
        from websockets.sync.client import connect

        profile = self._folder / "visit"
        command = [
            *(self._program, "--headless", "--no-sandbox", "--hide-scrollbars"),
            *("--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
            "--force-device-scale-factor=0.5",
            *(f"--user-data-dir={profile}", "--remote-debugging-port=0"),
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
            *(f"--window-size={width},{height}", url),
        ]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, **silent)
        try:
            port = profile / "DevToolsActivePort"
            until(lambda: port.exists() and len(port.read_text().split()) == 2)
            debugger = f"http://127.0.0.1:{port.read_text().split()[0]}/json"
            until(lambda: _pages(debugger))
            place = _pages(debugger)[0]["webSocketDebuggerUrl"]
            with connect(place, max_size=None) as connection:
                yield Visit(connection, self._folder / "visit.png")
        finally:
            process.kill()
            process.wait()


def _pages(debugger):
    with urllib.request.urlopen(debugger) as answer:
        return [each for each in json.load(answer) if each["type"] == "page"]


class Visit:
    """A page that stays open, as its browser's debugger sees it."""

    def __init__(self, connection, path):
        self._connection, self._path = connection, path
        self._numbers = itertools.count(1)

    def _ask(self, method, **parameters):
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self._connection.recv())).get("id") != number:
            pass  # an event
        return answer["result"]

    def picture(self):
        """Return a picture of the page as it is now, PNG."""
        data = self._ask("Page.captureScreenshot", format="png")["data"]
        self._path.write_bytes(base64.b64decode(data))
        return self._path

    def requests(self):
        """Return the addresses of all that the page has fetched beside itself."""
        names = "JSON.stringify(performance.getEntriesByType('resource').map((each) => each.name))"
        return json.loads(self._ask("Runtime.evaluate", expression=names)["result"]["value"])


@pytest.fixture
def browser(tmp_path_factory):
    """The browser of this computer."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip(f"no browser to look at pages with: none of {', '.join(names)} is installed")
    return Browser(program, tmp_path_factory.mktemp("browser"))
