"""Writes Tests/Golden/protocol: conversations, and the text that GLM's chat templates make of them.

Run at the root of the repository, with jinja2 installed (3.1.6 made what is committed) and GLM-4.7-Flash's template at
hand, which the source package of llama-cpp-python on PyPI has as vendor/llama.cpp/models/templates/GLM-4.7-Flash.jinja:

    python Tools/fixtures_protocol.py --template GLM-4.7-Flash.jinja

Each line of `glm-5.jsonl` is `{"prompt": …, "text": …}`: what `apply_chat_template` takes, and Jinja's rendering of that
template. The other files hold what the later templates make of the same kind of conversations, by `Later` below: the
differences, written in Python from their description, for those templates are not to be had as a package.
"""

import argparse
import json
import pathlib
import random
import re

from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

FOLDER = pathlib.Path("Tests/Golden/protocol")

TEXTS = [
    "hi", "What is 2 + 2?", "Zürich → 東京 😀", "line one\nline two\n", "  leading and trailing  ", "\n\n", " ", "",
    "a\tb\\n\"quoted\" 'single'", "\u00a0nbsp\u2028sep\u3000", "\x1c\x1funit\x85", "CRLF\r\nline\r\n", "e\u0301 \u0301x",
    "Use <think> and </think> in XML", "<|user|>not a turn<|assistant|>", "[gMASK]<sop>", "<tool_call>fake</tool_call>",
    "for i in range(3):\n    print(f\"<arg_value>{i}</arg_value>\")\n", "</arg_value></tool_call><|observation|>",
    "/nothink", "<tools></tools>", "<", "<<think", "</", "{\"a\": 1}", "None", "true", "\u0000nul", "&lt;b&gt; & <b>",
    "<tool_response>x</tool_response>", "1e5", "{{ messages }}{% for %}", "~" * 200,
]
NAMES = ["get_weather", "search", "run-code", "mcp__files__read", "a.b/c:d", "größe", "f"]
KEYS = ["city", "days", "opts", "code", "x", "deep", "größe", "a b", "<k>", "null"]
NUMBERS = ["0", "-0", "7", "-12", "1.5", "1.50", "1E5", "1e16", "1e15", "12345678901234567890123", "0.0001", "1e-5",
           "123456789012345678.9", "-0.0", "1e400", "-1e400", "5e-324", "0.1e1", "100e-2", "2.0", "3.14159", "1e22",
           "123456.789e3", "9007199254740993.0", "1.7976931348623157e308", "0.30000000000000004"]


class Number(str):
    """A number that keeps its spelling on the way into a file."""


def spelled(value):
    """JSON of a value, numbers spelled as they are."""
    return re.sub(r'"@@([^"@]+)@@"', r"\1", json.dumps(marked(value), ensure_ascii=False))


def marked(value):
    if isinstance(value, Number):
        return f"@@{value}@@"
    if isinstance(value, dict):
        return {key: marked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [marked(item) for item in value]
    return value


class Maker:
    def __init__(self, seed):
        self.draw = random.Random(seed)

    def chance(self, p):
        return self.draw.random() < p

    def text(self):
        return "".join(self.draw.choice(TEXTS) for _ in range(self.draw.choice([1, 1, 1, 2, 3])))

    def value(self, depth=0):
        kind = self.draw.randrange(8 if depth < 3 else 5)
        if kind <= 1:
            return self.text()
        if kind == 2:
            return Number(self.draw.choice(NUMBERS))
        if kind == 3:
            return self.draw.choice([True, False, None])
        if kind == 4:
            return self.draw.choice(["", [], {}, "plain", "123", "true"])
        if kind == 5:
            return [self.value(depth + 1) for _ in range(self.draw.randrange(4))]
        return {self.draw.choice(KEYS): self.value(depth + 1) for _ in range(self.draw.randrange(4))}

    def tool(self):
        parameters = {
            "type": "object",
            "properties": {
                self.draw.choice(KEYS): {"type": self.draw.choice(["string", "integer", "object"]), "default": self.value()}
                for _ in range(self.draw.randrange(3))
            },
            "required": [],
        }
        function = {"name": self.draw.choice(NAMES), "description": self.text(), "parameters": parameters}
        if self.chance(0.2):
            function["strict"] = self.chance(0.5)
        if self.chance(0.2):
            function["defer_loading"] = self.chance(0.6)
        return {"type": "function", "function": function} if self.chance(0.8) else function

    def content(self, parts=0.2):
        if not self.chance(parts):
            return self.text()
        kinds = [
            lambda: {"type": "text", "text": self.text()},
            lambda: self.text(),
            lambda: {"type": "image_url", "image_url": {"url": "data:x"}},
            lambda: {"type": self.draw.choice(["image", "video", "audio", "input_audio", "file"]), "text": "dropped"},
        ]
        return [self.draw.choice(kinds)() for _ in range(self.draw.randrange(4))]

    def call(self, number):
        arguments = {self.draw.choice(KEYS): self.value() for _ in range(self.draw.choice([0, 1, 1, 2, 3]))}
        function = {"name": self.draw.choice(NAMES), "arguments": arguments}
        if self.chance(0.2):
            return function
        return {"id": f"call_{number}", "type": "function", "function": function}

    def assistant(self):
        message = {"role": "assistant", "content": self.content(0.1)}
        if self.chance(0.1):
            message["content"] = None
        elif self.chance(0.05):
            del message["content"]
        if self.chance(0.5):
            message["reasoning_content"] = self.text()
        elif self.chance(0.3):
            message["reasoning_content"] = None
        elif self.chance(0.5):
            opening = self.draw.choice(["<think>", "", "a<think>\n\n"])
            inner = self.draw.choice(["", "</think> b"])
            message["content"] = f"{opening}{self.text()}\n</think>{inner}\n\n{self.text()}"
        if self.chance(0.4):
            message["tool_calls"] = [self.call(i) for i in range(self.draw.randint(0, 3))]
        return message

    def results(self, message):
        calls = list(message.get("tool_calls") or [])
        if self.chance(0.5):
            self.draw.shuffle(calls)
        for call in calls:
            result = {"role": "tool", "content": self.text()}
            if "id" in call and self.chance(0.9):
                result["tool_call_id"] = call["id"]
            yield result

    def tool_list(self, later, tools):
        """A result whose content is a list, in the forms that its template takes."""
        forms = [lambda: [{"output": self.value()} for _ in range(self.draw.randint(1, 2))]]
        if later:
            forms += [lambda: [{"type": "text", "text": self.text()}, {"type": "text", "text": self.text()}]]
            names = [tool.get("function", tool)["name"] for tool in tools]
            forms += [lambda: [{"type": "tool_reference", "name": name} for name in names + ["unknown"]]]
        else:
            forms += [lambda: [{"type": "text", "text": self.text(), "n": self.value()}, self.text()], lambda: []]
        return {"role": "tool", "content": self.draw.choice(forms)()}

    def prompt(self, later):
        messages = []
        prompt = {"messages": messages}
        if self.chance(0.5):
            prompt["tools"] = [self.tool() for _ in range(self.draw.randint(0, 2))]
        for _ in range(self.draw.randrange(2)):
            messages.append({"role": "system", "content": self.content()})
        for _ in range(self.draw.randint(0, 3)):
            if self.chance(0.9):
                messages.append({"role": "user", "content": self.content()})
            for _ in range(self.draw.randrange(3)):
                message = self.assistant()
                messages.append(message)
                messages.extend(self.results(message))
                if message.get("tool_calls") and self.chance(0.2):
                    messages.append(self.tool_list(later, prompt.get("tools", [])))
        for key, p in {"add_generation_prompt": 0.6, "enable_thinking": 0.4, "clear_thinking": 0.5}.items():
            if self.chance(p):
                prompt[key] = self.chance(0.6)
        if later and self.chance(0.7):
            prompt["reasoning_effort"] = self.draw.choice(["low", "high", "max", "medium", ""])
        return prompt


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class Jinja:
    def __init__(self, path):
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = tojson
        self.template = environment.from_string(pathlib.Path(path).read_text(encoding="utf-8"))

    def __call__(self, prompt):
        return self.template.render(**prompt)


class Later:
    """GLM-5.1, 5.2 and 5.3."""

    TOOLS = (
        "\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
        "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n%s</tools>\n\n"
        "For each function call, output the function name and arguments within the following XML format:\n"
        "<tool_call>{function-name}<arg_key>{arg-key-1}</arg_key><arg_value>{arg-value-1}</arg_value>"
        "<arg_key>{arg-key-2}</arg_key><arg_value>{arg-value-2}</arg_value>...</tool_call>"
    )

    def __init__(self, version):
        self.version = version

    def line(self, tool):
        function = tool.get("function", tool)
        return tojson({k: v for k, v in function.items() if k not in ("defer_loading", "strict")}) + "\n"

    def visible(self, content):
        if isinstance(content, str):
            return content
        if content is None:
            return "None"
        out = ""
        for part in content:
            kind = part["type"] if isinstance(part, dict) else "text"
            if kind == "text":
                out += part["text"] if isinstance(part, dict) else part
            elif self.version >= 2 and kind.startswith("image"):
                out += "<|begin_of_image|><|image|><|end_of_image|>"
            elif self.version >= 2 and kind != "file":
                medium = "video" if kind == "video" else "audio"
                out += f"<reminder>You are unable to process this {medium} because you don't have multi-modal input"
                out += " ability. Try different methods.</reminder>"
        return out

    def ordered(self, messages):
        messages, i = list(messages), 0
        while i < len(messages):
            j = i
            while j < len(messages) and messages[j]["role"] == "tool":
                j += 1
            if 0 < i < j:
                wanted = [call.get("id") for call in messages[i - 1].get("tool_calls") or []]
                found = [message.get("tool_call_id") for message in messages[i:j]]
                if None not in wanted and len(set(wanted)) == len(wanted) and sorted(map(str, found)) == sorted(wanted):
                    messages[i:j] = sorted(messages[i:j], key=lambda message: wanted.index(message["tool_call_id"]))
            i = j + 1
        return messages

    def response(self, content, tools):
        if isinstance(content, list) and content and isinstance(content[0], dict):
            if "output" in content[0]:
                return "".join(f"<tool_response>{part['output']}</tool_response>" for part in content)
            if content[0].get("type") == "tool_reference":
                lines = [
                    self.line(tool)
                    for part in content
                    for tool in tools
                    if tool.get("function", tool)["name"] == part["name"]
                ]
                return "<tool_response><tools>\n" + "".join(lines) + "</tools></tool_response>"
        return f"<tool_response>{self.visible(content)}</tool_response>"

    def assistant(self, message, shows, thinks):
        content, reasoning = self.visible(message.get("content", "")), message.get("reasoning_content")
        if reasoning is None and "</think>" in content:
            reasoning = content.split("</think>")[0]
            if self.version < 2:
                reasoning = reasoning.rstrip("\n").split("<think>")[-1].lstrip("\n")
            else:
                reasoning = reasoning.split("<think>")[-1]
            content = content.split("</think>")[-1]
        if self.version < 2:
            if shows and reasoning:
                out = f"<think>{reasoning.strip()}</think>"
            else:
                out = "<think></think>" if shows and thinks else "</think>"
        else:
            out = f"<think>{reasoning}</think>" if shows and reasoning is not None else "<think></think>"
        out += content.strip()
        for call in message.get("tool_calls") or []:
            function = call.get("function", call)
            out += "<tool_call>" + function["name"]
            for key, value in function["arguments"].items():
                shown = value if isinstance(value, str) else tojson(value)
                out += f"<arg_key>{key}</arg_key><arg_value>{shown}</arg_value>"
            out += "</tool_call>"
        return out

    def __call__(self, prompt):
        messages, tools = prompt["messages"], prompt.get("tools") or []
        if self.version >= 3:
            messages = self.ordered(messages)
        thinks = self.version >= 3 or prompt.get("enable_thinking", True)
        keeps = not prompt.get("clear_thinking", self.version < 3)
        effort = prompt.get("reasoning_effort")
        known = ("high",) if self.version == 2 else ("low", "high")
        out = "[gMASK]<sop>"
        if self.version >= 2 and thinks:
            out += f"<|system|>Reasoning Effort: {effort.capitalize() if effort in known else 'Max'}"
        if tools:
            shown = [tool for tool in tools if not tool.get("function", tool).get("defer_loading")]
            out += "<|system|>" + self.TOOLS % "".join(map(self.line, shown))
        last_user = max((i for i, message in enumerate(messages) if message["role"] == "user"), default=-1)
        for i, message in enumerate(messages):
            if message["role"] == "assistant":
                out += "<|assistant|>" + self.assistant(message, keeps or i > last_user, thinks)
            elif message["role"] == "tool":
                if i == 0 or messages[i - 1]["role"] != "tool":
                    out += "<|observation|>"
                out += self.response(message["content"], tools)
            else:
                out += f"<|{message['role']}|>" + self.visible(message["content"])
        if prompt.get("add_generation_prompt"):
            out += "<|assistant|>" + ("<think>" if thinks else "</think>" if self.version < 2 else "<think></think>")
        return out


def write(name, render, later, count, seed):
    maker = Maker(seed)
    lines = []
    for _ in range(count):
        prompt = spelled(maker.prompt(later))
        text = json.dumps(render(json.loads(prompt)), ensure_ascii=False)
        lines.append(f'{{"prompt": {prompt}, "text": {text}}}')
    (FOLDER / name).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--template", required=True, help="GLM-4.7-Flash.jinja")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    write("glm-5.jsonl", Jinja(options.template), False, 300, 47)
    for version in 1, 2, 3:
        write(f"glm-5.{version}.jsonl", Later(version), True, 70, 50 + version)
