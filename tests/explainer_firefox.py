"""Drive a stock Firefox by WebDriver BiDi, JSON over a web socket: no driver and no package of its own."""

import json
import re
import subprocess
import time

import websocket  # comes with Jupyter

KEYS = {"ArrowLeft": "\ue012", "ArrowUp": "\ue013", "ArrowRight": "\ue014", "ArrowDown": "\ue015",
        "Enter": "\ue007", "Tab": "\ue004", "PageDown": "\ue00f"}  # fmt: skip


class Firefox:
    """`with Firefox(executable, folder) as firefox:`: one tab, whose errors and requests are noted.

    Its profile goes into the folder. (Without a screen it does not answer Enter on a button: click.)
    """

    def __init__(self, executable, profile):
        command = [
            executable,
            "--headless",
            "--no-remote",
            "--profile",
            profile,
            "--remote-debugging-port",
            "0",
        ]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        said = iter(self.process.stderr.readline, "")
        address = next(found[1] for line in said if (found := re.search(r"listening on (ws://\S+)", line)))
        self.socket = websocket.create_connection(f"{address}/session", timeout=60, suppress_origin=True)
        self.errors, self.requests, self.count = [], [], 0
        self.send("session.new", capabilities={})
        self.tab = self.send("browsingContext.getTree")["contexts"][0]["context"]
        self.send("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.socket.close()
        self.process.terminate()
        self.process.communicate()

    def send(self, method, **params):
        """A command -> its result. Raises RuntimeError with Firefox's words."""
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("method") == "log.entryAdded" and message["params"]["level"] == "error":
                self.errors.append(message["params"]["text"])
            if message.get("method") == "network.beforeRequestSent":
                self.requests.append(message["params"]["request"]["url"])
            if message.get("id") == self.count:
                if message["type"] == "error":
                    raise RuntimeError(message["message"])
                return message["result"]

    def open(self, address):
        self.send("browsingContext.navigate", context=self.tab, url=address, wait="complete")

    def evaluate(self, expression):
        """JavaScript -> its value, by JSON."""
        result = self.send(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({expression})))()",
            target={"context": self.tab},
            awaitPromise=True,
        )
        if result["type"] == "exception":
            raise RuntimeError(result["exceptionDetails"]["text"])
        return json.loads(result["result"].get("value", "null"))

    def wait(self, expression):
        until = time.monotonic() + 30
        while not self.evaluate(expression):
            assert time.monotonic() < until, f"never true: {expression}"
            time.sleep(0.05)

    def press(self, selector, *keys):
        """Keys, where `selector` has the focus."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        steps = [{"type": kind, "value": KEYS.get(key, key)} for key in keys for kind in ("keyDown", "keyUp")]
        self._act({"type": "key", "id": "keys", "actions": steps})

    def click(self, selector, x=0.5, y=0.5):
        """The mouse, at a share of the width and height of an element."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.evaluate(f"({element}.scrollIntoView({{ block: 'center' }}), 0)")
        left, top, width, height = self.evaluate(
            f"['left', 'top', 'width', 'height'].map((side) => {element}.getBoundingClientRect()[side])"
        )
        steps = [{"type": "pointerMove", "x": round(left + x * width), "y": round(top + y * height)}]
        steps += [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        self._act({"type": "pointer", "id": "mouse", "actions": steps})

    def _act(self, actions):
        self.send("input.performActions", context=self.tab, actions=[actions])
