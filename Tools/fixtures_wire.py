"""Completes Tests/Golden/wire: what OpenAI's and Anthropic's APIs say, and what it means.

Run at the root of the repository, with the official clients installed (openai 3.57.0 and anthropic 2.14.0 made what is
committed):

    python Tools/fixtures_wire.py

What the lines mean is stated in them by hand; this script adds what follows from that, and holds everything against the
types of the official clients. Glim has no part in it.

outputs.jsonl    Outputs of models that servers elsewhere leak, drop or die of, written anew; where such a thing was
                 reported, the threads are named. Each with its events, as the tests spell them, and its reply. Added:
                 the tools, and the reply as a body of either API.
streams.jsonl    Replies in pieces. Added: the stream of either API, and what the official clients make of it.
foreign.jsonl    Streams as other servers write them. Added: what the official clients make of them.
requests.jsonl   Requests, the messages they mean, and the requests written from those (null: the same). Only checked.
malformed.jsonl  Requests that are none, the place of the first thing that is wrong, and words that must be said of it.
                 Left alone.

What Glim writes is held against the official clients as well. Its fuzz tests write it where GLIM_WIRE_DUMP says:

    GLIM_WIRE_DUMP=wire.jsonl swift test -c release --filter WireFuzzTests
    python Tools/fixtures_wire.py --check wire.jsonl
"""

import argparse
import json
import pathlib
import re

import anthropic.types as claude
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming, MessageCreateParamsStreaming
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from pydantic import TypeAdapter

FOLDER = pathlib.Path("Tests/Golden/wire")

ID, MODEL, CREATED = "r1", "glm-5", 1790000000
USAGE = {"prompt": 12, "cached": 5, "reply": 7, "reasoning": 3}

TOOLS = json.loads("""
[{"type": "function", "function": {"name": "write", "parameters": {"type": "object", "properties": {
  "path": {"type": "string"}, "line": {"type": "integer"}, "note": {"type": ["string", "null"]},
  "model": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "any": {"description": "whatever"}}}}}]
""")


class Raw(str):
    """JSON that is kept as it is spelled."""


def dumps(value):
    """Compact JSON, as the APIs have it."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{dumps(key)}:{dumps(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(dumps, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def plain(value):
    return json.loads(dumps(value))


# Replies. A call is a name and its arguments as JSON text; that of a broken one is no object.


def is_broken(arguments):
    try:
        return not isinstance(json.loads(arguments or "{}"), dict)
    except ValueError:
        return True


def call_id(place):
    return f"call_{ID}_0_{place}"


FINISH = {
    "end": ("stop", "end_turn"),
    "calls": ("tool_calls", "tool_use"),
    "length": ("length", "max_tokens"),
    "filtered": ("content_filter", "refusal"),
    "stop": ("stop", "stop_sequence"),
}


def openai_usage():
    return {
        "prompt_tokens": USAGE["prompt"],
        "completion_tokens": USAGE["reply"],
        "total_tokens": USAGE["prompt"] + USAGE["reply"],
        "prompt_tokens_details": {"cached_tokens": USAGE["cached"]},
        "completion_tokens_details": {"reasoning_tokens": USAGE["reasoning"]},
    }


def claude_usage(is_over=True):
    told = {
        "input_tokens": USAGE["prompt"] - USAGE["cached"],
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": USAGE["cached"],
        "output_tokens": USAGE["reply"] if is_over else 0,
    }
    return {**told, "output_tokens_details": {"thinking_tokens": USAGE["reasoning"]}} if is_over else told


def openai_body(reply):
    message = {"role": "assistant", "content": reply["content"], "reasoning_content": reply["reasoning"]}
    if reply["calls"]:
        message["tool_calls"] = [
            {"id": call_id(i), "type": "function", "function": {"name": name, "arguments": arguments}}
            for i, (name, arguments) in enumerate(reply["calls"])
        ]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": FINISH[reply["finish"]][0]}
    body = {"id": ID, "object": "chat.completion", "created": CREATED, "model": MODEL, "choices": [choice]}
    body["usage"] = openai_usage()
    read = ChatCompletion.model_validate(plain(body)).choices[0].message
    assert (read.content, read.reasoning_content) == (reply["content"], reply["reasoning"])
    return body


def claude_body(reply):
    blocks = []
    if reply["reasoning"]:
        blocks.append({"type": "thinking", "thinking": reply["reasoning"], "signature": "glim"})
    if reply["content"]:
        blocks.append({"type": "text", "text": reply["content"]})
    for i, (name, arguments) in enumerate(reply["calls"]):
        shown = {"INVALID_JSON": arguments} if is_broken(arguments) else Raw(arguments)
        blocks.append({"type": "tool_use", "id": call_id(i), "name": name, "input": shown})
    body = {"id": ID, "type": "message", "role": "assistant", "model": MODEL, "content": blocks}
    body |= {"stop_reason": FINISH[reply["finish"]][1], "stop_sequence": None, "usage": claude_usage()}
    assert len(claude.Message.model_validate(plain(body)).content) == len(blocks)
    return body


# Streams, from pieces: ["think", text], ["say", text], ["call", name], ["arguments", text].


def openai_stream(case):
    def whole(choices, usage):
        chunk = {"id": ID, "object": "chat.completion.chunk", "created": CREATED, "model": MODEL, "choices": choices}
        return {**chunk, "usage": usage} if case["reports_usage"] else chunk

    def chunk(delta, reason=None):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason and FINISH[reason][0]}
        return whole([{**choice, "stop_reason": case["stop"]} if reason and case["stop"] else choice], None)

    chunks = [chunk({"role": "assistant", "content": "", "reasoning_content": ""})]
    place = -1
    for kind, text in case["pieces"]:
        if kind == "think":
            chunks.append(chunk({"reasoning_content": text}))
        elif kind == "say":
            chunks.append(chunk({"content": text}))
        elif kind == "call":
            place += 1
            function = {"name": text, "arguments": ""}
            told = {"index": place, "id": call_id(place), "type": "function", "function": function}
            chunks.append(chunk({"tool_calls": [told]}))
        else:
            chunks.append(chunk({"tool_calls": [{"index": place, "function": {"arguments": text}}]}))
    chunks.append(chunk({}, case["finish"]))
    return chunks + ([whole([], openai_usage())] if case["reports_usage"] else [])


def claude_stream(case):
    start = {"id": ID, "type": "message", "role": "assistant", "model": MODEL, "content": []}
    start |= {"stop_reason": None, "stop_sequence": None, "usage": claude_usage(is_over=False)}
    events = [{"type": "message_start", "message": start}]
    index, open_kind, place = -1, None, -1

    def delta(value):
        events.append({"type": "content_block_delta", "index": index, "delta": value})

    def close():
        if open_kind == "think":
            delta({"type": "signature_delta", "signature": "glim"})
        if open_kind:
            events.append({"type": "content_block_stop", "index": index})

    empty = {"think": {"type": "thinking", "thinking": "", "signature": ""}, "say": {"type": "text", "text": ""}}
    for kind, text in case["pieces"]:
        if kind == "arguments":
            delta({"type": "input_json_delta", "partial_json": text})
            continue
        if kind == "call" or kind != open_kind:
            close()
            index, open_kind, place = index + 1, kind, place + (kind == "call")
            block = empty.get(kind) or {"type": "tool_use", "id": call_id(place), "name": text, "input": {}}
            events.append({"type": "content_block_start", "index": index, "content_block": block})
        if kind == "think":
            delta({"type": "thinking_delta", "thinking": text})
        elif kind == "say":
            delta({"type": "text_delta", "text": text})
    close()
    reason = {"stop_reason": FINISH[case["finish"]][1], "stop_sequence": case["stop"]}
    return events + [{"type": "message_delta", "delta": reason, "usage": claude_usage()}, {"type": "message_stop"}]


def http(event):
    name = event.get("type")
    return (f"event: {name}\n" if name else "") + f"data: {dumps(event)}\n\n"


def openai_client(chunks):
    """What the official client puts together."""
    state = ChatCompletionStreamState()
    for chunk in chunks:
        list(state.handle_chunk(ChatCompletionChunk.model_validate(plain(chunk))))
    return state.current_completion_snapshot.to_dict()


CLAUDE_EVENT = TypeAdapter(claude.RawMessageStreamEvent)


def claude_client(events, is_whole=True):
    """The same. Arguments that are cut off the client completes to an object, which they are not: they do not count."""
    message, buffers = None, {}
    for event in events:
        if event["type"] == "ping":
            continue
        read = CLAUDE_EVENT.validate_python(plain(event))
        message = accumulate_event(event=read, current_snapshot=message, json_bufs=buffers)
    message = message.to_dict()
    message["content"] = [block for block in message["content"] if is_whole or block["type"] != "tool_use"]
    return message


# The files.


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def complete(name, added):
    cases = [{**case, **added(case)} for case in lines(FOLDER / name)]
    (FOLDER / name).write_text("".join(dumps(case) + "\n" for case in cases), encoding="utf-8", newline="")
    print(f"{name}: {len(cases)}")


def output(case):
    return {"tools": TOOLS, "openai": openai_body(case["reply"]), "anthropic": claude_body(case["reply"])}


def stream(case):
    calls = []
    for kind, text in case["pieces"]:
        if kind == "call":
            calls.append("")
        elif kind == "arguments":
            calls[-1] += text
    openai, anthropic = openai_stream(case), claude_stream(case)
    added = {"openai": "".join(map(http, openai)) + "data: [DONE]\n\n", "anthropic": "".join(map(http, anthropic))}
    added["openai_client"] = openai_client(openai)
    # A number that no double holds the client reads as infinity, which is no JSON.
    if "1e400" not in dumps(case["pieces"]):
        added["anthropic_client"] = claude_client(anthropic, not any(map(is_broken, calls)))
    return added


def foreign(case):
    events = [json.loads(data) for data in re.findall(r"^data: (.*)$", case["stream"].replace("\r", ""), re.M)]
    return {"client": openai_client(events) if case["api"] == "openai" else claude_client(events)}


REQUESTS = {
    ("openai", False): CompletionCreateParamsNonStreaming,
    ("openai", True): CompletionCreateParamsStreaming,
    ("anthropic", False): MessageCreateParamsNonStreaming,
    ("anthropic", True): MessageCreateParamsStreaming,
}


def check_requests():
    cases = lines(FOLDER / "requests.jsonl")
    for case in cases:
        for body in case["request"], case["written"] or case["request"]:
            read = TypeAdapter(REQUESTS[case["api"], bool(body.get("stream"))]).validate_python(body)
            list(read["messages"])  # checked as it is read
    print(f"requests.jsonl: {len(cases)} are of their API")


def openai_calls(message):
    """What a client sees of them: of two arguments with one name, which a stream cannot take back, the last."""
    calls = [(call["id"], call["function"]) for call in message.get("tool_calls") or []]
    calls = [(id, function["name"], function["arguments"]) for id, function in calls]
    return [(id, name, text if is_broken(text) else json.loads(text)) for id, name, text in calls]


def check(path):
    """Replies by Glim, as bodies and as streams: the clients must read both, and to the same end."""
    cases = lines(pathlib.Path(path))
    for case in cases:
        body, read = case["openai"], openai_client(case["openai_stream"])
        ChatCompletion.model_validate(body)
        told, meant = read["choices"][0]["message"], body["choices"][0]["message"]
        for key in "reasoning_content", "content":
            assert told[key] == meant[key], (key, case)
        assert openai_calls(told) == openai_calls(meant), case
        assert read["choices"][0]["finish_reason"] == body["choices"][0]["finish_reason"], case
        assert read["usage"] == body["usage"], case

        body, read = case["anthropic"], claude_client(case["anthropic_stream"], case["is_whole"])
        claude.Message.model_validate(body)
        for key in "stop_reason", "stop_sequence", "usage":
            assert read[key] == body[key], (key, case)
        # A stream has its blocks in the order of the output; those of one kind are the same.
        for kind in "thinking", "text":
            told, meant = ("".join(b[kind] for b in it["content"] if b["type"] == kind) for it in (read, body))
            assert told == meant, (kind, case)
        told, meant = ([b for b in it["content"] if b["type"] == "tool_use"] for it in (read, body))
        assert told == meant or not case["is_whole"], case
    print(f"{len(cases)} replies: the official clients read body and stream of each to the same end")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", metavar="FILE", help="hold what Glim wrote against the official clients instead")
    options = parser.parse_args()
    if options.check:
        check(options.check)
    else:
        complete("outputs.jsonl", output)
        complete("streams.jsonl", stream)
        complete("foreign.jsonl", foreign)
        check_requests()
