"""Shared: Chromium without a window, led through its DevTools protocol over two pipes. Standard library only."""
import base64
import contextlib
import fcntl
import json
import os
import pathlib
import queue
import shutil
import tempfile
import threading
import time

NAMES = ("chromium", "chromium-browser", "google-chrome")
KEYS = {"Enter": 13, "Tab": 9}


class BrowserError(Exception):
    pass


class Browser:
    """One browser with one page. What the browser tells unasked is kept in `events`, in its order."""

    def __init__(self, command):
        # It reads from its descriptor 3 and writes to 4. The ends lie high, so that neither covers the other.
        (theirs_in, ours_out), (ours_in, theirs_out) = (os.pipe(), os.pipe())
        high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20) for end in (theirs_in, theirs_out)]
        actions = [(os.POSIX_SPAWN_DUP2, high[0], 3), (os.POSIX_SPAWN_DUP2, high[1], 4)]
        actions += [(os.POSIX_SPAWN_OPEN, out, os.devnull, os.O_WRONLY, 0) for out in (1, 2)]
        self.process = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
        for end in (theirs_in, theirs_out, *high):
            os.close(end)
        self.input, self.output = os.fdopen(ours_out, "wb", buffering=0), os.fdopen(ours_in, "rb")
        self.events, self.answers, self.count, self.session = [], {}, 0, None
        threading.Thread(target=self.listen, daemon=True).start()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def listen(self):
        """Messages end with a zero byte."""
        rest = b""
        while part := self.output.read1(1 << 20):
            *whole, rest = (rest + part).split(b"\0")
            for message in map(json.loads, whole):
                if "id" in message:
                    self.answers.pop(message["id"]).put(message)
                else:
                    self.events.append(message)
        for waiting in list(self.answers.values()):
            waiting.put({"error": {"message": "the browser has ended"}})

    def call(self, method, **parameters):
        self.count += 1
        answer = self.answers[self.count] = queue.Queue()
        message = {"id": self.count, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.input.write(json.dumps(message).encode() + b"\0")
        try:
            told = answer.get(timeout=60)
        except queue.Empty:
            raise BrowserError(f"no answer to {method} within a minute") from None
        if "error" in told:
            raise BrowserError(f"{method}: {told['error']['message']}")
        return told["result"]

    def close(self):
        self.session = None
        with contextlib.suppress(BrowserError, OSError):
            self.call("Browser.close")
        # Without its pipe it ends in any case.
        self.input.close()
        os.waitpid(self.process, 0)

    # MARK: What a reader of the page does

    def open(self, address):
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete'")

    def reload(self):
        self.run("window.isOld = true")
        self.call("Page.reload")
        self.until("!window.isOld && document.readyState === 'complete'")

    def run(self, script):
        """What the script's last expression is, as JSON carries it."""
        told = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise BrowserError(f"{script}: {told['exceptionDetails'].get('exception', {}).get('description')}")
        return told["result"].get("value")

    def until(self, script, seconds=30):
        """Waits until the script gives something true, and returns that."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            # While a page goes and another comes there is nothing to ask.
            with contextlib.suppress(BrowserError):
                if value := self.run(script):
                    return value
            time.sleep(0.02)
        raise BrowserError(f"not true within {seconds} s: {script}")

    def click(self, selector):
        """With the mouse, in the middle of what has to be seen for it."""
        place = self.run(f"""(() => {{
          const element = document.querySelector({json.dumps(selector)});
          element.scrollIntoView({{ block: 'nearest' }});
          const box = element.getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2;
          const met = document.elementFromPoint(x, y);
          return box.width && element.contains(met) ? {{ x, y }} : null;
        }})()""")
        if not place:
            raise BrowserError(f"{selector} cannot be clicked: something lies over it, or it has no size")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def write(self, selector, text):
        """In place of what stands there."""
        self.click(selector)
        self.run(f"document.querySelector({json.dumps(selector)}).select()")
        self.call("Input.insertText", text=text)

    def press(self, key, modifiers=0):
        code = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key], "modifiers": modifiers}
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def shape(self, width, height, scale=1, dark=False, mobile=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                  mobile=mobile)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def picture(self, path):
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextlib.contextmanager
def browsing():
    """Yields a `Browser` with a profile of its own, which goes with it."""
    name = next(filter(shutil.which, NAMES), None)
    if not name:
        raise BrowserError("no Chromium here: apt-get install chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser([
            name, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--hide-scrollbars", "--disable-extensions", "--disable-background-networking",
            "--disable-component-update", "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"])
        try:
            yield browser
        finally:
            browser.close()
