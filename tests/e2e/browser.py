"""Drives a headless Chromium through chromedriver's WebDriver interface; the standard library is enough.

SPDX-License-Identifier: MIT
"""

import base64
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

KEYS = dict(
    ENTER="\ue007",
    SHIFT="\ue008",
    TAB="\ue004",
    ESC="\ue00c",
    LEFT="\ue012",
    UP="\ue013",
    RIGHT="\ue014",
    DOWN="\ue015",
    HOME="\ue011",
    END="\ue010",
    CONTROL="\ue009",
)
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


def missing():
    """Why there can be no browser, or None."""
    for program in ("chromium", "chromedriver"):
        if not shutil.which(program):
            return f"{program} is not installed (tools/setup.sh test)"
    return None


class BrowserError(Exception):
    pass


class Browser:
    """One window. Close it with close(), or use it with `with`."""

    def __init__(self, width=1280, height=800):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.folder = tempfile.TemporaryDirectory(prefix="lever_page_")
        self.driver = subprocess.Popen(
            ["chromedriver", f"--port={port}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": self.folder.name},
        )
        self.base = f"http://127.0.0.1:{port}"
        try:
            self.wait_for_driver()
            self.session = f"/session/{self.open_session(width, height)}"
        except BaseException:
            self.end_driver()
            raise

    def wait_for_driver(self):
        for _ in range(300):
            try:
                if self.call("GET", "/status")["ready"]:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise BrowserError("chromedriver does not answer")

    def open_session(self, width, height):
        arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            f"--window-size={width},{height}",
            f"--user-data-dir={self.folder.name}/profile",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ]
        always = {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments, "binary": shutil.which("chromium")},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        return self.call("POST", "/session", {"capabilities": {"alwaysMatch": always}})["sessionId"]

    def call(self, method, path, body=None):
        data = None if method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(
            self.base + path, data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as e:
            raise BrowserError(json.load(e)["value"]["message"].split("\n")[0]) from None

    def do(self, method, path, body=None):
        return self.call(method, self.session + path, body)

    def close(self):
        try:
            self.do("DELETE", "")
        except (OSError, BrowserError):
            pass
        self.end_driver()

    def end_driver(self):
        self.driver.terminate()
        self.driver.wait()
        self.folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- what tests do

    def open(self, url):
        self.do("POST", "/url", {"url": url})

    def js(self, script, *args):
        """The value of an expression, or of a function body with `return`."""
        text = script if "return " in script else f"return ({script});"
        return self.do("POST", "/execute/sync", {"script": text, "args": list(args)})

    def wait(self, script, seconds=60):
        """Until the expression is true; returns its value."""
        end = time.monotonic() + seconds
        while True:
            value = self.js(script)
            if value:
                return value
            if time.monotonic() > end:
                raise AssertionError(f"not true within {seconds} s: {script}")
            time.sleep(0.05)

    def element(self, css):
        return {ELEMENT: self.do("POST", "/element", {"using": "css selector", "value": css})[ELEMENT]}

    def click(self, css):
        self.do("POST", f"/element/{self.element(css)[ELEMENT]}/click")

    def hover(self, css):
        move = {"type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": self.element(css)}
        pointer = {
            "type": "pointer",
            "id": "mouse",
            "parameters": {"pointerType": "mouse"},
            "actions": [move],
        }
        self.do("POST", "/actions", {"actions": [pointer]})

    def keys(self, *names, hold=None):
        """Press keys: names of KEYS, or text. hold: a key that is held down meanwhile."""
        actions = [{"type": "keyDown", "value": KEYS[hold]}] if hold else []
        for name in names:
            for character in [KEYS[name]] if name in KEYS else name:
                actions += [{"type": "keyDown", "value": character}, {"type": "keyUp", "value": character}]
        if hold:
            actions.append({"type": "keyUp", "value": KEYS[hold]})
        self.do("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def devtools(self, command, **params):
        return self.do("POST", "/goog/cdp/execute", {"cmd": command, "params": params})

    def size(self, width, height, mobile=False, scale=1):
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=mobile,
        )

    def media(self, **features):
        """media(prefers_color_scheme="dark"); without any: as the system likes."""
        pairs = [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()]
        self.devtools("Emulation.setEmulatedMedia", features=pairs)

    def log(self):
        """What the console got since the last call."""
        return self.do("POST", "/se/log", {"type": "browser"})

    def picture(self, path):
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.do("GET", "/screenshot")))
