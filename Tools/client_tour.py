#!/usr/bin/env python3
"""The official OpenAI and Anthropic clients, unmodified, on a tour of `glim serve`.

    python Tools/client_tour.py --glim .build/release/glim [--model DIR]

Without --model a model of one training step is made: what it says is noise, and the clients must cope with it. Starts
a server of its own on a free port, with a key, and prints a line a stop. Ends with 1 if any stop failed.
"""
import argparse
import json
import pathlib
import sys
import time
import traceback
import urllib.request

import anthropic
import openai

from served import KEY, serving

TOOL = {"name": "weather", "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}
SCHEMA = {"type": "object", "properties": {"city": {"enum": ["Ulm", "Bonn"]}, "warm": {"type": "boolean"}},
          "required": ["city", "warm"], "additionalProperties": False}
HELLO = [{"role": "user", "content": "Hello!"}]
OFF = {"thinking": {"type": "disabled"}}


class Tour:
    def __init__(self, base, name):
        self.base, self.name = base, name
        self.openai = openai.OpenAI(base_url=f"{base}/v1", api_key=KEY, max_retries=0)
        self.claude = anthropic.Anthropic(base_url=base, api_key=KEY, max_retries=0)

    def metric(self, name):
        request = urllib.request.Request(f"{self.base}/metrics", headers={"x-api-key": KEY})
        lines = urllib.request.urlopen(request).read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def chat(self, **options):
        return self.openai.chat.completions.create(
            **{"model": self.name, "messages": HELLO, "max_tokens": 40, "seed": 5, **options})

    # Each stop is a method; what it asserts is what the client made of the answer.

    def stop_models(self):
        assert [model.id for model in self.openai.models.list()] == [self.name]
        assert self.openai.models.retrieve(self.name).id == self.name
        assert [model.id for model in self.claude.models.list()] == [self.name]

    def stop_openai_chat(self):
        reply = self.chat(logprobs=True, top_logprobs=3, n=2, temperature=0.8, top_p=0.9)
        assert len(reply.choices) == 2 and reply.usage.completion_tokens <= 80
        assert reply.choices[0].finish_reason in ("stop", "length", "tool_calls")
        assert all(len(token.top_logprobs) == 3 for token in reply.choices[0].logprobs.content)
        assert reply.choices[0].message.reasoning_content

    def stop_openai_stream(self):
        whole = self.chat().choices[0]
        content, reasoning, usage = "", "", None
        for chunk in self.chat(stream=True, stream_options={"include_usage": True}):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                content += choice.delta.content or ""
                reasoning += getattr(choice.delta, "reasoning_content", None) or ""
        assert content == whole.message.content and reasoning == whole.message.reasoning_content
        assert usage.prompt_tokens_details.cached_tokens == usage.prompt_tokens - 1

    def stop_openai_tools(self):
        tools = [{"type": "function", "function": TOOL}]
        choice = {"type": "function", "function": {"name": "weather"}}
        end = self.ids("</tool_call>")
        options = dict(tools=tools, tool_choice=choice, parallel_tool_calls=False, extra_body=OFF, logit_bias={end: 100})
        call = self.chat(**options).choices[0]
        assert call.finish_reason == "tool_calls" and call.message.tool_calls[0].function.name == "weather"
        with self.openai.chat.completions.stream(
                model=self.name, messages=HELLO, max_tokens=40, **options) as stream:
            final = stream.get_final_completion()
        assert final.choices[0].message.tool_calls[0].function.name == "weather"
        answered = HELLO + [call.message.model_dump(exclude_none=True),
                            {"role": "tool", "tool_call_id": call.message.tool_calls[0].id, "content": "warm"}]
        assert self.chat(messages=answered, tools=tools).choices

    def stop_openai_schema(self):
        form = {"type": "json_schema", "json_schema": {"name": "report", "schema": SCHEMA, "strict": True}}
        reply = self.chat(response_format=form, max_tokens=400, extra_body=OFF)
        report = json.loads(reply.choices[0].message.content)
        assert set(report) == {"city", "warm"}

    def stop_openai_completions(self):
        reply = self.openai.completions.create(model=self.name, prompt=["def f", "x"], max_tokens=9, logprobs=1, seed=1)
        assert len(reply.choices) == 2 and len(reply.choices[0].logprobs.tokens) <= 9
        parts = self.openai.completions.create(model=self.name, prompt="def f", max_tokens=9, seed=1, stream=True)
        assert "".join(part.choices[0].text for part in parts) == reply.choices[0].text

    def stop_openai_responses(self):
        options = dict(model=self.name, input="Hello!", instructions="Be brief.", max_output_tokens=40,
                       extra_body={"seed": 3})
        whole = self.openai.responses.create(**options)
        assert whole.status in ("completed", "incomplete") and whole.usage.output_tokens <= 40
        with self.openai.responses.stream(**options) as stream:
            kinds = [event.type for event in stream]
            assert kinds[0] == "response.created"
            assert kinds[-1] == f"response.{whole.status}"

    def stop_openai_errors(self):
        for error, options in [
            (openai.BadRequestError, {"temperature": -1}), (openai.BadRequestError, {"extra_body": {"nonsense": 1}}),
            (openai.NotFoundError, {"model": "other"}),
        ]:
            try:
                self.chat(**options)
            except error as caught:
                assert caught.body["message"], caught
            else:
                raise AssertionError(f"{options} was taken")
        try:
            openai.OpenAI(base_url=f"{self.base}/v1", api_key="wrong", max_retries=0).models.list()
        except openai.AuthenticationError:
            return
        raise AssertionError("a wrong key was taken")

    def stop_openai_cancels(self):
        stops = {self.ids(word): -100 for word in ("<|user|>", "<|observation|>", "<|endoftext|>")}
        self.leave(lambda: self.chat(max_tokens=3500, stream=True, logit_bias=stops))

    def stop_anthropic_cancels(self):
        # Nothing keeps this model from ending first: it is asked until it does not.
        for attempt in range(20):
            messages = [{"role": "user", "content": f"Tell me everything, number {attempt}."}]
            done = self.metric("glim_requests_finished_total")
            try:
                return self.leave(lambda: self.claude.messages.create(
                    model=self.name, max_tokens=3000, messages=messages, stream=True))
            except AssertionError:
                if self.metric("glim_requests_finished_total") == done:
                    raise
        raise AssertionError("it always ended first")

    def leave(self, begin):
        before = self.metric("glim_requests_cancelled_total")
        stream = begin()
        next(iter(stream))
        stream.close()
        for _ in range(200):
            if self.metric("glim_requests_cancelled_total") > before and self.metric("glim_cache_pages_used") == 0:
                return
            time.sleep(0.02)
        raise AssertionError("it was not cancelled")

    def stop_anthropic_messages(self):
        plain = self.claude.messages.create(model=self.name, max_tokens=20, messages=HELLO)
        assert all(block.type != "thinking" for block in plain.content)
        options = dict(model=self.name, max_tokens=60, extra_body={"temperature": 0}, system="Be brief.", messages=HELLO,
                       thinking={"type": "adaptive"},
                       tools=[{"name": "weather", "input_schema": TOOL["parameters"]}])
        whole = self.claude.messages.create(**options)
        assert whole.stop_reason in ("end_turn", "max_tokens", "tool_use")
        assert whole.content and whole.content[0].type == "thinking" and whole.content[0].signature
        with self.claude.messages.stream(**options) as stream:
            final = stream.get_final_message()
        told = [block.model_dump(exclude={"id"}) for block in final.content]
        assert told == [block.model_dump(exclude={"id"}) for block in whole.content]
        assert final.usage.cache_read_input_tokens > 0 and final.usage.output_tokens == whole.usage.output_tokens
        back = HELLO + [{"role": "assistant", "content": whole.content}, {"role": "user", "content": "And now?"}]
        if whole.stop_reason != "tool_use":
            assert self.claude.messages.create(**{**options, "messages": back}).content is not None

    def stop_anthropic_tools(self):
        options = dict(
            model=self.name, max_tokens=60, messages=HELLO, thinking={"type": "disabled"},
            tools=[{"name": "weather", "input_schema": TOOL["parameters"]}],
            tool_choice={"type": "tool", "name": "weather", "disable_parallel_tool_use": True})
        whole = self.claude.messages.create(**options)
        called = [block.name for block in whole.content if block.type == "tool_use"]
        # What stands in the call is the model's: noise may never end it.
        assert called == ["weather"] or whole.stop_reason == "max_tokens"
        if called:
            assert whole.stop_reason == "tool_use"
            answer = {"type": "tool_result", "tool_use_id": whole.content[-1].id, "content": "warm"}
            back = HELLO + [{"role": "assistant", "content": whole.content}, {"role": "user", "content": [answer]}]
            assert self.claude.messages.create(**{**options, "messages": back, "tool_choice": {"type": "auto"}})

    def stop_anthropic_counts(self):
        count = self.claude.messages.count_tokens(model=self.name, messages=HELLO).input_tokens
        reply = self.claude.messages.create(model=self.name, max_tokens=1, messages=HELLO)
        assert count == reply.usage.input_tokens + reply.usage.cache_read_input_tokens

    def stop_anthropic_errors(self):
        try:
            self.claude.messages.create(model=self.name, max_tokens=5, messages=HELLO, extra_body={"seed": 1})
        except anthropic.BadRequestError as caught:
            assert caught.body["error"]["type"] == "invalid_request_error" and "seed" in str(caught)
        else:
            raise AssertionError("seed was taken")
        try:
            anthropic.Anthropic(base_url=self.base, api_key="wrong", max_retries=0).messages.create(
                model=self.name, max_tokens=5, messages=HELLO)
        except anthropic.AuthenticationError:
            return
        raise AssertionError("a wrong key was taken")

    def ids(self, word):
        return str(self.words[word])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glim", required=True, help="the binary")
    parser.add_argument("--model", metavar="DIR", type=pathlib.Path)
    options = parser.parse_args()
    with serving(options.glim, options.model) as served:
        tour = Tour(served.address, "tour")
        added = json.loads((served.model / "tokenizer.json").read_text())["added_tokens"]
        tour.words = {token["content"]: token["id"] for token in added}
        failed = 0
        for stop in [stop for stop in dir(tour) if stop.startswith("stop_")]:
            try:
                getattr(tour, stop)()
                print(f"ok      {stop[5:]}")
            except Exception:
                failed += 1
                print(f"FAILED  {stop[5:]}\n{traceback.format_exc()}")
    print(f"{failed} stops failed; the server ended with {served.status}")
    return 1 if failed or served.status else 0


if __name__ == "__main__":
    sys.exit(main())
